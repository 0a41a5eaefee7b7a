/**
 * The consumer at work: lanes of deliveries, calls of the handler, and what follows each call.
 *
 * A delivery is in hand from its arrival until it is settled or given back, and in one state at
 * any time. Nothing here settles: every outcome goes through `Settlement`. Nothing here grows
 * past the credit of the subscription.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { Delivery, Subscription } from "../brokers/broker.ts";
import type { Consumer, ConsumerOptions, ConsumerStats } from "./consumer.ts";
import type { ConsumerEvent } from "./consumer-event.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import type { ExpiryClock } from "./expiry-clock.ts";
import type { Item } from "./in-hand.ts";
import type { PartitionBook } from "./member-books.ts";
import type { HandleBatch, HandleOne, Message, Outcome } from "./outcome.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { CallWatch } from "./call-watch.ts";
import { checkPolicy } from "./delivery-policy.ts";
import { createExpiryClock } from "./expiry-clock.ts";
import { contentOf, countSettled, createTallies, IGNORED, newItem } from "./in-hand.ts";
import { createLanes } from "./lanes.ts";
import { ACK, isBlameless, outcomeOfFailure } from "./outcome.ts";
import { MemberBooks } from "./member-books.ts";
import { REDRIVEN_HEADER } from "./redrive.ts";
import { longestBackoffMs } from "./retry-schedule.ts";
import { Settlement } from "./settlement.ts";

/** A lease is renewed once this share of it has passed without anything else renewing it. */
const LEASE_SHARES = 3;

/** A message on its way into the handler. */
interface Call<Body> {
  readonly item: Item;
  readonly message: Message<Body>;
}

export class GroupMember<Body> implements Consumer {
  readonly #options: ConsumerOptions<Body>;
  readonly #environment: Environment;
  readonly #policy: DeliveryPolicy;
  readonly #batchMax: number;
  readonly #handle: HandleBatch<Body>;
  readonly #types: ReadonlySet<number> | undefined;
  readonly #expiry: ExpiryClock;
  readonly #abort = new AbortController();
  readonly #lanes = createLanes<Item>();
  readonly #tallies = createTallies();
  readonly #inHand = new Set<Item>();
  readonly #books = new MemberBooks(() => this.#tallies.snapshot(this.#inHand));
  readonly #ready = new Set<Item>();
  #subscription: Subscription | undefined;
  #settlement: Settlement | undefined;
  readonly #calls: CallWatch<readonly Call<Body>[]>;
  #pumpDeferred = false;
  #heartbeat: Timer | undefined;
  #draining = false;
  #whenIdle: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  #retries = 0;
  #settleFailures = 0;
  #expired = 0;

  constructor(options: ConsumerOptions<Body>, policy: DeliveryPolicy) {
    const { handler, environment } = options;
    this.#options = options;
    this.#environment = environment;
    this.#policy = policy;
    this.#batchMax = handler.kind === "batch" ? handler.batchMax : 1;
    this.#handle = handler.kind === "batch" ? handler.handle : oneByOne(handler.handle);
    this.#types = options.types === undefined ? undefined : new Set(options.types);
    this.#expiry = createExpiryClock(environment);
    this.#calls = new CallWatch(environment, policy.handleTimeoutMs, (batch, durationMs) =>
      this.#hung(batch, durationMs),
    );
    checkPolicy(policy, handler.concurrencyMax * this.#batchMax);
  }

