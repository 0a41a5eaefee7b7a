/**
 * How much waits in the outbox of one broker, as one shard can know it.
 *
 * It stands between the broker and the consumer and watches deliveries come and go. As long as the
 * credit is not used up, everything that waits is in hand, and its number is exact. Beyond that it
 * is counted: what was there at the start and what this shard's units have added, less what was
 * settled; the broker's own count sets it right whenever the consumer asks for it. Timers that were
 * started and cancelled make it too high until then, never too low.
 */

import type {
  Broker,
  Delivery,
  DeliveryRef,
  PartitionStanding,
  SubscribeOptions,
  Subscription,
} from "../brokers/broker.ts";

import { FRAME_HEADER_BYTES } from "../../runtime/frames/frame-header.ts";
import { frameTimeMs } from "../../runtime/frames/frame.ts";
import { SLOTS_MAX } from "../../runtime/limits.ts";

/** Share of the credit in hand from which on more may wait behind it. */
const CREDIT_SHARE = 0.75;

interface InHand {
  readonly timeMs: number;
  readonly bytes: number;
}

export class OutboxGauge implements Pick<Broker, "subscribe"> {
  readonly #broker: Pick<Broker, "subscribe">;
  readonly #inHand = new Map<number, InHand>();
  /** What the broker last said of each partition: frames in hand and behind them. */
  readonly #standing = new Map<number, number>();
  #inHandBytes = 0;
  #creditFrames = 0;
  #creditBytes = 0;
  /** Waiting by the count, whether in hand or not; only asked when the credit is used up. */
  #counted: number;

  /** `depthAtStart`: frames that wait already. */
  constructor(broker: Pick<Broker, "subscribe">, depthAtStart: number) {
    this.#broker = broker;
    this.#counted = depthAtStart;
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    this.#creditFrames = options.creditFrames;
    this.#creditBytes = options.creditBytes;
    const inner = await this.#broker.subscribe({
      ...options,
      onDeliveries: (deliveries) => {
        for (const delivery of deliveries) this.#arrive(delivery);
        options.onDeliveries(deliveries);
      },
      onRevoked: (topic, partitions) => {
        for (const partition of partitions) this.#lose(partition);
        options.onRevoked?.(topic, partitions);
      },
    });
    return {
      ack: async (deliveries) => {
        const results = await inner.ack(deliveries);
        for (const [at, ref] of deliveries.entries()) {
          if (results[at] !== "stale") this.settled(ref);
        }
        return results;
      },
      postpone: (ref, postponement) => inner.postpone(ref, postponement),
      bury: async (ref, burial) => {
        const result = await inner.bury(ref, burial);
        if (result !== "stale") this.settled(ref);
        return result;
      },
      standing: (look) =>
        inner.standing((standings) => {
          this.#believe(standings);
          look(standings);
        }),
      pause: () => inner.pause(),
      resume: () => inner.resume(),
      close: (isAtRest) => inner.close(isAtRest),
    };
  }

  appended(frames: number): void {
    this.#counted += frames;
  }

  /** Also to be told of what was settled in a commit. */
  settled(ref: DeliveryRef): void {
    if (this.#remove(placeOf(ref))) this.#counted = Math.max(0, this.#counted - 1);
  }

  depth(): number {
    const inHand = this.#inHand.size;
    const isExact =
      inHand < this.#creditFrames * CREDIT_SHARE &&
      this.#inHandBytes < this.#creditBytes * CREDIT_SHARE;
    if (isExact && this.#creditFrames > 0) this.#counted = inHand;
    return Math.max(inHand, this.#counted);
  }

  /** Of the frames in hand; 0 when there are none. */
  oldestAgeMs(nowMs: number): number {
    let oldestMs = nowMs;
    for (const { timeMs } of this.#inHand.values()) oldestMs = Math.min(oldestMs, timeMs);
    return nowMs - oldestMs;
  }

  #arrive(delivery: Delivery): void {
    const { bytes } = delivery;
    const isWhole = bytes.byteLength >= FRAME_HEADER_BYTES;
    const timeMs = isWhole ? frameTimeMs(bytes) : 0;
    const place = placeOf(delivery);
    this.#remove(place);
    this.#inHand.set(place, { timeMs, bytes: bytes.byteLength });
    this.#inHandBytes += bytes.byteLength;
  }

  #believe(standings: readonly PartitionStanding[]): void {
    for (const { partition, inHand, waiting } of standings) {
      this.#standing.set(partition, inHand + waiting);
    }
    let sum = 0;
    for (const frames of this.#standing.values()) sum += frames;
    this.#counted = sum;
  }

  #lose(partition: number): void {
    this.#standing.delete(partition);
    for (const place of this.#inHand.keys()) {
      if (place % SLOTS_MAX === partition) this.#remove(place);
    }
  }

  #remove(place: number): boolean {
    const known = this.#inHand.get(place);
    if (known === undefined) return false;
    this.#inHandBytes -= known.bytes;
    return this.#inHand.delete(place);
  }
}

/** One number for a place in the outbox: exact up to 2^37 frames a partition. */
function placeOf({ partition, sequence }: DeliveryRef): number {
  return sequence * SLOTS_MAX + partition;
}
