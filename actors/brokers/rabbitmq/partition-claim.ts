/**
 * One partition of one member: a channel of its own, whose delivery tags are the sequences.
 *
 * The server gives the frames of a queue to one consumer at a time. A channel that closes returns
 * all that was not acknowledged, in order and in one step, so a partition is given up by closing
 * its channel. The claim owns its partition from the first delivery, or once its member says that
 * nobody else has it. What a message has beside its bytes is decoded for those few that need it, by
 * the client library as patched in `patches/`. It refuses to acknowledge what is not in hand.
 */

import type { Channel, ChannelModel, LazyMessage, Message } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { Postponement, SubscribeOptions } from "../broker.ts";
import type { RemoteMember, RemoteRecord } from "../remote-member.ts";
import type { AckGather } from "./ack-gather.ts";
import type { GroupMemory } from "./group-memory.ts";
import type { RabbitLink } from "./rabbit-link.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { attemptAfter, copyOf, wasGivenOut } from "./given-message.ts";
import { closeChannel, within } from "./rabbit-link.ts";
import { ANSWER_TIMEOUT_MS } from "./rabbit-settings.ts";

/** Of the prefetch: with so much settled the server is told at once, so that it goes on sending. */
const FULL_SHARE = 0.25;

/** What a claim is to, by whoever keeps the claims of a member. */
export interface ClaimPlace {
  readonly topic: string;
  readonly partition: number;
  /** A later claim to the partition asks the subscriber for it, or has. */
  readonly isSucceeded: (claim: PartitionClaim) => boolean;
}

export interface ClaimOptions extends ClaimPlace {
  readonly environment: Environment;
  readonly queue: string;
  readonly prefetchFrames: number;
  readonly handOverMs: number;
  readonly subscribe: SubscribeOptions;
  readonly remote: RemoteMember;
  readonly memory: GroupMemory;
  readonly acks: AckGather;
  /** Another one each time, and another than other members' ones. */
  readonly newEpoch: () => number;
  readonly link: RabbitLink;
  /** The burial of this copy began and the frame came back: is its letter written? */
  readonly isBuried: (copy: string) => Promise<boolean>;
  /** Lost without having been asked to end, or refused by the subscriber. */
  readonly onLost: (claim: PartitionClaim, error: unknown) => void;
  /** It owns its partition now. */
  readonly onOwned: () => void;
}

type State = "opening" | "waiting" | "assigning" | "owned" | "leaving" | "ended";

/** A frame in hand, and which copy of it this is. */
interface InHand {
  readonly bytes: Buffer;
  readonly copy: string;
}

export class PartitionClaim {
  readonly topic: string;
  readonly partition: number;
  /** Burials under way, by sequence. */
  readonly burials = new Map<number, Promise<unknown>>();
  readonly #options: ClaimOptions;
  readonly #inHand = new Map<number, LazyMessage>();
  /** Copies in hand whose name was needed; of the others the memory knows nothing by us. */
  readonly #named = new Map<number, string>();
  /** Came from the server, not yet handed to `remote`. */
  #arrived: LazyMessage[] = [];
  /** Settled, and the server was not told. */
  #settled: number[] = [];
  #channel: Channel | undefined;
  #state: State = "opening";
  #owning: Promise<boolean> | undefined;
  #isPassingOn = false;
  #isCaughtUp = false;
  #onFinished: (() => void) | undefined;

  constructor(options: ClaimOptions) {
    this.#options = options;
    this.topic = options.topic;
    this.partition = options.partition;
  }

  get isLeaving(): boolean {
    return this.#state === "leaving" || this.#state === "ended";
  }

  /** It consumes, though another member may be before it. */
  get isConsuming(): boolean {
    return this.#state !== "opening" && !this.isLeaving;
  }

  /** Others must not take the partition for free: it consumes, or has not yet stopped to. */
  get isHolding(): boolean {
    return this.#state !== "opening" && this.#state !== "ended";
  }

  /** The subscriber was asked to take the partition on. */
  get isTaking(): boolean {
    return this.#owning !== undefined;
  }

