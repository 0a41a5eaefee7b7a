/**
 * One view at work as a member of a group: gathers what it is delivered, hands it to its sink, then
 * acknowledges.
 *
 * Several members may run, each with partitions of its own; what one was given and did not finish
 * another gets again, which the sink takes without harm. A sink that fails is tried again for ever,
 * with ever longer waits, and told; meanwhile the credit of the subscription bounds what is in
 * hand. It refuses to acknowledge what the sink has not stored. Anything but an expected failure
 * ends the view, and its supervisor begins it anew.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { Exit, RunningChild } from "../../runtime/supervision/child.ts";
import type { Broker, Delivery, Subscription } from "../brokers/broker.ts";
import type { FeedRecord } from "../brokers/feed.ts";
import type { ViewEvent } from "./view-runner.ts";
import type { ViewSettings } from "./view-settings.ts";
import type { ViewSink } from "./view-sink.ts";

import { isShopError } from "../../runtime/errors.ts";
import { checkFrame, frameTimeMs } from "../../runtime/frames/frame.ts";

/** Batches in hand at most: one with the sink, and what gathers behind it. */
const CREDIT_BATCHES = 4;
/** What comes after a rest comes in several parts. */
const FIRST_MS = 5;
/** Housekeeping may be late by so many times the time between two. */
const MAINTAIN_LATE_SHARES = 4;
/** Nothing of a view takes so long; what does is given to somebody else. */
const LEASE_MS = 120_000;

export interface ViewMemberOptions {
  readonly name: string;
  readonly environment: Environment;
  readonly settings: ViewSettings;
  readonly broker: Pick<Broker, "subscribe">;
  readonly topics: readonly string[];
  readonly openSink: () => Promise<ViewSink>;
  readonly onEvent: (event: ViewEvent) => void;
  /** How long a stop may go on storing what is in hand. */
  readonly drainMs: () => number;
}

/** Joins the group. Rejects when broker or sink refuse. */
export async function startViewMember(
  options: ViewMemberOptions,
  onExit: (exit: Exit) => void,
): Promise<RunningChild> {
  const sink = await options.openSink();
  const member = new ViewMember(options, sink, onExit);
  try {
    await member.join();
  } catch (error) {
    await sink.close();
    throw error;
  }
  return member;
}

class ViewMember implements RunningChild {
  readonly #options: ViewMemberOptions;
  readonly #sink: ViewSink;
  readonly #onExit: (exit: Exit) => void;
  #subscription: Subscription | undefined;
  #queue: Delivery[] = [];
  #queuedBytes = 0;
  /** With the sink. */
  #batch: readonly Delivery[] = [];
  #working: Promise<void> | undefined;
  #timer: Timer | undefined;
  #lagTimer: Timer | undefined;
  #failures = 0;
  #isWorking = false;
  #isStopping = false;
  #isEnded = false;
  #maintainDueMs: number;
  /** When the last batch was taken up. */
  #takenMs = Number.NEGATIVE_INFINITY;

  constructor(options: ViewMemberOptions, sink: ViewSink, onExit: (exit: Exit) => void) {
    this.#options = options;
    this.#sink = sink;
    this.#onExit = onExit;
    this.#maintainDueMs = options.environment.monotonicMs() + options.settings.maintainMs;
  }

