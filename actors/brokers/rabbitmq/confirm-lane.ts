/**
 * Publishing in order on one confirm channel, with a window, and an answer to every batch.
 *
 * Frames wait here, bounded, until the window has room, and under traffic for a moment so that
 * more go out together: what is sent in one turn is encoded into one piece, which the client
 * library takes as patched in `patches/`. What it was given is never given again, also when it says
 * that its buffer is full. Each batch is answered by `publishTimeoutMs`, on a lost connection at
 * once. Refuses what exceeds the bounds (`SATURATED`), what cannot be encoded (`BAD_MESSAGE`), and
 * everything after `close`.
 */

import type { ConfirmChannel } from "amqplib";

import { IllegalOperationError } from "amqplib";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { RabbitMessage } from "./publish-encoder.ts";
import type { BatchCount } from "./publish-verdict.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { FrameGather } from "./frame-gather.ts";
import { PublishEncoder } from "./publish-encoder.ts";
import { publishVerdict } from "./publish-verdict.ts";
import { SentWindow } from "./sent-window.ts";

/** Deadlines are looked at this often within the shortest of them. */
const SWEEPS = 4;
/** So much is given to the client library at a time. */
const WRITE_BYTES = 64 * 1_024;

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
  /** For the channel; empty between two turns. */
  #encoder: PublishEncoder | undefined;
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
    this.#encoder = new PublishEncoder({
      channel: channel.ch,
      frameBytesMax: channel.connection.frameMax,
      copyPrefix: `${this.#origin}-`,
    });
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
    this.#encoder = undefined;
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

  /**
   * Resolves when all are confirmed; see `publishVerdict` for the rest. What cannot be encoded is
   * found when its turn comes: first of its batch it is `BAD_MESSAGE`, and behind others, which
   * are sent by then, `INDETERMINATE`. Never throws.
   */
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
      if (batch === undefined) break;
      if (!batch.isOver) this.#sendNext(batch);
      if (batch.isOver || batch.sent === batch.messages.length) this.#waiting.shift();
    }
    this.#write();
  }

  #hasWindow(): boolean {
    if (this.#channel === undefined || this.#isBufferFull || this.isBlocked) return false;
    const { confirmWindowFrames, confirmWindowBytes } = this.#settings;
    return this.#sent.size < confirmWindowFrames && this.#windowBytes < confirmWindowBytes;
  }

  #sendNext(batch: Batch): void {
    const message = batch.messages[batch.sent];
    const encoder = this.#encoder;
    assert(message !== undefined && encoder !== undefined, "there is one to send");
    if (!encoder.add(message, this.#copies + 1)) {
      const outcome = this.#publishAlone(message);
      if (outcome === "unfit") this.#end(batch, "unfit");
      if (outcome !== "sent") return;
    }
    const bytes = message.content.byteLength;
    this.#windowBytes += bytes;
    this.#waitingFrames--;
    this.#waitingBytes -= bytes;
    batch.sent++;
    this.#copies++;
    this.#sent.add({ batch, bytes, isUnrouted: false });
    if (encoder.bytes >= WRITE_BYTES) this.#write();
  }

  /**
   * By the library's own encoder, behind what was encoded before. `unfit`: it cannot either.
   * `lost`: the channel is gone, and the message was not sent.
   */
  #publishAlone(message: RabbitMessage): "sent" | "unfit" | "lost" {
    const { exchange, routingKey, content, options } = message;
    this.#write();
    if (this.#channel === undefined) return "lost";
    try {
      const hasRoom = this.#channel.publish(exchange, routingKey, content, {
        ...options,
        correlationId: `${this.#origin}-${this.#copies + 1}`,
        mandatory: true,
        persistent: true,
      });
      if (!hasRoom) this.#isBufferFull = true;
      return "sent";
    } catch (error) {
      // Both are thrown before anything is written.
      if (error instanceof TypeError || error instanceof RangeError) return "unfit";
      this.#loseClosing(error);
      return "lost";
    }
  }

  #write(): void {
    const encoder = this.#encoder;
    if (encoder === undefined || encoder.count === 0) return;
    const { count } = encoder;
    try {
      const hasRoom = this.#channel?.publishEncoded(encoder.take(), count);
      if (hasRoom === false) this.#isBufferFull = true;
    } catch (error) {
      this.#loseClosing(error);
    }
  }

  /** The library takes nothing while it closes by itself, and tells of the end only afterwards. */
  #loseClosing(error: unknown): void {
    if (!(error instanceof IllegalOperationError)) throw error;
    this.lose();
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
