/**
 * Asks the owner of an order, whichever process that is: a command goes out as a message, the
 * reply is a row.
 *
 * The message is confirmed by the broker before anybody is told that it will be carried out. Then
 * the reply is waited for: a hint says when to look, and without hints it looks ten times a second,
 * for all who wait at once. When the wait is over the command is `pending`: it will be carried out.
 * What was never confirmed is an error, and may be asked again under the same id, with one effect.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { Broker } from "../brokers/broker.ts";
import type { CommandReply } from "../contracts/order-state.ts";
import type { RetryPolicy } from "../delivery/retry-schedule.ts";
import type { OrderCommand } from "../order/order-service.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { ReplyHints } from "./command-replies.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { encodeCommand, keyOfCommand } from "../command-frames.ts";
import { backoffMs } from "../delivery/retry-schedule.ts";
import { decodeReplyRow, replyKey, REPLIES } from "./command-replies.ts";
import { COMMANDS_TOPIC } from "./owner-handler.ts";

export interface AskerSettings {
  /** How long an answer is waited for. */
  readonly waitMs: number;
  readonly pollMs: number;
  /** Commands without an answer; beyond, `SATURATED`. */
  readonly openMax: number;
}

export const ASKER_SETTINGS: AskerSettings = { waitMs: 5_000, pollMs: 100, openMax: 4_096 };

/** Replies asked for in one load. */
const LOAD_MAX = 512;
const RETRY: RetryPolicy = { attemptsMax: 100, delayMinMs: 50, delayMaxMs: 1_000, jitter: 0.5 };

export interface OwnerAskerOptions {
  readonly environment: Environment;
  /** Has the topic of commands. */
  readonly broker: Pick<Broker, "publish">;
  readonly store: Pick<Store, "load">;
  readonly slots: number;
  readonly hints?: Pick<ReplyHints, "listen">;
  readonly settings?: AskerSettings;
  readonly onLog?: (level: "debug" | "info" | "warning", text: string) => void;
}

export interface AskOptions {
  /** Absent: a new one. The same again has the same effect and gets the same reply. */
  readonly id?: string;
  readonly correlationId: string;
  readonly traceId?: string;
  readonly spanId?: string;
  /** Absent: as the settings say. */
  readonly waitMs?: number;
}

/** `pending`: the command is stored and will be carried out. */
export type OwnerAnswer =
  { readonly kind: "answered"; readonly reply: CommandReply } | { readonly kind: "pending" };

export interface OwnerAsker {
  /** Rejects with `SATURATED`, `CLOSED`, or why the broker did not confirm the command in time. */
  askOwner(command: OrderCommand, options: AskOptions): Promise<OwnerAnswer>;
  /** Commands without an answer. */
  readonly open: number;
  /** Ends every wait: as `pending` where the command is stored, else with `CLOSED`. */
  close(): Promise<void>;
}

interface Open {
  isStored: boolean;
  /** Why it is not, so far. */
  problem: unknown;
  readonly deadline: Timer;
  readonly settle: (answer: OwnerAnswer) => void;
  readonly fail: (error: unknown) => void;
}

export function createOwnerAsker(options: OwnerAskerOptions): OwnerAsker {
  return new Asker(options);
}

class Asker implements OwnerAsker {
  readonly #options: OwnerAskerOptions;
  readonly #settings: AskerSettings;
  readonly #open = new Map<string, Open>();
  #poll: Timer | undefined;
  #looking: Promise<void> | undefined;
  readonly #listening: Promise<(() => Promise<void>) | undefined>;
  #isClosed = false;

  constructor(options: OwnerAskerOptions) {
    this.#options = options;
    this.#settings = options.settings ?? ASKER_SETTINGS;
    this.#listening = this.#listen();
  }

  get open(): number {
    return this.#open.size;
  }

