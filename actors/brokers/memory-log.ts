/**
 * What a broker remembers, held in memory: log, positions of groups, dead letters.
 *
 * It outlives the broker that works on it, so that a restart of that broker can be played, and
 * nothing else. Bytes are bounded: records that every group has settled make room for new ones;
 * when there are none, it refuses with `STORAGE_FULL` and names the group that lags. The bytes of
 * records are counted; each partition may have a segment that is partly empty on top.
 */

import type { Burial, DeadLetter, DeliveryRef, Outgoing, Postponement } from "./broker.ts";
import type { LogRecord, PassedRange, StoredPosition } from "./log-source.ts";
import type { SettledSet } from "../stores/journal/settled-set.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../runtime/frames/frame-header.ts";
import { frameSlot } from "../../runtime/frames/frame.ts";
import { addSettled, addSettledRange, settledAbove } from "../stores/journal/settled-set.ts";
import { RecordRun } from "./record-run.ts";

export interface MemoryLogOptions {
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly logBytesMax: number;
  readonly deadLetterBytesMax: number;
}

/** A frame's place in the log. */
export interface Appended {
  readonly topic: string;
  readonly partition: number;
  readonly record: LogRecord;
}

interface Position {
  readonly settled: SettledSet;
  readonly postponed: Map<number, Postponement>;
}

interface Group {
  /** Only these hold back the pruning of the log. */
  readonly subscribed: Set<string>;
  readonly positions: ReadonlyMap<string, readonly Position[]>;
}

export class MemoryLog {
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly #logBytesMax: number;
  readonly #deadLetterBytesMax: number;
  readonly #log = new Map<string, readonly RecordRun[]>();
  readonly #groups = new Map<string, Group>();
  readonly #deadLetters: DeadLetter[] = [];
  #logBytes = 0;
  #lastDeadLetterId = 0;
  #deadLetterBytes = 0;
  #epochs = 0;