  async join(): Promise<void> {
    const { broker, name, topics, settings } = this.#options;
    this.#subscription = await broker.subscribe({
      group: name,
      topics,
      from: "earliest",
      creditFrames: CREDIT_BATCHES * settings.recordsMax,
      creditBytes: CREDIT_BATCHES * settings.bytesMax,
      leaseMs: LEASE_MS,
      acks: "soon",
      onDeliveries: (deliveries) => this.#arrive(deliveries),
      onRevoking: async () => {
        this.#flush();
        await this.#working;
        return this.#working === undefined;
      },
      onRevoked: (topic, partitions) => this.#forget(topic, partitions),
      onFailure: (error) => this.#breakDown(error),
    });
    if (this.#isEnded) {
      await this.#subscription.close(false);
      return;
    }
    this.#measure();
    this.#wait();
  }

  /** Stores what is in hand, as far as the time allows, and gives back the rest. */
  async stop(): Promise<void> {
    const { environment, drainMs } = this.#options;
    this.#isStopping = true;
    this.#subscription?.pause();
    const byMs = environment.monotonicMs() + drainMs();
    this.#flush();
    while (this.#queue.length + this.#batch.length > 0 && !this.#isEnded) {
      const leftMs = byMs - environment.monotonicMs();
      if (leftMs <= 0) break;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = environment.startTimer(leftMs, resolve);
      this.#flush();
      await Promise.race([this.#working ?? this.#pause(), promise]);
      if (this.#failures > 0) await Promise.race([this.#pause(), promise]);
      timer.cancel();
    }
    await this.#end();
  }

  kill(): void {
    // What a killed view held open is closed in its own time.
    void this.#end();
  }

  #arrive(deliveries: readonly Delivery[]): void {
    if (this.#isEnded) return;
    const isFirst = this.#queue.length === 0;
    this.#queue.push(...deliveries);
    for (const { bytes } of deliveries) this.#queuedBytes += bytes.byteLength;
    if (this.#isFull()) this.#flush();
    // Whoever is at work, or waits after a failure, sees to it then.
    else if (isFirst && this.#working === undefined && this.#batch.length === 0) {
      this.#wait(this.#gatheredInMs());
    }
  }

  #isFull(): boolean {
    const { recordsMax, bytesMax } = this.#options.settings;
    return this.#queue.length >= recordsMax || this.#queuedBytes >= bytesMax;
  }

  #forget(topic: string, partitions: readonly number[]): void {
    const lost = new Set(partitions);
    const isLost = (delivery: Delivery): boolean =>
      delivery.topic === topic && lost.has(delivery.partition);
    this.#queue = this.#queue.filter((delivery) => !isLost(delivery));
    this.#queuedBytes = this.#queue.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  }

  /** Soon after a rest; under traffic, once in a while. */
  #gatheredInMs(): number {
    const { environment, settings } = this.#options;
    return Math.max(FIRST_MS, this.#takenMs + settings.gatherMs - environment.monotonicMs());
  }

  /** In a while, whatever there is then. */
  #wait(delayMs = this.#options.settings.flushMs): void {
    this.#timer?.cancel();
    if (this.#isEnded) return;
    this.#timer = this.#options.environment.startTimer(delayMs, () => this.#flush());
  }

  #flush(): void {
    if (this.#isEnded || this.#working !== undefined) return;
    this.#working = this.#work().finally(() => (this.#working = undefined));
  }

  async #work(): Promise<void> {
    try {
      if (this.#batch.length === 0) this.#takeBatch();
      if (this.#batch.length > 0) await this.#store();
      if (!this.#isStopping && this.#mayMaintain()) await this.#maintain();
      if (this.#queue.length === 0) this.#wait();
      else this.#wait(this.#isFull() ? 0 : this.#gatheredInMs());
    } catch (error) {
      if (this.#isEnded) return;
      if (!isShopError(error)) {
        this.#breakDown(error);
        return;
      }
      const { settings, onEvent } = this.#options;
      const retryInMs = Math.min(settings.retryMaxMs, settings.retryMinMs * 2 ** this.#failures);
      this.#failures = Math.min(this.#failures + 1, 32);
      this.#isWorking = false;
      onEvent({ kind: "failed", error, retryInMs });
      this.#wait(retryInMs);
    }
  }

  #takeBatch(): void {
    const { recordsMax } = this.#options.settings;
    this.#batch = this.#queue.splice(0, recordsMax);
    if (this.#batch.length > 0) this.#takenMs = this.#options.environment.monotonicMs();
    for (const { bytes } of this.#batch) this.#queuedBytes -= bytes.byteLength;
  }

  async #store(): Promise<void> {
    const { environment, onEvent } = this.#options;
    const batch = this.#batch;
    const startedMs = environment.monotonicMs();
    const nowMs = environment.nowMs();
    await this.#sink.append(batch.map((delivery) => recordOf(delivery, nowMs)));
    this.#batch = [];
    this.#failures = 0;
    await this.#subscription?.ack(batch);
    if (!this.#isWorking) onEvent({ kind: "working" });
    this.#isWorking = true;
    const durationMs = environment.monotonicMs() - startedMs;
    onEvent({ kind: "applied", records: batch.length, durationMs });
  }

  /** When it is idle, or late with it: seals and roll-ups must not wait for a rest for ever. */
  #mayMaintain(): boolean {
    const { environment, settings } = this.#options;
    const latestMs = this.#maintainDueMs + MAINTAIN_LATE_SHARES * settings.maintainMs;
    return this.#queue.length === 0 || environment.monotonicMs() >= latestMs;
  }

  async #maintain(): Promise<void> {
    const { environment, settings, onEvent } = this.#options;
    const nowMs = environment.monotonicMs();
    if (nowMs < this.#maintainDueMs) return;
    this.#maintainDueMs = nowMs + settings.maintainMs;
    await this.#sink.maintain(environment.nowMs());
    this.#failures = 0;
    if (!this.#isWorking) onEvent({ kind: "working" });
    this.#isWorking = true;
  }

  /** What is in hand; what the broker still has it does not say. */
  #measure(): void {
    const { environment, settings, onEvent } = this.#options;
    const oldest = this.#batch[0] ?? this.#queue[0];
    const nowMs = environment.nowMs();
    onEvent({
      kind: "lag",
      records: this.#batch.length + this.#queue.length,
      ageMs: oldest === undefined ? 0 : Math.max(0, nowMs - timeOf(oldest, nowMs)),
    });
    this.#lagTimer = environment.startTimer(settings.lagMs, () => this.#measure());
  }

  #breakDown(error: unknown): void {
    if (this.#isEnded) return;
    void this.#end();
    this.#onExit({ kind: "abnormal", error });
  }

  #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#options.environment.startTimer(this.#options.settings.retryMinMs, resolve);
    return promise;
  }

  async #end(): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#timer?.cancel();
    this.#lagTimer?.cancel();
    await Promise.allSettled([this.#subscription?.close(false)]);
    await Promise.allSettled([this.#sink.close()]);
  }
}

function recordOf(delivery: Delivery, nowMs: number): FeedRecord {
  const { topic, partition, sequence, bytes } = delivery;
  return { topic, partition, sequence, bytes, storedAtMs: timeOf(delivery, nowMs) };
}

/** When the frame was made: brokers do not say when they stored it. */
function timeOf({ bytes }: Delivery, nowMs: number): number {
  return checkFrame(bytes) === undefined ? frameTimeMs(bytes) : nowMs;
}