  async askOwner(command: OrderCommand, ask: AskOptions): Promise<OwnerAnswer> {
    const { environment, slots } = this.#options;
    if (this.#isClosed) throw closed();
    if (this.#open.size >= this.#settings.openMax) {
      const problem = `${this.#open.size} commands wait for their owner's answer`;
      throw new ShopError("SATURATED", problem, "later");
    }
    const { waitMs = this.#settings.waitMs, id = environment.newId(), ...origin } = ask;
    const frame = encodeCommand(command, {
      ...origin,
      id,
      slot: slotOf(keyOfCommand(command), slots),
      timeMs: environment.nowMs(),
      // It is carried out however long that takes: whoever is told `pending` relies on it.
      deadlineMs: 0,
    });
    const answer = this.#wait(id, waitMs);
    void this.#publish(id, frame);
    return await answer;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#poll?.cancel();
    for (const id of this.#open.keys()) this.#end(id, closed());
    await this.#looking;
    const stop = await this.#listening;
    await stop?.();
  }

  #wait(id: string, waitMs: number): Promise<OwnerAnswer> {
    const { environment } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<OwnerAnswer>();
    // Only the last who asks under an id is answered.
    this.#end(id, new ShopError("STALE", "the same command was asked again", "later"));
    const deadline = environment.startTimer(waitMs, () => {
      const problem = this.#open.get(id)?.problem ?? unconfirmed(waitMs);
      this.#end(id, problem);
    });
    const open: Open = {
      isStored: false,
      problem: undefined,
      deadline,
      settle: resolve,
      fail: reject,
    };
    this.#open.set(id, open);
    this.#pollSoon();
    return promise;
  }

  /** Ends the wait without a reply. */
  #end(id: string, problem: unknown): void {
    const open = this.#take(id);
    if (open === undefined) return;
    if (open.isStored) open.settle({ kind: "pending" });
    else open.fail(problem);
  }

  #take(id: string): Open | undefined {
    const open = this.#open.get(id);
    open?.deadline.cancel();
    this.#open.delete(id);
    return open;
  }

  /** Until it is confirmed, or nobody waits any more. */
  async #publish(id: string, frame: Uint8Array): Promise<void> {
    const { broker, environment } = this.#options;
    const topic = COMMANDS_TOPIC;
    const mine = this.#open.get(id);
    for (let failures = 1; mine !== undefined && this.#open.get(id) === mine; failures++) {
      try {
        await broker.publish([{ topic, frame }]);
        mine.isStored = true;
        return;
      } catch (error) {
        mine.problem = error;
        if (!isShopError(error) || error.retry === "never") {
          this.#take(id)?.fail(error);
          return;
        }
        const { promise, resolve } = Promise.withResolvers<void>();
        environment.startTimer(backoffMs(RETRY, failures, environment.random()), resolve);
        await promise;
      }
    }
  }

  #pollSoon(): void {
    if (this.#poll !== undefined || this.#open.size === 0 || this.#isClosed) return;
    this.#poll = this.#options.environment.startTimer(this.#settings.pollMs, () => {
      this.#poll = undefined;
      this.#lookNow();
    });
  }

  #lookNow(): void {
    if (this.#looking !== undefined || this.#isClosed) return;
    this.#looking = this.#look([...this.#open.keys()]).finally(() => {
      this.#looking = undefined;
      this.#pollSoon();
    });
  }

  /** Takes the answers that are there; what cannot be read now is looked for again. */
  async #look(ids: readonly string[]): Promise<void> {
    const { store, onLog } = this.#options;
    for (let at = 0; at < ids.length; at += LOAD_MAX) {
      const share = ids.slice(at, at + LOAD_MAX);
      try {
        const rows = await store.load(REPLIES, share.map(replyKey));
        for (const [index, row] of rows.entries()) {
          if (row === undefined) continue;
          const reply = decodeReplyRow(row.data);
          this.#take(share[index] ?? "")?.settle({ kind: "answered", reply });
        }
      } catch (error) {
        onLog?.("debug", `replies to commands: ${describeError(error)}`);
        return;
      }
    }
  }

  async #listen(): Promise<(() => Promise<void>) | undefined> {
    const { hints, onLog } = this.#options;
    try {
      return await hints?.listen((id) => {
        if (this.#open.has(id)) void this.#look([id]);
      });
    } catch (error) {
      onLog?.("info", `replies to commands are looked for without hints: ${describeError(error)}`);
      return undefined;
    }
  }
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the process stops", "later");
}

function unconfirmed(waitMs: number): ShopError {
  const problem = `no broker confirmed the command within ${waitMs} ms`;
  return new ShopError("INDETERMINATE", problem, "later");
}
