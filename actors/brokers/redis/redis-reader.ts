/**
 * Reads the logs of the partitions that a member holds, on a connection of its own.
 *
 * One command waits at all of them at once. What was delivered before and not acknowledged is
 * fetched first: when a partition is new here, when an answer may have been lost, and when the
 * numbers show that entries went to somebody who is not the owner any more; so every member sees
 * every partition without a gap and in order. Refuses to read where there is no room.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { RemoteMember, RemoteRecord } from "../remote-member.ts";
import type { Argument, RedisLink } from "./redis-link.ts";
import type { RedisSettings } from "./redis-options.ts";

import { InvariantError } from "../../../runtime/errors.ts";
import { logKey, sequenceOf } from "./redis-keys.ts";
import { RedisRefusal } from "./redis-failure.ts";
import { bytes, entries, list, text, whole } from "./redis-reply.ts";
import { RECOVER } from "./redis-scripts.ts";

/** Entries of one partition that are taken over in one step. */
const RECOVER_FRAMES = 128;
/** A frame is taken to be at least this large, so that one answer is not without bound. */
const FRAME_BYTES_MIN = 512;
/** Share of the largest frame seen that is remembered from one answer to the next. */
const FRAME_MEMORY = 0.9;
const RETRY_MS = 100;
const UNBLOCK_RETRY_MS = 5;
const CLOSE_MS = 500;
/** Where the server lets nobody wake a reader, it waits no longer than this. */
const UNWAKEABLE_BLOCK_MS = 200;

export interface RedisReaderOptions {
  readonly settings: RedisSettings;
  readonly environment: Environment;
  /** Of its own. */
  readonly link: RedisLink;
  /** For everything that does not wait. */
  readonly control: RedisLink;
  readonly group: string;
  readonly consumer: string;
  readonly ownersKey: string;
  readonly creditBytes: number;
  readonly member: Pick<RemoteMember, "hasRoom" | "received">;
  /** The server says that it is another's. */
  readonly onStale: (partition: number, fence: string) => void;
  /** The group is not there any more. */
  readonly onGroupGone: () => void;
  readonly onTrouble: (error: unknown) => void;
  /** The log holds what nobody here wrote, or there is a bug: nothing is read any more. */
  readonly onBroken: (error: InvariantError) => void;
}

interface Source {
  readonly topic: string;
  readonly partition: number;
  readonly fence: string;
  readonly key: string;
  /** Everything up to here has been received. */
  last: number;
  /** Entries after it may have been delivered already. */
  isBehind: boolean;
  /** They were handed to somebody, so it counts as another attempt. */
  isTakeOver: boolean;
}

export class RedisReader {
  readonly #options: RedisReaderOptions;
  readonly #sources = new Map<string, Source>();
  /** Outlives its source. */
  readonly #received = new Map<string, number>();
  #running: Promise<void> | undefined;
  #isClosed = false;
  #isBlocked = false;
  #isUnblocking = false;
  #isWoken = false;
  #wakeUp: (() => void) | undefined;
  #reading: Promise<void> | undefined;
  #sweep: Timer | undefined;
  #clientId: number | undefined;
  #frameBytes = FRAME_BYTES_MIN;

  constructor(options: RedisReaderOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
    this.#sweepLater();
  }

