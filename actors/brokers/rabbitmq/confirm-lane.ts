/**
 * Publishing in order on one confirm channel, with a window, and an answer to every batch.
 *
 * Frames wait here, bounded, until the window has room, and under traffic for a moment so that
 * more go out together; what was given to the client library is never given again, also when it
 * says that its buffer is full. Each batch is answered by `publishTimeoutMs`, on a lost connection
 * at once. Refuses what exceeds the bounds (`SATURATED`), and everything after `close`.
 */

import type { ConfirmChannel, Options } from "amqplib";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { BatchCount } from "./publish-verdict.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { FrameGather } from "./frame-gather.ts";
import { publishVerdict } from "./publish-verdict.ts";
import { SentWindow } from "./sent-window.ts";

/** Deadlines are looked at this often within the shortest of them. */
const SWEEPS = 4;

export interface RabbitMessage {
  /** Empty: the queue named by the routing key. */
  readonly exchange: string;
  readonly routingKey: string;
  readonly content: Buffer;
  readonly options: Options.Publish;
}

type Cause = BatchCount["cause"];

interface Batch {
  readonly messages: readonly RabbitMessage[];
  readonly startMs: number;
  readonly resolve: () => void;
  readonly reject: (error: ShopError) => void;
  /** Settles with the batch, and never rejects. */
  readonly answered: Promise<void>;
  /** Messages given to the channel. */
  sent: number;
  stored: number;
  unrouted: number;
  declined: number;
  isOver: boolean;
}

interface Sent {
  readonly batch: Batch;
  readonly bytes: number;
  isUnrouted: boolean;
}

export class ConfirmLane {
  readonly #environment: Environment;
  readonly #settings: RabbitSettings;
  /** Not sent, or not to the end, oldest first. */
  readonly #waiting: Batch[] = [];
  readonly #open = new Set<Batch>();
  /** On the channel that is open, and not answered. */
  readonly #sent = new SentWindow<Sent>();
  /** Distinguishes the copies of this lane from all others, wherever they were sent. */
  readonly #origin: string;
  #copies = 0;
  /** Those of earlier channels. */
  #copiesBefore = 0;
  #channel: ConfirmChannel | undefined;
  #windowBytes = 0;
  #waitingFrames = 0;
  #waitingBytes = 0;
  #isBufferFull = false;
  #blockedSinceMs: number | undefined;
  #isClosed = false;
  #sweeper: Timer | undefined;
  readonly #gather: FrameGather;
  /** What waits goes out together when it is due. */
  #gathering: Timer | undefined;

  /** `gatherMs`: how long frames may wait for others under traffic. */
  constructor(environment: Environment, settings: RabbitSettings, gatherMs = 0) {
    this.#environment = environment;
    this.#settings = settings;
    this.#gather = new FrameGather(gatherMs);
    this.#origin = environment.newId();
  }

  get isBlocked(): boolean {
    return this.#blockedSinceMs !== undefined;
  }

