/**
 * Frames on their way to Kafka: in one order, one request at a time, until each is known stored.
 *
 * What comes while a request is under way goes out together with the next. A batch that failed is
 * sent again as it was, so that a client that numbers its records stores them once; nothing
 * overtakes it. Refuses more than its buffer holds, and gives up on every frame at its deadline,
 * whatever the server does: `INDETERMINATE` if the frame may have been stored.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { ErrorCode } from "../../../runtime/errors.ts";
import type { KafkaRecord } from "./kafka-driver.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { RequestPace } from "./request-pace.ts";

/** Of one partition in one request: below what a server takes, unless one record alone is more. */
const PARTITION_BYTES_MAX = 900_000;
const REQUEST_BYTES_MAX = 8 * 1_048_576;
/** Of a record beside its value: key, headers and framing, roughly. */
const OVERHEAD_BYTES = 512;
/** So many frames are company enough. */
const GATHER_FRAMES_MAX = 256;
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 1_000;
const DEADLINE_CHECKS = 16;
/** What a driver says when it knows that nothing was stored. */
const NOT_STORED = ["STORAGE_FAULT", "UNKNOWN_TOPIC", "PAYLOAD_TOO_LARGE"] as const;

export interface PublishQueueOptions {
  readonly environment: Environment;
  readonly timeoutMs: number;
  readonly framesMax: number;
  readonly bytesMax: number;
  readonly batchFramesMax: number;
  /** Between two requests under traffic. */
  readonly gatherMs: number;
  /** One attempt; see `KafkaDriver`. */
  readonly produce: (records: readonly KafkaRecord[]) => Promise<void>;
  readonly renewProducer: () => Promise<void>;
  /** Undefined: it worked. */
  readonly onAttempt: (error: unknown) => void;
}

interface Job {
  remaining: number;
  readonly deadlineMs: number;
  /** Some of it is stored, or may be. */
  isDoubtful: boolean;
  isDone: boolean;
  readonly resolve: () => void;
  readonly reject: (error: ShopError) => void;
}

interface Entry {
  readonly record: KafkaRecord;
  readonly bytes: number;
  readonly job: Job;
}

export class PublishQueue {
  readonly #options: PublishQueueOptions;
  readonly #pace: RequestPace;
  /** In the order of their deadlines. */
  #jobs: Job[] = [];
  #waiting: Entry[] = [];
  #frames = 0;
  #bytes = 0;
  #isPumping = false;
  #isClosed = false;
  /** A batch of unknown fate was given up: its numbers must not be used again. */
  #mustRenew = false;
  #deadlines: Timer | undefined;
  /** Ends the pause between two attempts. */
  #wake: () => void = () => undefined;
  /** Sends what waits for company. */
  #endGather: () => void = () => undefined;
  /** The last job is done. */
  #onIdle: () => void = () => undefined;

  constructor(options: PublishQueueOptions) {
    this.#options = options;
    this.#pace = new RequestPace(options.environment, options.gatherMs);
  }

