/**
 * The consumer at work: lanes of deliveries, calls of the handler, and what follows each call.
 *
 * A delivery is in hand from its arrival until it is settled or given back, and in one state at
 * any time. Nothing here settles: every outcome goes through `Settlement`. Nothing here grows
 * past the credit of the subscription.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { AtRest, Delivery, Subscription } from "../brokers/broker.ts";
import type { Consumer, ConsumerOptions, ConsumerStats } from "./consumer.ts";
import type { ConsumerEvent } from "./consumer-event.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import type { Examiner } from "./examine.ts";
import type { Item } from "./in-hand.ts";
import type { PartitionBook } from "./member-books.ts";
import type { HandleBatch, Message, Outcome } from "./outcome.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { frameHeader } from "../../runtime/frames/frame.ts";
import { CallWatch } from "./call-watch.ts";
import { checkPolicy } from "./delivery-policy.ts";
import { examine } from "./examine.ts";
import { createExpiryClock } from "./expiry-clock.ts";
import { IdleWatch } from "./idle-watch.ts";
import { contentOf, countSettled, createTallies, IGNORED, newItem } from "./in-hand.ts";
import { isAtWork, isItemOf, isUnderWay } from "./in-hand.ts";
import { createLanes } from "./lanes.ts";
import { LeaseHeartbeat } from "./lease-heartbeat.ts";
import { batchHandleOf, isBlameless, outcomeOfFailure } from "./outcome.ts";
import { MemberBooks } from "./member-books.ts";
import { isForAnother, REDRIVEN_HEADER } from "./redrive.ts";
import { longestBackoffMs } from "./retry-schedule.ts";
import { Roster } from "./roster.ts";
import { Settlement } from "./settlement.ts";

/** Messages on their way into the handler, each beside its delivery. */
interface Batch<Body> {
  readonly items: Item[];
  readonly messages: Message<Body>[];
}

export class GroupMember<Body> implements Consumer {
  readonly #options: ConsumerOptions<Body>;
  readonly #environment: Environment;
  readonly #policy: DeliveryPolicy;
  readonly #batchMax: number;
  readonly #handle: HandleBatch<Body>;
  readonly #types: ReadonlySet<number> | undefined;
  readonly #examiner: Examiner<Body>;
  readonly #abort = new AbortController();
  readonly #lanes = createLanes<Item>();
  readonly #tallies = createTallies();
  readonly #inHand = new Roster<Item>(({ owned }) => owned);
  readonly #books = new MemberBooks(() => this.#tallies.snapshot(this.#inHand));
  readonly #ready = new Roster<Item>(({ state }) => state === "ready");
  #subscription: Subscription | undefined;
  #settlement: Settlement | undefined;
  readonly #calls: CallWatch<Batch<Body>>;
  #pumpDeferred = false;
  readonly #heartbeat: LeaseHeartbeat;
  #draining = false;
  readonly #idle: IdleWatch;
  #closing: Promise<void> | undefined;
  #retries = 0;
  #settleFailures = 0;
  #expired = 0;