  /** What waits goes out on this channel. */
  open(channel: ConfirmChannel): void {
    this.lose();
    this.#channel = channel;
    this.#copiesBefore = this.#copies;
    this.#isBufferFull = false;
    channel.on("close", () => {
      if (channel === this.#channel) this.lose();
    });
    channel.on("drain", () => {
      this.#isBufferFull = false;
      this.#pump();
    });
    channel.on("return", ({ properties }) => {
      if (channel === this.#channel) this.#noteUnrouted(properties.correlationId);
    });
    // Not by callbacks: each would cost more than all else that is kept of a frame.
    channel.on("ack", ({ deliveryTag, multiple }) => {
      if (channel === this.#channel) this.#answer(deliveryTag, multiple, false);
    });
    channel.on("nack", ({ deliveryTag, multiple }) => {
      if (channel === this.#channel) this.#answer(deliveryTag, multiple, true);
    });
    this.#pump();
  }

  /** The channel is gone: what it had and did not confirm may be stored or not. */
  lose(): void {
    if (this.#channel === undefined) return;
    this.#channel = undefined;
    this.#sent.clear();
    this.#windowBytes = 0;
    for (const batch of this.#open) {
      if (this.#isClosed) this.#end(batch, "closed");
      else if (batch.sent > 0) this.#end(batch, "down");
    }
  }

  setBlocked(isBlocked: boolean): void {
    if (isBlocked === this.isBlocked) return;
    this.#blockedSinceMs = isBlocked ? this.#environment.monotonicMs() : undefined;
    if (isBlocked) this.#sweepLater();
    else this.#pump();
  }

  /** Resolves when all are confirmed; see `publishVerdict` for the rest. */
  send(messages: readonly RabbitMessage[]): Promise<void> {
    if (messages.length === 0) return Promise.resolve();
    const bytes = messages.reduce((sum, { content }) => sum + content.byteLength, 0);
    const fault = this.#admissionFault(messages.length, bytes);
    if (fault !== undefined) return Promise.reject(fault);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const startMs = this.#environment.monotonicMs();
    const counts = { sent: 0, stored: 0, unrouted: 0, declined: 0, isOver: false };
    const answered = promise.catch(() => undefined);
    const batch: Batch = { messages, startMs, resolve, reject, answered, ...counts };
    this.#waiting.push(batch);
    this.#open.add(batch);
    this.#waitingFrames += messages.length;
    this.#waitingBytes += bytes;
    this.#sweepLater();
    this.#pumpSoon(startMs, messages.length);
    return promise;
  }

  /** Waits for what is under way, at most `publishTimeoutMs`; then everything is answered. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const answers = [...this.#open].map(({ answered }) => answered);
    this.#pumpNow();
    if (this.#channel === undefined) for (const batch of this.#open) this.#end(batch, "closed");
    await Promise.all(answers);
    this.#sweeper?.cancel();
  }

  #admissionFault(frames: number, bytes: number): ShopError | undefined {
    if (this.#isClosed) return new ShopError("CLOSED", "rabbitmq: the broker is closed", "never");
    const { waitingFramesMax, waitingBytesMax } = this.#settings;
    const isFull =
      this.#waitingFrames + frames > waitingFramesMax ||
      this.#waitingBytes + bytes > waitingBytesMax;
    if (!isFull || this.#waitingFrames === 0) return undefined;
    const text = `rabbitmq: ${this.#waitingFrames} frames wait to be sent already`;
    return new ShopError("SATURATED", text, "later");
  }

  #pumpSoon(nowMs: number, added: number): void {
    const delayMs = this.#gather.delayMs(nowMs, added, this.#waitingFrames);
    if (delayMs === 0) this.#pumpNow();
    else this.#gathering ??= this.#environment.startTimer(delayMs, () => this.#pumpNow());
  }

  #pumpNow(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    this.#pump();
  }

  #pump(): void {
    if (this.#gathering !== undefined) return;
    while (this.#hasWindow()) {
      const [batch] = this.#waiting;
      if (batch === undefined) return;
      if (!batch.isOver) this.#sendNext(batch);
      if (batch.isOver || batch.sent === batch.messages.length) this.#waiting.shift();
    }
  }

  #hasWindow(): boolean {
    if (this.#channel === undefined || this.#isBufferFull || this.isBlocked) return false;
    const { confirmWindowFrames, confirmWindowBytes } = this.#settings;
    return this.#sent.size < confirmWindowFrames && this.#windowBytes < confirmWindowBytes;
  }

  #sendNext(batch: Batch): void {
    const message = batch.messages[batch.sent];
    assert(message !== undefined && this.#channel !== undefined, "there is one to send");
    const { exchange, routingKey, content, options } = message;
    const bytes = content.byteLength;
    this.#windowBytes += bytes;
    this.#waitingFrames--;
    this.#waitingBytes -= bytes;
    batch.sent++;
    const hasRoom = this.#channel.publish(exchange, routingKey, content, {
      ...options,
      correlationId: `${this.#origin}-${this.#copies + 1}`,
      mandatory: true,
      persistent: true,
    });
    // What the library throws for was not counted by the server either.
    this.#copies++;
    this.#sent.add({ batch, bytes, isUnrouted: false });
    if (!hasRoom) this.#isBufferFull = true;
  }

  /** Told before the frame is confirmed. */
  #noteUnrouted(copy: unknown): void {
    if (typeof copy !== "string") return;
    const number = Number(copy.slice(this.#origin.length + 1)) - this.#copiesBefore;
    const sent = this.#sent.find(number);
    if (sent !== undefined) sent.isUnrouted = true;
  }

  #answer(number: number, isAllUpTo: boolean, isDeclined: boolean): void {
    this.#sent.answer(number, isAllUpTo, ({ batch, bytes, isUnrouted }) => {
      this.#windowBytes -= bytes;
      if (isDeclined) batch.declined++;
      else if (isUnrouted) batch.unrouted++;
      else batch.stored++;
      const answered = batch.stored + batch.unrouted + batch.declined;
      if (answered === batch.messages.length) this.#end(batch, "late");
    });
    this.#pump();
  }

  #end(batch: Batch, cause: Cause): void {
    if (batch.isOver) return;
    batch.isOver = true;
    this.#open.delete(batch);
    const { messages, sent, stored, unrouted, declined } = batch;
    for (const { content } of messages.slice(sent)) {
      this.#waitingFrames--;
      this.#waitingBytes -= content.byteLength;
    }
    const error = publishVerdict({
      frames: messages.length,
      stored,
      unrouted,
      declined,
      unsure: sent - stored - unrouted - declined,
      unsent: messages.length - sent,
      cause,
    });
    if (error === undefined) batch.resolve();
    else batch.reject(error);
  }

  #sweepLater(): void {
    if (this.#sweeper !== undefined) return;
    const { fullWaitMs, publishTimeoutMs } = this.#settings;
    const everyMs = Math.min(fullWaitMs, publishTimeoutMs) / SWEEPS;
    this.#sweeper = this.#environment.startTimer(everyMs, () => {
      this.#sweeper = undefined;
      this.#sweep();
      if (this.#open.size > 0) this.#sweepLater();
    });
  }

  #sweep(): void {
    const nowMs = this.#environment.monotonicMs();
    const { fullWaitMs, publishTimeoutMs } = this.#settings;
    for (const batch of this.#open) {
      const blockedMs = nowMs - Math.max(batch.startMs, this.#blockedSinceMs ?? nowMs);
      if (batch.sent === 0 && blockedMs >= fullWaitMs) this.#end(batch, "blocked");
      else if (nowMs - batch.startMs >= publishTimeoutMs) {
        this.#end(batch, this.#channel === undefined ? "down" : "late");
      }
    }
    while (this.#waiting[0]?.isOver === true) this.#waiting.shift();
  }
}