  constructor(options: MemoryLogOptions) {
    this.topics = options.topics;
    this.partitions = options.partitions;
    this.#logBytesMax = options.logBytesMax;
    this.#deadLetterBytesMax = options.deadLetterBytesMax;
    for (const topic of options.topics) {
      this.#log.set(
        topic,
        times(options.partitions, () => new RecordRun()),
      );
    }
  }

  get logBytes(): number {
    return this.#logBytes;
  }

  /** Epochs of one run of the broker start above those of every run before. */
  nextFirstEpoch(): number {
    this.#epochs += 1_000_000_000;
    return this.#epochs;
  }

  /** Appends all or none. Throws `UNKNOWN_TOPIC`, `BAD_FRAME` or `STORAGE_FULL`. */
  append(frames: readonly Outgoing[]): readonly Appended[] {
    const partitions: number[] = [];
    let bytes = 0;
    for (const { topic, frame } of frames) {
      partitions.push(this.#partitionOf(topic, frame));
      bytes += frame.byteLength;
    }
    this.#makeRoom(bytes);
    this.#logBytes += bytes;
    return frames.map(({ topic, frame }, at) => {
      const partition = partitions[at]!; // `!`: one was pushed for each frame
      return { topic, partition, record: this.#partition(topic, partition).append(frame) };
    });
  }

  read(
    topic: string,
    partition: number,
    afterSequence: number,
    framesMax: number,
    bytesMax: number,
  ): readonly LogRecord[] {
    return this.#partition(topic, partition).read(afterSequence, framesMax, bytesMax);
  }

  /** A group's positions begin where the log begins or ends at its first subscription. */
  registerGroup(name: string, topics: readonly string[], from: "earliest" | "latest"): void {
    const known = this.#groups.get(name);
    const group = known ?? { subscribed: new Set(), positions: this.#newPositions(from) };
    for (const topic of topics) group.subscribed.add(topic);
    this.#groups.set(name, group);
  }

  stored(group: string, topic: string, partition: number): StoredPosition {
    const { settled, postponed } = this.#position(group, topic, partition);
    return {
      position: settled.position,
      settledAbove: settledAbove(settled),
      postponed,
      tail: this.#tail(topic, partition),
    };
  }

  settle(ref: DeliveryRef): void {
    const { settled, postponed } = this.#position(ref.group, ref.topic, ref.partition);
    if (postponed.size > 0) postponed.delete(ref.sequence);
    addSettled(settled, ref.sequence);
  }

  passBy({ group, topic, partition, first, last }: PassedRange): void {
    const { settled, postponed } = this.#position(group, topic, partition);
    addSettledRange(settled, first, last);
    for (const sequence of postponed.keys()) {
      if (sequence >= first && sequence <= last) postponed.delete(sequence);
    }
  }

  postpone(ref: DeliveryRef, postponement: Postponement): void {
    const { postponed } = this.#position(ref.group, ref.topic, ref.partition);
    postponed.set(ref.sequence, postponement);
  }

  /** Keeps the frame and settles it. Throws `STORAGE_FULL` with neither done. */
  bury(ref: DeliveryRef, burial: Burial, buriedAtMs: number): void {
    const { group, topic, partition, sequence } = ref;
    const bytes = this.#partition(topic, partition).get(sequence)?.slice();
    assert(bytes !== undefined, `${topic}/${partition}/${sequence} is unsettled but not stored`);
    if (this.#deadLetterBytes + bytes.byteLength > this.#deadLetterBytesMax) {
      throw new ShopError("STORAGE_FULL", "the dead letters are full", "later");
    }
    const id = ++this.#lastDeadLetterId;
    this.#deadLetters.push({ id, group, topic, partition, sequence, bytes, burial, buriedAtMs });
    this.#deadLetterBytes += bytes.byteLength;
    this.settle(ref);
  }

  deadLetters(topic: string, afterId: number, limit: number): readonly DeadLetter[] {
    const later = this.#deadLetters.filter((letter) => letter.topic === topic);
    return later.filter((letter) => letter.id > afterId).slice(0, limit);
  }

  hasDeadLetter(id: number): boolean {
    return this.#deadLetters.some((letter) => letter.id === id);
  }

  /** One that was put back, or discarded. Nothing happens when it is gone already. */
  removeDeadLetter(id: number): void {
    const index = this.#deadLetters.findIndex((letter) => letter.id === id);
    const [removed] = index < 0 ? [] : this.#deadLetters.splice(index, 1);
    this.#deadLetterBytes -= removed?.bytes.byteLength ?? 0;
  }

  #newPositions(from: "earliest" | "latest"): ReadonlyMap<string, readonly Position[]> {
    const positions = new Map<string, readonly Position[]>();
    for (const topic of this.topics) {
      const begin = (partition: number): Position => ({
        settled: {
          position: from === "earliest" ? 0 : this.#tail(topic, partition),
          ranges: [],
        },
        postponed: new Map(),
      });
      positions.set(topic, times(this.partitions, begin));
    }
    return positions;
  }

  #partitionOf(topic: string, frame: Uint8Array): number {
    if (!this.#log.has(topic)) {
      const known = this.topics.join(", ");
      throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}; there are ${known}`, "never");
    }
    const slot = frame.byteLength < FRAME_HEADER_BYTES ? undefined : frameSlot(frame);
    if (slot === undefined || slot >= this.partitions) {
      const why = slot === undefined ? "shorter than a header" : `for slot ${slot}`;
      throw new ShopError("BAD_FRAME", `${topic} has no partition for bytes ${why}`, "never");
    }
    return slot;
  }

  #makeRoom(bytes: number): void {
    if (this.#logBytes + bytes > this.#logBytesMax) this.#prune();
    if (this.#logBytes + bytes <= this.#logBytesMax) return;
    const laggard = this.#laggard();
    const why = laggard === undefined ? "no group reads it" : `group ${laggard} lags`;
    throw new ShopError("STORAGE_FULL", `the log holds ${this.#logBytes} bytes: ${why}`, "later");
  }

  #prune(): void {
    for (const [topic, partitions] of this.#log) {
      for (const [index, log] of partitions.entries()) {
        this.#logBytes -= log.dropThrough(this.#settledByAll(topic, index));
      }
    }
  }

  #settledByAll(topic: string, partition: number): number {
    const readers = [...this.#groups.values()].filter(({ subscribed }) => subscribed.has(topic));
    const positions = readers.map(
      (group) => group.positions.get(topic)?.[partition]?.settled.position ?? 0,
    );
    return positions.length === 0 ? 0 : Math.min(...positions);
  }

  /** The group with the most records before it. */
  #laggard(): string | undefined {
    let worst: { readonly name: string; readonly behind: number } | undefined;
    for (const [name, { subscribed, positions }] of this.#groups) {
      let behind = 0;
      for (const topic of subscribed) {
        for (const [index, { settled }] of positions.get(topic)?.entries() ?? []) {
          behind += this.#tail(topic, index) - settled.position;
        }
      }
      if (behind > (worst?.behind ?? 0)) worst = { name, behind };
    }
    return worst?.name;
  }

  #partition(topic: string, index: number): RecordRun {
    const partition = this.#log.get(topic)?.[index];
    assert(partition !== undefined, `no partition ${topic}/${index}`);
    return partition;
  }

  #tail(topic: string, index: number): number {
    return this.#partition(topic, index).tail;
  }

  #position(group: string, topic: string, index: number): Position {
    const position = this.#groups.get(group)?.positions.get(topic)?.[index];
    assert(position !== undefined, `group ${group} has no position in ${topic}/${index}`);
    return position;
  }
}

function times<Value>(count: number, make: (index: number) => Value): Value[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