  /** Resolves when all are stored. Throws `SATURATED` or `CLOSED` at once. */
  publish(records: readonly KafkaRecord[]): Promise<void> {
    if (this.#isClosed) throw new ShopError("CLOSED", "the broker is closed", "never");
    if (records.length === 0) return Promise.resolve();
    const { framesMax, bytesMax, environment, timeoutMs } = this.#options;
    const sizes = records.map(sizeOf);
    const bytes = sizes.reduce((sum, each) => sum + each, 0);
    const fits = this.#frames + records.length <= framesMax && this.#bytes + bytes <= bytesMax;
    // A publication larger than the whole buffer goes alone, or it would never go.
    if (!fits && this.#frames > 0) {
      const held = `${this.#frames} frames wait for Kafka`;
      throw new ShopError("SATURATED", `${held}, of at most ${framesMax}`, "later");
    }
    return new Promise((resolve, reject) => {
      const job: Job = {
        remaining: records.length,
        deadlineMs: environment.monotonicMs() + timeoutMs,
        isDoubtful: false,
        isDone: false,
        resolve,
        reject,
      };
      this.#jobs.push(job);
      records.forEach((record, index) => {
        this.#waiting.push({ record, bytes: sizes[index] ?? 0, job });
      });
      this.#frames += records.length;
      this.#bytes += bytes;
      this.#watchDeadlines();
      this.#start();
      if (this.#isWorthIt()) this.#endGather();
    });
  }

  /** Sends what waits, for `flushMs` at most, and settles the rest. */
  async close(flushMs: number): Promise<void> {
    this.#isClosed = true;
    this.#endGather();
    if (this.#jobs.length > 0) await this.#idleWithin(flushMs);
    for (const job of this.#jobs) this.#fail(job, "CLOSED", "closed before it could be sent");
    this.#jobs = [];
    this.#deadlines?.cancel();
    this.#wake();
  }

  #idleWithin(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const late = this.#options.environment.startTimer(waitMs, resolve);
      this.#onIdle = () => {
        late.cancel();
        resolve();
      };
    });
  }