  async open(model: ChannelModel): Promise<void> {
    const { link, prefetchFrames, queue } = this.#options;
    const channel = await link.channel(model, (error) => this.#lose(error));
    if (this.isLeaving) {
      // Given up before it had a channel that could have been closed.
      await closeChannel(this.#options.environment, channel, queue);
      return;
    }
    this.#channel = channel;
    await channel.prefetch(prefetchFrames);
    await channel.consumeLazily(queue, (message) => {
      if (message !== null) this.#take(message);
      else
        this.#abandon(new ShopError("STALE", `${queue}: the server ended the consumer`, "later"));
    });
    if (this.#state === "opening") this.#state = "waiting";
  }

  /** Nobody else has the partition, as far as is known. */
  own(): void {
    if (this.#state === "waiting") void this.#own();
  }

  message(sequence: number): InHand | undefined {
    const message = this.#inHand.get(sequence);
    if (message === undefined) return undefined;
    const { buffer, byteOffset, byteLength } = message.bytes;
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    return { bytes, copy: this.#name(message) };
  }

  /** Of `remote`: these sequences need not be kept any more. */
  noteSettled(sequences: readonly number[]): void {
    const { acks, memory, prefetchFrames, remote, subscribe } = this.#options;
    for (const sequence of sequences) {
      const copy = this.#named.get(sequence);
      if (copy !== undefined) {
        memory.forget(copy);
        this.#named.delete(sequence);
      }
      this.#inHand.delete(sequence);
      this.#settled.push(sequence);
    }
    const isEmpty = remote.inHand(this.topic, this.partition) === 0;
    // Who is asked to let go says itself when it has: it may have more to do than to settle.
    if (isEmpty && subscribe.onRevoking === undefined) this.#onFinished?.();
    acks.add(this, this.#settled.length >= prefetchFrames * FULL_SHARE);
  }

  /** Tells the server what is settled: all up to a point at once, what is above it one by one. */
  flush(): void {
    const channel = this.#channel;
    const sequences = this.#settled.sort((a, b) => a - b);
    this.#settled = [];
    if (channel === undefined || sequences.length === 0) return;
    const position =
      this.#options.remote.position(this.topic, this.partition)?.settled.position ?? 0;
    let through = 0;
    for (const sequence of sequences) if (sequence <= position) through = sequence;
    if (through > 0) acknowledge(channel, through, true);
    for (const sequence of sequences) if (sequence > through) acknowledge(channel, sequence, false);
  }

  /** True once the queue has heard of all that was flushed; false when the channel is gone. */
  async barrier(): Promise<boolean> {
    const channel = this.#channel;
    if (channel === undefined) return false;
    this.flush();
    try {
      const answer = channel.checkQueue(this.#options.queue);
      await within(this.#options.environment, answer, ANSWER_TIMEOUT_MS, this.#options.queue);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Gets ready to end in good order: what is in hand may still be settled, within `handOverMs`. It
   * consumes until `end`, so that nobody else is given the partition before.
   */
  async handOver(): Promise<void> {
    if (this.isLeaving) return;
    const wasOwned = this.#state === "owned";
    this.#state = "leaving";
    if (!wasOwned) {
      // What it is taking on it may have claimed already, and lets go of before others ask for it.
      const { environment, handOverMs, queue } = this.#options;
      const owning = this.#owning ?? Promise.resolve(false);
      await within(environment, owning, handOverMs, queue).catch(() => undefined);
      return;
    }
    this.#options.remote.endDelivering(this.topic, [this.partition]);
    await this.#finish();
    await this.barrier();
  }

  /** At once: what is not acknowledged goes back. Idempotent. */
  async end(): Promise<void> {
    this.#onFinished?.();
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.flush();
    this.#options.remote.revoke(this.topic, [this.partition]);
    const channel = this.#channel;
    this.#forgetChannel();
    if (channel === undefined) return;
    const { environment, queue } = this.#options;
    await closeChannel(environment, channel, queue);
  }

  #forgetChannel(): void {
    this.#channel = undefined;
    this.#arrived = [];
    this.#inHand.clear();
  }

  /** Its channel is of no more use, and would keep the frames of the partition while it is open. */
  #abandon(error: unknown): void {
    // What is settled would come again.
    this.flush();
    const { environment, queue } = this.#options;
    const channel = this.#channel;
    this.#lose(error);
    if (channel !== undefined) void closeChannel(environment, channel, queue);
  }

  /** Its channel is gone. */
  #lose(error: unknown): void {
    if (this.#channel === undefined || this.#state === "ended") return;
    this.#state = "ended";
    this.#forgetChannel();
    this.#onFinished?.();
    this.#options.remote.revoke(this.topic, [this.partition]);
    this.#options.onLost(this, error);
  }

  /** Until the subscriber is done with what is in hand. */
  async #finish(): Promise<void> {
    const { environment, handOverMs, remote, subscribe } = this.#options;
    const { promise: finished, resolve } = Promise.withResolvers<void>();
    this.#onFinished = resolve;
    const timer = environment.startTimer(handOverMs, resolve);
    if (subscribe.onRevoking !== undefined) {
      const done = (): void => resolve();
      subscribe.onRevoking(this.topic, [this.partition]).then(done, done);
    } else if (remote.inHand(this.topic, this.partition) === 0) resolve();
    await finished;
    this.#onFinished = undefined;
    timer.cancel();
  }

  #take(message: LazyMessage): void {
    if (this.#channel === undefined) return;
    this.#arrived.push(message);
    if (!this.#isPassingOn) void this.#passOn();
  }

  async #passOn(): Promise<void> {
    this.#isPassingOn = true;
    try {
      if (!(await this.#own())) return;
      const channel = this.#channel;
      while (this.#arrived.length > 0 && channel !== undefined) {
        if (!this.#isCaughtUp && this.#arrived.some(wasGivenOut)) {
          this.#isCaughtUp = true;
          await this.#options.memory.catchUp();
        }
        const batch = this.#arrived;
        this.#arrived = [];
        const records: RemoteRecord[] = [];
        for (const message of batch) {
          // Nearly none are: to wait for each costs more than all else that is done with it.
          const wasBuried = this.#isDoubtful(message) && (await this.#wasBuried(message));
          // Then the frames come again, maybe to a new claim here, which has tags of its own.
          if (this.#channel !== channel) return;
          if (!wasBuried) records.push(this.#recordOf(message));
        }
        this.#options.remote.received(this.topic, this.partition, records);
      }
    } catch (error) {
      this.#abandon(error);
    } finally {
      this.#isPassingOn = false;
    }
  }

  /** Its burial began, and it came back. */
  #isDoubtful(message: LazyMessage): boolean {
    return wasGivenOut(message) && this.#options.memory.isBeingBuried(copyOf(message));
  }

  /** It is buried already; then the server is told. */
  async #wasBuried(message: LazyMessage): Promise<boolean> {
    const isBuried = await this.#options.isBuried(copyOf(message));
    if (isBuried && this.#channel !== undefined) {
      acknowledge(this.#channel, message.deliveryTag, false);
    }
    return isBuried;
  }

  #recordOf(message: LazyMessage): RemoteRecord {
    const { bytes, deliveryTag: sequence } = message;
    this.#inHand.set(sequence, message);
    if (!wasGivenOut(message)) return { sequence, bytes };
    const postponed = this.#options.memory.postponement(this.#name(message));
    return { sequence, bytes, ...attemptAfter(message, postponed) };
  }

  /** Nearly none is needed: to read it costs more than all else that is done with a frame. */
  #name(message: LazyMessage): string {
    const copy = copyOf(message);
    this.#named.set(message.deliveryTag, copy);
    return copy;
  }

  /** The subscriber was asked for what it does not get to read. Does not reject. */
  async #disown(): Promise<void> {
    const { environment, handOverMs, isSucceeded, queue, subscribe } = this.#options;
    if (isSucceeded(this)) return;
    const leaving = subscribe.onRevoking?.(this.topic, [this.partition]) ?? Promise.resolve(true);
    // Who cannot let go of it in good order, or in time, loses it all the same.
    await within(environment, leaving, handOverMs, queue).catch(() => undefined);
    if (!isSucceeded(this)) subscribe.onRevoked?.(this.topic, [this.partition]);
  }

  #own(): Promise<boolean> {
    this.#owning ??= this.#assign();
    return this.#owning;
  }

  async #assign(): Promise<boolean> {
    if (this.isLeaving) return false;
    this.#state = "assigning";
    const { newEpoch, remote, subscribe, onLost, onOwned } = this.#options;
    try {
      await subscribe.onAssigned?.(this.topic, [this.partition]);
    } catch (error) {
      // Who refused may have begun to take it on.
      await this.#disown();
      // Whoever has it leave ends it, with the other topics of its slot.
      if (this.isLeaving) return false;
      await this.end();
      onLost(this, error);
      return false;
    }
    // It may have been lost or given up meanwhile.
    // Widened: it changes while we wait.
    if (this.#state !== ("assigning" as State)) {
      await this.#disown();
      return false;
    }
    this.#state = "owned";
    const position = { position: 0, settledAbove: [], postponed: new Map<number, Postponement>() };
    remote.assign(this.topic, this.partition, position, newEpoch());
    onOwned();
    return true;
  }
}

/** False when the channel is closing; what it had comes back. */
function acknowledge(channel: Channel, deliveryTag: number, isAllUpTo: boolean): boolean {
  const settled = { fields: { deliveryTag } } as Message; // `ack` reads nothing but the tag
  try {
    channel.ack(settled, isAllUpTo);
    return true;
  } catch {
    return false;
  }
}
