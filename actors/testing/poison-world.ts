/**
 * Poison for a virtual shop: every so many-th message that the services publish is spoilt, in one
 * of four ways by turns, and it is remembered which, so that a test can account for each.
 *
 * A message that throws or hangs does so in every service that hears it, for as long as nothing
 * is mended. One that is cut or of an unknown version never comes right: only its producer can
 * send it again. It also watches that no service is given a later message of a key before the
 * spoilt one is among the dead letters.
 */

import type { Outgoing } from "../brokers/broker.ts";
import type { MemoryLog } from "../brokers/memory-log.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { Group } from "../contracts/topics.ts";
import type { HandleBatch, HandleOne, Message } from "../delivery/outcome.ts";
import type { AroundHandler } from "../shard-consumers.ts";

import { CHECKSUM_AT, frameChecksum } from "../../runtime/frames/frame-checksum.ts";
import { FRAME_HEADER_BYTES } from "../../runtime/frames/frame-header.ts";
import { frameId, frameKey, frameType } from "../../runtime/frames/frame.ts";
import { writeU32 } from "../../runtime/frames/little-endian.ts";

export const POISON_KINDS = ["throws", "cut", "version", "hangs"] as const;
export type PoisonKind = (typeof POISON_KINDS)[number];

const VERSION_AT = 4;
const UNKNOWN_VERSION = 9;
/** Where the bytes end that are cut: the header is whole, so a partition is known. */
const CUT_BYTES = FRAME_HEADER_BYTES + 3;

export interface Poison {
  readonly kind: PoisonKind;
  readonly id: string;
  readonly key: string;
  readonly type: number;
  /** As it was published before it was spoilt. */
  readonly original: Outgoing;
}

export interface PoisonOptions {
  /** One in so many messages. */
  readonly every: number;
  /** Nothing is spoilt after so many messages. */
  readonly messagesMax: number;
  /** Which of each run of messages it is, and which kind comes first. */
  readonly seed: number;
}

export class PoisonWorld {
  readonly poisons: Poison[] = [];
  /** Messages that were given to a service too early, by group and key. */
  readonly overtakings: string[] = [];
  /** Messages of a spoilt key that a service was given after the burial. */
  behind = 0;
  published = 0;
  /** Where the letters are; to be set once the shop is open. */
  log: Pick<MemoryLog, "deadLetters"> | undefined;
  readonly #options: PoisonOptions;
  readonly #byId = new Map<string, Poison>();
  /** Deliveries of poison that a group was given, by group and key. */
  readonly #met = new Map<string, Message<ShopEvent>["delivery"]>();
  #isMended = false;

  constructor(options: PoisonOptions) {
    this.#options = options;
  }

  /** From now on handlers take what they choked on. */
  mend(): void {
    this.#isMended = true;
  }

  readonly tamper = (outgoing: Outgoing): readonly Outgoing[] => {
    const { every, messagesMax, seed } = this.#options;
    const at = this.published++;
    if (this.#isMended || at >= messagesMax || at % every !== seed % every) return [outgoing];
    const kind = POISON_KINDS[(this.poisons.length + seed) % POISON_KINDS.length] ?? "throws";
    const { frame } = outgoing;
    const [id, key, type] = [frameId(frame), frameKey(frame), frameType(frame)];
    const poison: Poison = { kind, id, key, type, original: outgoing };
    this.poisons.push(poison);
    this.#byId.set(id, poison);
    return [{ ...outgoing, frame: spoilt(frame, kind) }];
  };

  readonly around: AroundHandler = (group, next) => {
    if (next.kind === "single") {
      const handle: HandleOne<ShopEvent> = (message, signal) =>
        this.#choke(group, [message]) ?? next.handle(message, signal);
      return { ...next, handle };
    }
    const handle: HandleBatch<ShopEvent> = (messages, signal) =>
      this.#choke(group, messages) ?? next.handle(messages, signal);
    return { ...next, handle };
  };

  /** What becomes of a call with poison in it; `undefined`: there is none. */
  #choke(group: Group, messages: readonly Message<ShopEvent>[]): Promise<never> | undefined {
    let worst: PoisonKind | undefined;
    for (const message of messages) {
      const poison = this.#byId.get(message.frame.id);
      if (poison === undefined) this.#watch(group, message);
      else if (!this.#isMended) {
        this.#met.set(`${group}/${poison.key}`, message.delivery);
        worst = worst === "hangs" ? worst : poison.kind;
      }
    }
    if (worst === undefined) return undefined;
    if (worst === "hangs") return new Promise<never>(() => undefined);
    return Promise.reject(new TypeError("undefined is not a function"));
  }

  #watch(group: Group, { frame: { key } }: Message<ShopEvent>): void {
    const met = this.#met.get(`${group}/${key}`);
    if (met === undefined) return;
    const { topic, partition, sequence } = met;
    const isBuried = this.log
      ?.deadLetters(topic, 0, Number.MAX_SAFE_INTEGER)
      .some(
        (letter) =>
          letter.group === group && letter.partition === partition && letter.sequence === sequence,
      );
    if (isBuried === true || this.#isMended) this.behind++;
    else this.overtakings.push(`${group}/${key}`);
  }
}

function spoilt(frame: Uint8Array, kind: PoisonKind): Uint8Array {
  switch (kind) {
    case "throws":
    case "hangs":
      return frame;
    case "cut":
      return frame.slice(0, CUT_BYTES);
    case "version": {
      const other = frame.slice();
      other[VERSION_AT] = UNKNOWN_VERSION;
      writeU32(other, CHECKSUM_AT, frameChecksum(other, 0, other.byteLength));
      return other;
    }
  }
}