  /** `after`: everything up to there is settled or received. */
  add(
    place: { readonly topic: string; readonly partition: number; readonly fence: string },
    after: number,
    hasPending: boolean,
  ): void {
    const { topic, partition, fence } = place;
    const key = logKey(this.#options.settings.prefix, topic, partition);
    const start = { last: after, isBehind: hasPending, isTakeOver: true };
    this.#sources.set(key, { topic, partition, fence, key, ...start });
    this.#received.set(key, after);
    this.wake();
  }

  /** Of the claim that was added last. */
  receivedUpTo(topic: string, partition: number): number {
    return this.#received.get(logKey(this.#options.settings.prefix, topic, partition)) ?? 0;
  }

  remove(partition: number): void {
    for (const [key, source] of this.#sources) {
      if (source.partition === partition) this.#sources.delete(key);
    }
  }

  /** Resolves when no command is under way that may still receive something of them. */
  async stopReading(partitions: readonly number[]): Promise<void> {
    for (const partition of partitions) this.remove(partition);
    this.wake();
    await this.#reading;
  }

  /** There is something to read that there was not, or room for it. */
  wake(): void {
    this.#isWoken = true;
    this.#wakeUp?.();
    if (this.#isBlocked) void this.#unblock();
  }

  /** The connection is new: answers of the old one may have been lost. */
  reconnected(): void {
    this.#clientId = undefined;
    this.#fallBehind();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sources.clear();
    this.#sweep?.cancel();
    // In good order, so that nothing is delivered to a connection that is gone.
    const { environment, link } = this.#options;
    const late = environment.startTimer(CLOSE_MS, () => link.close());
    this.wake();
    if (!link.isUp) link.close();
    await this.#running;
    late.cancel();
    link.close();
  }

  /** Does not reject: what fails is tried again. */
  async #run(): Promise<void> {
    const { link, onTrouble } = this.#options;
    while (!this.#isClosed) {
      this.#isWoken = false;
      try {
        await this.#recoverAll();
        const sources = this.#readable();
        if (sources.length === 0) await this.#sleep();
        else await (this.#reading = this.#read(sources).finally(() => (this.#reading = undefined)));
      } catch (error) {
        if (error instanceof InvariantError) {
          this.#options.onBroken(error);
          return;
        }
        this.#fallBehind();
        if (error instanceof RedisRefusal && error.reply === "NOGROUP") this.#options.onGroupGone();
        onTrouble(error);
        await this.#sleep(RETRY_MS);
        await link.whenUp();
      }
    }
  }

  #readable(): readonly Source[] {
    const { member } = this.#options;
    return [...this.#sources.values()].filter(
      ({ isBehind, topic, partition }) => !isBehind && member.hasRoom(topic, partition),
    );
  }

  async #read(sources: readonly Source[]): Promise<void> {
    const { settings, group, consumer, link } = this.#options;
    if (this.#clientId === undefined) {
      this.#clientId = await link.call("CLIENT", "ID").then(whole, () => undefined);
    }
    const isWakeable = this.#clientId !== undefined;
    const blockMs = isWakeable ? settings.blockMs : UNWAKEABLE_BLOCK_MS;
    const watchdog = this.#watch(blockMs + settings.commandTimeoutMs);
    this.#isBlocked = true;
    if (this.#isWoken) void this.#unblock();
    try {
      const reply = await link.call(
        ...(["XREADGROUP", "GROUP", group, consumer] as const),
        ...(["COUNT", this.#countFor(sources.length), "BLOCK", blockMs] as const),
        ...(["STREAMS", ...sources.map(({ key }) => key)] as const),
        ...sources.map((): Argument => ">"),
      );
      if (reply !== null) this.#take(list(reply));
    } finally {
      this.#isBlocked = false;
      watchdog.cancel();
    }
  }

  #take(reply: readonly unknown[]): void {
    let largest = 0;
    for (const each of reply) {
      const [key, found] = list(each);
      const source = this.#sources.get(text(key));
      const records = entries(found);
      for (const record of records) largest = Math.max(largest, record.bytes.byteLength);
      if (source === undefined || source.isBehind) continue;
      const [first] = records;
      if (first === undefined) continue;
      if (first.sequence !== source.last + 1) {
        // What is missing went to somebody else; it and all of this is taken over in order.
        source.isBehind = true;
        source.isTakeOver = false;
      } else this.#handOn(source, records);
    }
    this.#frameBytes = Math.max(largest, this.#frameBytes * FRAME_MEMORY, FRAME_BYTES_MIN);
  }

  #handOn(source: Source, records: readonly RemoteRecord[]): void {
    const { topic, partition } = source;
    source.last = records.at(-1)?.sequence ?? source.last;
    this.#received.set(source.key, source.last);
    this.#options.member.received(topic, partition, records);
  }

  async #recoverAll(): Promise<void> {
    const { member } = this.#options;
    const behind = [...this.#sources.values()].filter(
      ({ isBehind, topic, partition }) => isBehind && member.hasRoom(topic, partition),
    );
    await Promise.all(behind.map((source) => this.#recover(source)));
  }

  async #recover(source: Source): Promise<void> {
    const { control, group, consumer, ownersKey, member, onStale } = this.#options;
    const { topic, partition, fence, key } = source;
    while (this.#sources.get(key) === source && member.hasRoom(topic, partition)) {
      const framesMax = Math.min(RECOVER_FRAMES, this.#countFor(1));
      const parts = [group, partition, fence, consumer, source.last, framesMax];
      const bump = source.isTakeOver ? 1 : 0;
      const reply = await control.run(RECOVER, [ownersKey, key], ...parts, bump);
      if (this.#sources.get(key) !== source) return;
      if (reply === null) {
        this.#sources.delete(key);
        onStale(partition, fence);
        return;
      }
      const [upTo, ...found] = list(reply);
      if (whole(upTo) === 0) {
        source.isBehind = false;
        return;
      }
      this.#handOn(source, found.map(recoveredOf));
      source.last = whole(upTo);
    }
  }

  #fallBehind(): void {
    for (const source of this.#sources.values()) {
      if (source.isBehind) continue;
      source.isBehind = true;
      source.isTakeOver = false;
    }
  }

  /**
   * Who lost a partition may still have a command under way that receives something of it; nobody
   * would notice before the next frame comes.
   */
  #sweepLater(): void {
    const { environment, settings } = this.#options;
    this.#sweep = environment.startTimer(settings.sessionMs, () => {
      this.#fallBehind();
      this.wake();
      this.#sweepLater();
    });
  }

  #countFor(sources: number): number {
    const { creditBytes, settings } = this.#options;
    const count = Math.floor(creditBytes / (sources * this.#frameBytes));
    return Math.max(1, Math.min(settings.readFramesMax, count));
  }

  #watch(limitMs: number): Timer {
    const { environment, link } = this.#options;
    return environment.startTimer(limitMs, () => link.reconnect());
  }

  /** Ends the command that waits. It may not have begun to, so until it has ended. */
  async #unblock(): Promise<void> {
    const { control, environment } = this.#options;
    const id = this.#clientId;
    if (id === undefined || !this.#isBlocked || this.#isUnblocking) return;
    this.#isUnblocking = true;
    await control.call("CLIENT", "UNBLOCK", id).catch(() => undefined);
    this.#isUnblocking = false;
    // It may have ended the command before this one, or come before this one had begun to wait.
    if (!this.#isBlocked || !this.#isWoken || this.#clientId !== id) return;
    environment.startTimer(UNBLOCK_RETRY_MS, () => void this.#unblock());
  }

  async #sleep(limitMs?: number): Promise<void> {
    if (this.#isClosed || (this.#isWoken && limitMs === undefined)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer =
      limitMs === undefined ? undefined : this.#options.environment.startTimer(limitMs, resolve);
    this.#wakeUp = resolve;
    await promise;
    timer?.cancel();
    this.#wakeUp = undefined;
  }
}

/** `[id, deliveries, bytes]` */
function recoveredOf(reply: unknown): RemoteRecord {
  const [id, attempt, frame] = list(reply);
  return { sequence: sequenceOf(text(id)), attempt: whole(attempt), bytes: bytes(frame) };
}
