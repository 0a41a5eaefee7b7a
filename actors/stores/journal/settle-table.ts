/**
 * What every group has settled, and what it has put off.
 *
 * One row per group and topic holds all its partitions; a transaction rewrites the rows it touched
 * once, however many deliveries it settled. Refuses to settle what was never written: the caller
 * asks `knows` first.
 */

import type { DeliveryRef, Postponement, SettleResult } from "../../brokers/broker.ts";
import type { JournalDatabase } from "./journal-database.ts";
import type { PassedRange } from "../../brokers/log-source.ts";
import type { Damage, PartitionPosition, Postponed } from "./journal-types.ts";
import type { LogTable } from "./log-table.ts";
import type { SettledSet } from "./settled-set.ts";
import type { Topology } from "./log-parts.ts";
import type { UndoLog } from "./undo-log.ts";

import { assert } from "../../../runtime/errors.ts";
import { ERROR_CHARS_MAX } from "./journal-limits.ts";
import { recordChecksum } from "./record-checksum.ts";
import {
  addSettled,
  addSettledRange,
  decodeSettled,
  encodeSettled,
  hasSettled,
  settledAbove,
  settleThrough,
} from "./settled-set.ts";

/** One group's view of one topic. */
export interface Consumer {
  readonly group: string;
  readonly topic: string;
  readonly firstPart: number;
  readonly sets: SettledSet[];
  /** Per partition, by sequence. */
  readonly postponed: Map<number, Postponed>[];
  /** Changed by the transaction in hand. */
  isDirty: boolean;
  /** Partitions to which that transaction left the way back. */
  readonly saved: Set<number>;
}

interface PostponedRow extends Postponed {
  readonly consumer: string;
  readonly topic: string;
  readonly partition: number;
}

export class SettleTable {
  readonly #topology: Topology;
  readonly #log: LogTable;
  readonly #undo: UndoLog;
  readonly #consumers = new Map<string, Map<string, Consumer>>();
  readonly #damaged: Consumer[] = [];
  #dirty: Consumer[] = [];
  readonly #replace;
  readonly #remove;
  readonly #replacePostponed;
  readonly #deletePostponed;
  readonly #removePostponed;