  constructor(options: ConsumerOptions<Body>, policy: DeliveryPolicy) {
    const { handler, environment } = options;
    this.#options = options;
    this.#environment = environment;
    this.#idle = new IdleWatch(environment);
    this.#policy = policy;
    this.#batchMax = handler.kind === "batch" ? handler.batchMax : 1;
    this.#handle = batchHandleOf(handler);
    this.#types = options.types === undefined ? undefined : new Set(options.types);
    this.#examiner = {
      policy,
      expiry: createExpiryClock(environment),
      decode: options.decode,
      onExpired: (delivery) => {
        this.#expired++;
        if (policy.expired === "drop") this.#report({ kind: "expired", delivery });
      },
    };
    this.#calls = new CallWatch(environment, policy.handleTimeoutMs, {
      slow: () => this.#deferPump(),
      hung: (batch, durationMs) => this.#hung(batch, durationMs),
    });
    this.#heartbeat = new LeaseHeartbeat({
      environment,
      leaseMs: policy.leaseMs,
      inHand: this.#inHand,
      renew: (item) => this.#settlement?.renew(item),
    });
    checkPolicy(policy, handler.concurrencyMax * this.#batchMax);
  }

  /** The subscription stands. Deliveries may have come before. */
  begin(subscription: Subscription): void {
    this.#subscription = subscription;
    this.#settlement = new Settlement(subscription, {
      environment: this.#environment,
      policy: this.#policy,
      onEvent: (event) => this.#report(event),
      finish: (item, how) => this.#settled(item, how),
      drop: (item) => this.#drop(item),
      wait: (item, delayMs) => this.#wait(item, delayMs),
    });
    this.#heartbeat.start();
    this.#pump();
  }

  arrive(deliveries: readonly Delivery[]): void {
    if (this.#closing !== undefined) return;
    const nowMs = this.#environment.monotonicMs();
    for (const delivery of deliveries) {
      const { bytes } = delivery;
      const content = contentOf(bytes, this.#types);
      const origin = typeof content === "object" ? frameHeader(bytes, REDRIVEN_HEADER) : undefined;
      const isOurs = origin === undefined || !isForAnother(origin, delivery);
      const tally = this.#tallies.arrived(delivery, origin !== undefined && isOurs);
      const item = newItem(delivery, isOurs ? content : IGNORED, tally, nowMs);
      this.#inHand.add(item);
      if (this.#lanes.add(item)) this.#becomeHead(item);
    }
    this.#deferPump();
  }

  /**
   * Gives back what nobody works on and waits for the rest. Not at rest: a call or a burial may
   * commit yet. What is lost meanwhile and comes back is delivered anew, and none of its business.
   */
  async finish(topic: string, partitions: readonly number[]): Promise<AtRest> {
    const isOfThem = isItemOf(topic, partitions);
    const leaving = [...this.#inHand].filter(isOfThem);
    this.#giveBack(leaving, isUnderWay);
    await this.#idle.wait(() => !leaving.some(isUnderWay), this.#policy.handleTimeoutMs);
    // What failed meanwhile is to be tried again by the next owner, its settling too.
    this.#giveBack(leaving, isAtWork);
    const late = this.#mayCommit(isOfThem);
    return late.length === 0 || { again: Promise.all(late).then(() => undefined) };
  }

  revoke(topic: string, partitions: readonly number[]): void {
    const lost = [...this.#inHand].filter(isItemOf(topic, partitions));
    for (const item of lost) this.#drop(item);
    for (const partition of partitions) this.#tallies.revoked(topic, partition);
    this.#books.revoked(topic, partitions);
    this.#report({ kind: "revoked", topic, partitions, returned: lost.length });
    this.#deferPump();
  }

  /** Lets go of everything in hand without settling it. */
  abandon(): void {
    this.#closing ??= Promise.resolve();
    this.#abort.abort();
    this.#heartbeat.stop();
    this.#calls.stop();
    for (const item of this.#inHand) this.#drop(item);
    this.#idle.endAll();
  }

  async drain(withinMs: number): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    this.#draining = true;
    this.#subscription?.pause();
    await this.#idle.wait(() => this.#isIdle(), withinMs);
    return this.close();
  }

  close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    const subscription = this.#subscription;
    assert(subscription !== undefined, "a consumer is handed out once it has subscribed");
    const isAtRest = this.#isIdle() && this.#mayCommit(() => true).length === 0;
    this.#closing = subscription.close(isAtRest);
    this.abandon();
    return this.#closing;
  }

  async books(): Promise<readonly PartitionBook[]> {
    const subscription = this.#subscription;
    if (subscription === undefined || this.#closing !== undefined) return [];
    const books = await this.#books.open(subscription);
    return this.#abort.signal.aborted ? [] : books; // what was given back is not ours any more
  }

  stats(): ConsumerStats {
    return {
      partitions: this.#tallies.snapshot(this.#inHand),
      retries: this.#retries,
      settleFailures: this.#settleFailures,
      expired: this.#expired,
    };
  }

  #giveBack(items: readonly Item[], isKept: (item: Item) => boolean): void {
    for (const item of items) if (!isKept(item)) this.#drop(item);
  }

  #becomeHead(item: Item): void {
    if (item.notBeforeMs === 0) {
      this.#makeReady(item);
      return;
    }
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
    while (this.#calls.occupying < this.#options.handler.concurrencyMax) {
      const batch = this.#takeBatch(settlement);
      if (batch.items.length === 0) return;
      // `#call` turns every failure into an outcome and cannot reject.
      void this.#call(batch, settlement);
    }
  }

  #takeBatch(settlement: Settlement): Batch<Body> {
    const items: Item[] = [];
    const messages: Message<Body>[] = [];
    while (items.length < this.#batchMax) {
      const first = this.#ready.first();
      if (first === undefined || (first.alone && items.length > 0)) break;
      this.#ready.take();
      first.state = "running";
      const verdict = examine(first, this.#examiner);
      if ("kind" in verdict) {
        settlement.settle(first, verdict);
        continue;
      }
      items.push(first);
      messages.push(verdict);
      if (first.alone) break;
    }
    return { items, messages };
  }

  async #call(batch: Batch<Body>, settlement: Settlement): Promise<void> {
    const call = this.#calls.begin(batch);
    const outcomes = await this.#outcomes(batch.messages);
    const durationMs = this.#calls.end(call);
    // It was given up; should it have committed all the same, its repetition finds that.
    if (durationMs === undefined) return;
    const { items } = batch;
    for (let at = 0; at < items.length; at++) {
      this.#handled(items[at]!, outcomes[at], durationMs, settlement); // `!`: the loop's bound
    }
    this.#pump();
    this.#idle.notice();
  }

  /** One outcome for each of the messages; `undefined`: to be handled again, on its own. */
  async #outcomes(messages: readonly Message<Body>[]): Promise<readonly (Outcome | undefined)[]> {
    try {
      const outcomes = await this.#handle(messages, this.#abort.signal);
      assert(outcomes.length === messages.length, "a handler answers one outcome for each message");
      return outcomes;
    } catch (error) {
      if (messages.length > 1 && !isBlameless(error)) {
        this.#report({ kind: "batch_split", messages: messages.length, error });
        return messages.map(() => undefined);
      }
      const outcome = outcomeOfFailure(error);
      return messages.map(() => outcome);
    }
  }

  /** The call does not come back: its messages are handled again, each on its own, or buried. */
  #hung({ items }: Batch<Body>, durationMs: number): void {
    const settlement = this.#settlement;
    if (settlement === undefined) return;
    const error = new ShopError("HANDLER_TIMEOUT", `no outcome within ${durationMs} ms`, "later");
    for (const item of items) {
      item.alone = true;
      if (item.hangs++ === 0) item.returnedAtHang = this.#calls.returned;
      const isAlone = items.length === 1 && this.#calls.returned > item.returnedAtHang;
      const outcome: Outcome =
        isAlone && item.hangs >= this.#policy.hangsMax
          ? { kind: "bury", reason: "hang", error }
          : { kind: "retry", error, blameless: true };
      this.#handled(item, outcome, durationMs, settlement);
    }
    this.#deferPump();
    this.#idle.notice();
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
    // Not by `#report`: without a listener no event is made for every message.
    this.#options.onEvent?.({
      kind: "handled",
      delivery,
      attempt,
      outcome: outcome.kind,
      durationMs,
    });
    settlement.settle(item, outcome);
  }

  #settled(item: Item, how: "acked" | "buried"): void {
    if (!item.owned) return;
    countSettled(item, how);
    this.#release(item);
    this.#leaveLane(item);
    this.#deferPump();
    this.#idle.notice();
  }

  /** Not ours any more. A handler still at it keeps the lane, so that keys never overlap. */
  #drop(item: Item): void {
    if (!item.owned) return;
    item.tally.returned++;
    const running = item.state === "running";
    this.#release(item);
    if (!running) this.#leaveLane(item);
    this.#idle.notice();
  }

  #release(item: Item): void {
    const wasReady = item.state === "ready";
    item.owned = false;
    item.state = "done";
    item.timer?.cancel();
    if (wasReady) this.#ready.droppedOut();
    this.#inHand.droppedOut();
  }

  #leaveLane(item: Item): void {
    const next = this.#lanes.remove(item);
    if (next !== undefined) this.#becomeHead(next);
  }

  /** Calls that were given up too, and burials of what is not ours any more; each until it ends. */
  #mayCommit(which: (item: Item) => boolean): readonly Promise<void>[] {
    const calls = this.#calls.whenBack(({ items }) => items.some(which));
    return [...calls, ...(this.#settlement?.burying(which) ?? [])];
  }

  #isIdle(): boolean {
    return this.#calls.running === 0 && ![...this.#inHand].some(isUnderWay);
  }

  #report(event: ConsumerEvent): void {
    if (event.kind === "retry") this.#retries++;
    else if (event.kind === "settle_failed") this.#settleFailures++;
    this.#options.onEvent?.(event);
  }
}