  /** The subscription stands. Deliveries may have come before. */
  begin(subscription: Subscription): void {
    this.#subscription = subscription;
    this.#settlement = new Settlement(subscription, {
      environment: this.#environment,
      policy: this.#policy,
      onEvent: (event) => this.#report(event),
      finish: (item, how) => this.#finish(item, how),
      drop: (item) => this.#drop(item),
      wait: (item, delayMs) => this.#wait(item, delayMs),
    });
    this.#scheduleHeartbeat();
    this.#pump();
  }

  arrive(deliveries: readonly Delivery[]): void {
    if (this.#closing !== undefined) return;
    for (const delivery of deliveries) {
      const content = contentOf(delivery.bytes, this.#types);
      const isRedriven = typeof content === "object" && REDRIVEN_HEADER in content.headers;
      const tally = this.#tallies.arrived(delivery, isRedriven);
      const item = newItem(delivery, content, tally, this.#environment.monotonicMs());
      this.#inHand.add(item);
      if (this.#lanes.add(item)) this.#becomeHead(item);
    }
    this.#deferPump();
  }

  revoke(topic: string, partitions: readonly number[]): void {
    const lost = new Set(partitions);
    let returned = 0;
    for (const item of this.#inHand) {
      if (item.delivery.topic !== topic || !lost.has(item.delivery.partition)) continue;
      returned++;
      this.#drop(item);
    }
    for (const partition of partitions) this.#tallies.revoked(topic, partition);
    this.#books.revoked(topic, partitions);
    this.#report({ kind: "revoked", topic, partitions, returned });
    this.#deferPump();
  }

  /** Lets go of everything in hand without settling it. */
  abandon(): void {
    this.#closing ??= Promise.resolve();
    this.#abort.abort();
    this.#heartbeat?.cancel();
    this.#calls.stop();
    for (const item of this.#inHand) this.#drop(item);
    this.#whenIdle?.();
  }

  async drain(withinMs: number): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    this.#draining = true;
    this.#subscription?.pause();
    if (!this.#isIdle()) {
      await new Promise<void>((resolve) => {
        const timer = this.#environment.startTimer(withinMs, resolve);
        this.#whenIdle = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    return this.close();
  }

  close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    const subscription = this.#subscription;
    assert(subscription !== undefined, "a consumer is handed out once it has subscribed");
    this.#closing = subscription.close();
    this.abandon();
    return this.#closing;
  }

  async books(): Promise<readonly PartitionBook[]> {
    const subscription = this.#subscription;
    if (subscription === undefined || this.#closing !== undefined) return [];
    const books = await this.#books.open(subscription);
    // What was given back at the close is no longer ours to account for.
    return this.#isClosing() ? [] : books;
  }

  stats(): ConsumerStats {
    return {
      partitions: this.#tallies.snapshot(this.#inHand),
      retries: this.#retries,
      settleFailures: this.#settleFailures,
      expired: this.#expired,
    };
  }

  #becomeHead(item: Item): void {
    const waitMs = Math.min(
      item.notBeforeMs - this.#environment.nowMs(),
      longestBackoffMs(this.#policy.retry), // not longer, however far the wall clock jumped
    );
    if (waitMs > 0) this.#wait(item, waitMs);
    else this.#makeReady(item);
  }

  #makeReady(item: Item): void {
    item.state = "ready";
    this.#ready.add(item);
  }

  #wait(item: Item, delayMs: number): void {
    item.state = "waiting";
    item.notBeforeMs = Math.ceil(this.#environment.nowMs() + delayMs);
    item.timer = this.#environment.startTimer(delayMs, () => {
      item.timer = undefined;
      this.#makeReady(item);
      this.#deferPump(); // so that what falls due together is handled together
    });
  }

  #deferPump(): void {
    if (this.#pumpDeferred) return;
    this.#pumpDeferred = true;
    this.#environment.defer(() => {
      this.#pumpDeferred = false;
      this.#pump();
    });
  }

  /** Starts calls of the handler while there are free ones and heads of lanes to give them. */
  #pump(): void {
    const settlement = this.#settlement;
    if (settlement === undefined || this.#draining || this.#closing !== undefined) return;
    while (this.#calls.running < this.#options.handler.concurrencyMax) {
      const batch = this.#takeBatch(settlement);
      if (batch.length === 0) return;
      // `#call` turns every failure into an outcome and cannot reject.
      void this.#call(batch, settlement);
    }
  }

  #takeBatch(settlement: Settlement): readonly Call<Body>[] {
    const batch: Call<Body>[] = [];
    for (const item of this.#ready) {
      if (item.alone && batch.length > 0) break;
      this.#ready.delete(item);
      const verdict = this.#examine(item);
      if ("kind" in verdict) settlement.settle(item, verdict);
      else batch.push({ item, message: verdict });
      if (batch.length === this.#batchMax || (item.alone && batch.length > 0)) break;
    }
    return batch;
  }

  /** What is to be handled, or the outcome of what must not be. */
  #examine(item: Item): Message<Body> | Outcome {
    const { content, delivery, attempt } = item;
    if (content === IGNORED) return ACK;
    if (typeof content === "string") return { kind: "bury", reason: "bad_frame", error: content };
    if (this.#expiry.hasPassed(content.deadlineMs)) {
      this.#expired++;
      if (this.#policy.expired === "bury") {
        return { kind: "bury", reason: "expired", error: "its deadline passed before its turn" };
      }
      this.#report({ kind: "expired", delivery });
      return ACK;
    }
    if (attempt > this.#policy.deliveriesMax) {
      return { kind: "bury", reason: "poison", error: `given out ${attempt} times to no end` };
    }
    try {
      return { delivery, frame: content, attempt, body: this.#options.decode(content) };
    } catch (error) {
      return outcomeOfFailure(error);
    }
  }

  async #call(batch: readonly Call<Body>[], settlement: Settlement): Promise<void> {
    for (const { item } of batch) item.state = "running";
    const call = this.#calls.begin(batch);
    const outcomes = await this.#outcomes(batch);
    const durationMs = this.#calls.end(call);
    // It was given up; should it have committed all the same, its repetition finds that.
    if (durationMs === undefined) return;
    for (const [at, { item }] of batch.entries()) {
      const outcome = outcomes[at];
      this.#handled(item, outcome, durationMs, settlement);
    }
    this.#pump();
    this.#noticeIdle();
  }

  /** One outcome for each of the batch; `undefined`: to be handled again, on its own. */
  async #outcomes(batch: readonly Call<Body>[]): Promise<readonly (Outcome | undefined)[]> {
    try {
      const messages = batch.map(({ message }) => message);
      const outcomes = await this.#handle(messages, this.#abort.signal);
      assert(outcomes.length === batch.length, "a handler answers one outcome for each message");
      return outcomes;
    } catch (error) {
      if (batch.length > 1 && !isBlameless(error)) {
        this.#report({ kind: "batch_split", messages: batch.length, error });
        return batch.map(() => undefined);
      }
      const outcome = outcomeOfFailure(error);
      return batch.map(() => outcome);
    }
  }

  /** The call does not come back: its messages are handled again, each on its own, or buried. */
  #hung(batch: readonly Call<Body>[], durationMs: number): void {
    const settlement = this.#settlement;
    if (settlement === undefined) return;
    const error = new ShopError("HANDLER_TIMEOUT", `no outcome within ${durationMs} ms`, "later");
    for (const { item } of batch) {
      item.alone = true;
      if (item.hangs++ === 0) item.returnedAtHang = this.#calls.returned;
      const isAlone = batch.length === 1 && this.#calls.returned > item.returnedAtHang;
      const outcome: Outcome =
        isAlone && item.hangs >= this.#policy.hangsMax
          ? { kind: "bury", reason: "hang", error }
          : { kind: "retry", error, blameless: true };
      this.#handled(item, outcome, durationMs, settlement);
    }
    this.#deferPump();
    this.#noticeIdle();
  }

  #handled(
    item: Item,
    outcome: Outcome | undefined,
    durationMs: number,
    settlement: Settlement,
  ): void {
    if (!item.owned) {
      this.#leaveLane(item);
      return;
    }
    if (outcome === undefined) {
      item.alone = true;
      this.#makeReady(item);
      return;
    }
    const { delivery, attempt } = item;
    this.#report({ kind: "handled", delivery, attempt, outcome: outcome.kind, durationMs });
    settlement.settle(item, outcome);
  }

  #finish(item: Item, how: "acked" | "buried"): void {
    if (!item.owned) return;
    countSettled(item, how);
    this.#release(item);
    this.#leaveLane(item);
    this.#deferPump();
    this.#noticeIdle();
  }

  /** Not ours any more. A handler still at it keeps the lane, so that keys never overlap. */
  #drop(item: Item): void {
    if (!item.owned) return;
    item.tally.returned++;
    const running = item.state === "running";
    this.#release(item);
    if (!running) this.#leaveLane(item);
    this.#noticeIdle();
  }

  #release(item: Item): void {
    item.owned = false;
    item.state = "done";
    item.timer?.cancel();
    this.#ready.delete(item);
    this.#inHand.delete(item);
  }

  #leaveLane(item: Item): void {
    const next = this.#lanes.remove(item);
    if (next !== undefined) this.#becomeHead(next);
  }

  #isClosing(): boolean {
    return this.#closing !== undefined;
  }

  #isIdle(): boolean {
    if (this.#calls.running > 0) return false;
    for (const item of this.#inHand) if (item.state === "settling") return false;
    return true;
  }

  #noticeIdle(): void {
    if (this.#whenIdle !== undefined && this.#isIdle()) this.#whenIdle();
  }

  /** Only a handler may let a lease run out; what waits here for its turn is kept alive. */
  #scheduleHeartbeat(): void {
    const everyMs = this.#policy.leaseMs / LEASE_SHARES;
    this.#heartbeat = this.#environment.startTimer(everyMs, () => {
      const staleMs = this.#environment.monotonicMs() - everyMs;
      for (const item of this.#inHand) {
        if (item.state !== "running" && item.leaseFromMs <= staleMs) this.#settlement?.renew(item);
      }
      this.#scheduleHeartbeat();
    });
  }

  #report(event: ConsumerEvent): void {
    if (event.kind === "retry") this.#retries++;
    else if (event.kind === "settle_failed") this.#settleFailures++;
    this.#options.onEvent?.(event);
  }
}

function oneByOne<Body>(handle: HandleOne<Body>): HandleBatch<Body> {
  return async (messages, signal) =>
    Promise.all(messages.map((message) => handle(message, signal)));
}