  /** Reads all positions; rows that fail their checksum start at the oldest record kept. */
  constructor(
    { handle, undo }: JournalDatabase,
    topology: Topology,
    log: LogTable,
    damage: Damage[],
  ) {
    this.#topology = topology;
    this.#log = log;
    this.#undo = undo;
    this.#replace = handle.prepare<unknown, [string, string, number, Uint8Array]>(
      "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
    );
    this.#remove = handle.prepare<unknown, [string]>("DELETE FROM position WHERE consumer = ?");
    this.#replacePostponed = handle.prepare<
      unknown,
      [string, string, number, number, number, number, string, string]
    >("INSERT OR REPLACE INTO postponed VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    this.#deletePostponed = handle.prepare<unknown, [string, string, number, number]>(
      "DELETE FROM postponed WHERE consumer = ? AND topic = ? AND partition = ? AND sequence = ?",
    );
    this.#removePostponed = handle.prepare<unknown, [string]>(
      "DELETE FROM postponed WHERE consumer = ?",
    );
    this.#load(handle, damage);
  }

  /** Adds `topic` to `group` at its oldest record, or after its newest; a known one stays. */
  register(group: string, topic: string, from: "earliest" | "latest"): void {
    if (this.#consumers.get(group)?.has(topic)) return;
    const consumer = this.#create(group, topic);
    for (let partition = 0; partition < this.#topology.slots; partition++) {
      const part = consumer.firstPart + partition;
      const position = from === "latest" ? this.#log.last(part) : this.#log.first(part) - 1;
      consumer.sets.push({ position, ranges: [] });
    }
    this.#touch(consumer);
    this.#undo.push(() => void this.#consumers.get(group)?.delete(topic));
  }

  /** Removes `group` with all its positions and postponements. */
  forget(group: string): void {
    const before = this.#consumers.get(group);
    if (before === undefined) return;
    this.#remove.run(group);
    this.#removePostponed.run(group);
    this.#consumers.delete(group);
    this.#undo.push(() => void this.#consumers.set(group, before));
  }

  /** The group's view of the topic, if `ref` names a record it can settle. */
  knows(ref: DeliveryRef): Consumer | undefined {
    const consumer = this.#consumers.get(ref.group)?.get(ref.topic);
    if (consumer === undefined) return undefined;
    if (ref.partition < 0 || ref.partition >= this.#topology.slots) return undefined;
    const isWritten = ref.sequence <= this.#log.last(consumer.firstPart + ref.partition);
    return isWritten && ref.sequence >= 1 ? consumer : undefined;
  }

  isSettled(consumer: Consumer, partition: number, sequence: number): boolean {
    return hasSettled(setOf(consumer, partition), sequence);
  }

  settle(consumer: Consumer, partition: number, sequence: number): SettleResult {
    const set = setOf(consumer, partition);
    this.#save(consumer, partition, set);
    if (!addSettled(set, sequence)) return "repeat";
    this.#touch(consumer);
    const postponed = postponedOf(consumer, partition);
    const before = postponed.size === 0 ? undefined : postponed.get(sequence);
    if (before !== undefined) {
      this.#deletePostponed.run(consumer.group, consumer.topic, partition, sequence);
      postponed.delete(sequence);
      this.#undo.push(() => void postponed.set(sequence, before));
    }
    return "settled";
  }

  /** Every group that is registered. */
  groups(): readonly string[] {
    return [...this.#consumers.keys()];
  }

  /** Settles all up to `sequence`, as far as the log goes; a group or topic unknown is ignored. */
  advance(group: string, topic: string, partition: number, sequence: number): void {
    const consumer = this.#consumers.get(group)?.get(topic);
    if (consumer === undefined || partition >= this.#topology.slots) return;
    const set = setOf(consumer, partition);
    const through = Math.min(sequence, this.#log.last(consumer.firstPart + partition));
    if (through <= set.position) return;
    this.#save(consumer, partition, set);
    settleThrough(set, through);
  }

  /** What was passed by was never in hand, so there is no postponement to forget. */
  passBy(consumer: Consumer, { partition, first, last }: PassedRange): void {
    const set = setOf(consumer, partition);
    this.#save(consumer, partition, set);
    this.#touch(consumer);
    addSettledRange(set, first, last);
  }

  /** Remembers attempt and due time; the first error stays. */
  postpone(
    consumer: Consumer,
    partition: number,
    sequence: number,
    { attempt, notBeforeMs, error }: Postponement,
  ): SettleResult {
    if (this.isSettled(consumer, partition, sequence)) return "repeat";
    const postponed = postponedOf(consumer, partition);
    const before = postponed.get(sequence);
    const lastError = errorText(error);
    const firstError = before?.firstError ?? lastError;
    const next = { sequence, attempt, notBeforeMs, firstError, lastError };
    const { group, topic } = consumer;
    this.#replacePostponed.run(
      group,
      topic,
      partition,
      sequence,
      attempt,
      notBeforeMs,
      firstError,
      lastError,
    );
    postponed.set(sequence, next);
    this.#undo.push(() => {
      if (before === undefined) postponed.delete(sequence);
      else postponed.set(sequence, before);
    });
    return "settled";
  }

  /** Attempts of the delivery so far, as far as they were put down. */
  attempts(consumer: Consumer, partition: number, sequence: number): number {
    return postponedOf(consumer, partition).get(sequence)?.attempt ?? 0;
  }

  /** Lets the transaction in hand rewrite the rows that failed their checksum at open. */
  repair(): void {
    for (const consumer of this.#damaged.splice(0)) this.#touch(consumer);
  }

  /** Writes the rows that the transaction touched. */
  flush(): void {
    for (const consumer of this.#dirty) {
      const data = encodeSettled(consumer.sets);
      this.#replace.run(consumer.group, consumer.topic, checksumOf(consumer, data), data);
      consumer.isDirty = false;
      consumer.saved.clear();
    }
    this.#dirty = [];
  }

  /** Highest sequence of `part` that every group of its topic has settled, but those absent. */
  settledThrough(part: number, absent: readonly string[] = []): number {
    const topic = this.#topology.topicOf(part);
    const partition = this.#topology.partitionOf(part);
    let through = this.#log.last(part);
    for (const consumer of this.consumersOf(topic)) {
      if (absent.includes(consumer.group)) continue;
      through = Math.min(through, setOf(consumer, partition).position);
    }
    return through;
  }

  /** All groups that read `topic`. */
  *consumersOf(topic: string): Iterable<Consumer> {
    for (const topics of this.#consumers.values()) {
      const consumer = topics.get(topic);
      if (consumer !== undefined) yield consumer;
    }
  }

  /** Every partition that the group reads, with its newest sequence. */
  *parts(
    group: string,
  ): Iterable<{ readonly consumer: Consumer; readonly partition: number; readonly last: number }> {
    for (const consumer of this.#consumers.get(group)?.values() ?? []) {
      for (let partition = 0; partition < this.#topology.slots; partition++) {
        yield { consumer, partition, last: this.#log.last(consumer.firstPart + partition) };
      }
    }
  }

  /** Counts as settled what is gone from the log without `group`; false: nothing is. */
  passGone(group: string): boolean {
    let isGone = false;
    for (const { consumer, partition } of this.parts(group)) {
      const through = this.#log.first(consumer.firstPart + partition) - 1;
      if (through <= setOf(consumer, partition).position) continue;
      isGone = true;
      this.advance(group, consumer.topic, partition, through);
      const postponed = postponedOf(consumer, partition);
      for (const [sequence, before] of postponed) {
        if (sequence > through) continue;
        this.#deletePostponed.run(group, consumer.topic, partition, sequence);
        postponed.delete(sequence);
        this.#undo.push(() => void postponed.set(sequence, before));
      }
    }
    return isGone;
  }

  positions(group: string): PartitionPosition[] {
    const positions: PartitionPosition[] = [];
    for (const consumer of this.#consumers.get(group)?.values() ?? []) {
      consumer.sets.forEach((set, partition) => {
        const postponed = [...postponedOf(consumer, partition).values()];
        positions.push({
          topic: consumer.topic,
          partition,
          position: set.position,
          settledAbove: settledAbove(set),
          postponed: postponed.toSorted((a, b) => a.sequence - b.sequence),
          last: this.#log.last(consumer.firstPart + partition),
        });
      });
    }
    return positions;
  }

  #create(group: string, topic: string): Consumer {
    const firstPart = this.#topology.knownFirstPart(topic);
    assert(firstPart !== undefined, `group ${group} reads topic ${topic}, which is not declared`);
    const consumer: Consumer = {
      group,
      topic,
      firstPart,
      sets: [],
      postponed: Array.from({ length: this.#topology.slots }, () => new Map()),
      isDirty: false,
      saved: new Set(),
    };
    const topics = this.#consumers.get(group) ?? new Map<string, Consumer>();
    this.#consumers.set(group, topics.set(topic, consumer));
    return consumer;
  }

  #touch(consumer: Consumer): void {
    if (consumer.isDirty) return;
    consumer.isDirty = true;
    this.#dirty.push(consumer);
    this.#undo.push(() => {
      consumer.isDirty = false;
      consumer.saved.clear();
      this.#dirty = [];
    });
  }

  #save(consumer: Consumer, partition: number, set: SettledSet): void {
    if (consumer.saved.has(partition)) return;
    this.#touch(consumer);
    consumer.saved.add(partition);
    const { position } = set;
    const ranges = set.ranges.length === 0 ? [] : set.ranges.slice();
    this.#undo.push(() => Object.assign(set, { position, ranges }));
  }

  #load(handle: JournalDatabase["handle"], damage: Damage[]): void {
    const rows = handle.prepare<
      { consumer: string; topic: string; crc: number; data: Uint8Array },
      []
    >("SELECT consumer, topic, crc, data FROM position ORDER BY consumer, topic");
    for (const { consumer: group, topic, crc, data } of rows.iterate()) {
      const consumer = this.#create(group, topic);
      if (crc === checksumOf(consumer, data)) {
        consumer.sets.push(...decodeSettled(data, this.#topology.slots));
        if (this.#isWithinLog(consumer)) continue;
        this.#damaged.push(consumer);
        damage.push({ what: "position", topic, key: group, reason: "ahead of the log" });
        continue;
      }
      this.#damaged.push(consumer);
      damage.push({ what: "position", topic, key: group, reason: "bad checksum" });
      for (let partition = 0; partition < this.#topology.slots; partition++) {
        const position = this.#log.first(consumer.firstPart + partition) - 1;
        consumer.sets.push({ position, ranges: [] });
      }
    }
    const postponed = handle.prepare<PostponedRow, []>(
      `SELECT consumer, topic, partition, sequence, attempt, not_before AS notBeforeMs,
       first_error AS firstError, last_error AS lastError FROM postponed`,
    );
    for (const { consumer: group, topic, partition, ...row } of postponed.iterate()) {
      this.#consumers.get(group)?.get(topic)?.postponed[partition]?.set(row.sequence, row);
    }
  }

  /** Cuts off what is settled beyond the log: records to come must not count as settled. */
  #isWithinLog(consumer: Consumer): boolean {
    let isWithin = true;
    consumer.sets.forEach((set, partition) => {
      const last = this.#log.last(consumer.firstPart + partition);
      const above = settledAbove(set).filter((sequence) => sequence <= last);
      const position = Math.min(set.position, last);
      if (position === set.position && above.length === settledAbove(set).length) return;
      isWithin = false;
      Object.assign(set, { position, ranges: [] });
      for (const sequence of above) addSettled(set, sequence);
    });
    return isWithin;
  }
}

/** Error texts come from anywhere; what is stored is bounded. */
export function errorText(error: string): string {
  return error.slice(0, ERROR_CHARS_MAX).toWellFormed();
}

function setOf(consumer: Consumer, partition: number): SettledSet {
  const set = consumer.sets[partition];
  assert(set !== undefined, "a consumer has every partition of its topic");
  return set;
}

function postponedOf(consumer: Consumer, partition: number): Map<number, Postponed> {
  const postponed = consumer.postponed[partition];
  assert(postponed !== undefined, "a consumer has every partition of its topic");
  return postponed;
}

function checksumOf({ group, topic }: Consumer, data: Uint8Array): number {
  return recordChecksum(`position|${group}|${topic}`, data);
}