  #start(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    // In a later turn: what is published in this one goes out together. It handles its failures.
    this.#options.environment.defer(() => void this.#pump());
  }

  async #pump(): Promise<void> {
    for (;;) {
      await this.#gather();
      const batch = this.#take();
      if (batch.length === 0) break;
      this.#pace.noted();
      await this.#send(batch);
      this.#release(batch);
    }
    this.#isPumping = false;
  }

  /** Under traffic, a moment in which more comes: a request costs more than the frames in it. */
  #gather(): Promise<void> {
    const waitMs = this.#pace.waitMs();
    if (waitMs === 0 || this.#isWorthIt()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#options.environment.startTimer(waitMs, resolve);
      this.#endGather = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** Nothing to wait with, or enough of it, or nothing more comes. */
  #isWorthIt(): boolean {
    const { length } = this.#waiting;
    return length === 0 || length >= GATHER_FRAMES_MAX || this.#isClosed;
  }

  /** The next of the queue, as many as one request takes. */
  #take(): readonly Entry[] {
    const { batchFramesMax } = this.#options;
    const sizes = new PlaceSizes();
    const batch: Entry[] = [];
    let bytes = 0;
    let taken = 0;
    for (const entry of this.#waiting) {
      const inPartition = sizes.of(entry.record) + entry.bytes;
      const isFull = bytes + entry.bytes > REQUEST_BYTES_MAX || inPartition > PARTITION_BYTES_MAX;
      if (batch.length > 0 && (batch.length === batchFramesMax || isFull)) break;
      taken++;
      if (entry.job.isDone) {
        this.#release([entry]);
        continue;
      }
      sizes.set(entry.record, inPartition);
      bytes += entry.bytes;
      batch.push(entry);
    }
    this.#waiting = this.#waiting.slice(taken);
    return batch;
  }

  /** Returns when every frame of the batch is stored or nobody waits for it any more. */
  async #send(batch: readonly Entry[]): Promise<void> {
    let wanted = batch;
    let isDoubtful = false;
    for (let attempt = 1; ; attempt++) {
      // Records that may be stored must go again as they were, or not at all.
      if (!isDoubtful) wanted = batch.filter(({ job }) => !job.isDone);
      if (wanted.every(({ job }) => job.isDone)) break;
      const error = await this.#attempt(wanted);
      if (error === undefined) {
        this.#stored(wanted);
        isDoubtful = false;
        break;
      }
      isDoubtful ||= !isShopError(error, ...NOT_STORED);
      for (const { job } of wanted) job.isDoubtful = isDoubtful;
      if (isShopError(error, "PAYLOAD_TOO_LARGE", "UNKNOWN_TOPIC")) {
        await this.#refused(wanted, error, isDoubtful);
        break;
      }
      await this.#backOff(attempt);
    }
    this.#mustRenew ||= isDoubtful;
  }

  /** Nothing of it was stored for one of its frames; whose that is only that one shall hear. */
  async #refused(batch: readonly Entry[], error: ShopError, isDoubtful: boolean): Promise<void> {
    const jobs = Map.groupBy(batch, ({ job }) => job);
    if (jobs.size > 1 && !isDoubtful) {
      for (const own of jobs.values()) await this.#send(own);
      return;
    }
    for (const job of jobs.keys()) this.#fail(job, error.code, error.message);
    this.#forgetDone();
  }

  async #attempt(batch: readonly Entry[]): Promise<unknown> {
    const { produce, renewProducer, onAttempt } = this.#options;
    try {
      if (this.#mustRenew) await renewProducer();
      this.#mustRenew = false;
      for (const { job } of batch) job.isDoubtful = true;
      await produce(batch.map(({ record }) => record));
      onAttempt(undefined);
      return undefined;
    } catch (error) {
      onAttempt(error);
      return error;
    }
  }

  #stored(batch: readonly Entry[]): void {
    for (const { job } of batch) {
      job.remaining--;
      if (job.remaining > 0 || job.isDone) continue;
      job.isDone = true;
      job.resolve();
    }
    this.#forgetDone();
  }

  #fail(job: Job, code: ErrorCode, message: string): void {
    if (job.isDone) return;
    job.isDone = true;
    const retry = code === "PAYLOAD_TOO_LARGE" || code === "CLOSED" ? "never" : "later";
    if (job.isDoubtful)
      job.reject(new ShopError("INDETERMINATE", `may be stored: ${message}`, "later"));
    else job.reject(new ShopError(code, message, retry));
  }

  #release(entries: readonly Entry[]): void {
    this.#frames -= entries.length;
    for (const { bytes } of entries) this.#bytes -= bytes;
  }

  #forgetDone(): void {
    this.#jobs = this.#jobs.filter(({ isDone }) => !isDone);
    if (this.#jobs.length === 0) this.#onIdle();
  }

  #backOff(attempt: number): Promise<void> {
    const { environment } = this.#options;
    const longestMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempt, 10));
    return new Promise((resolve) => {
      const timer = environment.startTimer(longestMs * (0.5 + environment.random() / 2), resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  #watchDeadlines(): void {
    if (this.#deadlines !== undefined) return;
    const { environment, timeoutMs } = this.#options;
    this.#deadlines = environment.startTimer(timeoutMs / DEADLINE_CHECKS, () => {
      this.#deadlines = undefined;
      const nowMs = environment.monotonicMs();
      for (const job of this.#jobs) {
        if (job.deadlineMs > nowMs) break;
        this.#fail(job, "STORAGE_FAULT", `Kafka did not take it within ${timeoutMs} ms`);
      }
      this.#forgetDone();
      if (this.#jobs.length > 0) this.#watchDeadlines();
    });
  }
}

/** Bytes by topic and partition. Of records that follow each other the topic is mostly the same. */
class PlaceSizes {
  readonly #byTopic = new Map<string, Map<number, number>>();
  #topic: string | undefined;
  #ofTopic = new Map<number, number>();

  of({ topic, partition }: KafkaRecord): number {
    return this.#find(topic).get(partition) ?? 0;
  }

  set({ topic, partition }: KafkaRecord, bytes: number): void {
    this.#find(topic).set(partition, bytes);
  }

  #find(topic: string): Map<number, number> {
    if (topic === this.#topic) return this.#ofTopic;
    const ofTopic = this.#byTopic.get(topic) ?? new Map<number, number>();
    this.#byTopic.set(topic, ofTopic);
    this.#topic = topic;
    this.#ofTopic = ofTopic;
    return ofTopic;
  }
}

function sizeOf({ key, value }: KafkaRecord): number {
  return value.byteLength + (key?.byteLength ?? 0) + OVERHEAD_BYTES;
}
