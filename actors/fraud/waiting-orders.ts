/**
 * Orders that wait for their verdict: bounded in number and in time, each asked about once.
 *
 * Who asks about an order that is here already shares its verdict. An order is refused with
 * `CHECK_UNAVAILABLE` when there is no room, and when its time is over, wherever it is by then.
 * One timer serves them all: every order may wait equally long, so the first to come goes first.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { FraudOrder, Verdict } from "./fraud-check.ts";
import type { Keyed } from "../../runtime/actors/key-table.ts";

import { KeyTable } from "../../runtime/actors/key-table.ts";
import { ShopError } from "../../runtime/errors.ts";
import { Roster } from "../delivery/roster.ts";

export interface WaitingOrdersOptions {
  readonly environment: Environment;
  readonly waitingMax: number;
  readonly timeoutMs: number;
}

interface Entry extends Keyed<Entry> {
  readonly order: FraudOrder;
  readonly sinceMs: number;
  readonly answer: PromiseWithResolvers<Verdict>;
  isOpen: boolean;
  isTaken: boolean;
}

export class WaitingOrders {
  readonly #options: WaitingOrdersOptions;
  readonly #open = new KeyTable<Entry>();
  /** Everything without an answer, oldest first. */
  readonly #line = new Roster<Entry>(({ isOpen }) => isOpen);
  /** Those of them that nobody has taken. */
  readonly #untaken = new Roster<Entry>(({ isOpen, isTaken }) => isOpen && !isTaken);
  #untakenCount = 0;
  #timer: Timer | undefined;

  constructor(options: WaitingOrdersOptions) {
    this.#options = options;
  }

  /** Orders that can be taken. */
  get untaken(): number {
    return this.#untakenCount;
  }

  /** The verdict on `order`, when there is one. */
  async add(order: FraudOrder): Promise<Verdict> {
    const { environment, waitingMax } = this.#options;
    const known = this.#open.get(order.orderId);
    if (known !== undefined) return await known.answer.promise;
    if (this.#open.itemCount >= waitingMax) {
      throw unavailable(`${waitingMax} orders are under check already`);
    }
    const answer = Promise.withResolvers<Verdict>();
    const entry = {
      key: order.orderId,
      nextOfBucket: undefined,
      order,
      sinceMs: environment.monotonicMs(),
      answer,
      isOpen: true,
      isTaken: false,
    };
    this.#open.add(entry);
    this.#line.add(entry);
    this.#untaken.add(entry);
    this.#untakenCount++;
    this.#timer ??= this.#startTimer(this.#options.timeoutMs);
    return await answer.promise;
  }

  /** The oldest orders that were not taken yet. */
  take(ordersMax: number): readonly FraudOrder[] {
    const taken: FraudOrder[] = [];
    while (taken.length < ordersMax) {
      const entry = this.#untaken.take();
      if (entry === undefined) break;
      entry.isTaken = true;
      this.#untakenCount--;
      taken.push(entry.order);
    }
    return taken;
  }

  /** How long the order waited; `undefined` when nobody waits for it any more. */
  answer(orderId: string, verdict: Verdict): number | undefined {
    const entry = this.#close(orderId);
    entry?.answer.resolve(verdict);
    return entry === undefined ? undefined : this.#ageMs(entry);
  }

  /** The work on orders that were taken has failed. Who has come back since waits for the next. */
  failTaken(orders: readonly FraudOrder[], error: unknown): void {
    for (const { orderId } of orders) {
      if (this.#open.get(orderId)?.isTaken === true) this.#fail(orderId, error);
    }
  }

  failAll(error: unknown): void {
    for (const { key } of this.#open.values()) this.#fail(key, error);
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #fail(orderId: string, error: unknown): void {
    this.#close(orderId)?.answer.reject(error);
  }

  #close(orderId: string): Entry | undefined {
    const entry = this.#open.get(orderId);
    if (entry === undefined) return undefined;
    this.#open.remove(entry);
    entry.isOpen = false;
    this.#line.droppedOut();
    if (!entry.isTaken) {
      this.#untakenCount--;
      this.#untaken.droppedOut();
    }
    return entry;
  }

  #ageMs(entry: Entry): number {
    return this.#options.environment.monotonicMs() - entry.sinceMs;
  }

  #startTimer(delayMs: number): Timer {
    return this.#options.environment.startTimer(delayMs, () => this.#expire());
  }

  #expire(): void {
    this.#timer = undefined;
    const { timeoutMs } = this.#options;
    for (let entry = this.#line.first(); entry !== undefined; entry = this.#line.first()) {
      const leftMs = timeoutMs - this.#ageMs(entry);
      if (leftMs > 0) {
        this.#timer = this.#startTimer(leftMs);
        return;
      }
      this.#fail(entry.key, unavailable(`no verdict within ${timeoutMs} ms`));
    }
  }
}

function unavailable(why: string): ShopError {
  return new ShopError("CHECK_UNAVAILABLE", `fraud check: ${why}`, "later");
}
