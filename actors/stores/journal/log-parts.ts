/**
 * Topics and partitions as the small numbers the journal stores.
 *
 * A part is one partition of one topic: topic number × slots + partition. Topics are numbered in
 * the order in which they were first declared, for ever. Refuses frames for topics that are not
 * declared now, even when the data knows them from before.
 */

import type { Database } from "bun:sqlite";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import type { Outgoing } from "../../brokers/broker.ts";
import { PARTS_MAX } from "./journal-limits.ts";

/** The slot is bytes 8 and 9 of a frame. */
const SLOT_END = 10;

export interface Topology {
  readonly slots: number;
  /** Of all topics, declared now or before. */
  readonly parts: number;
  /** First part of a declared topic. */
  firstPart(topic: string): number | undefined;
  /** First part of any topic the data knows. */
  knownFirstPart(topic: string): number | undefined;
  topicOf(part: number): string;
  partitionOf(part: number): number;
  /** The part a frame goes to, or why it goes nowhere: `UNKNOWN_TOPIC`, `BAD_FRAME`. */
  route(outgoing: Outgoing): number | ShopError;
}

/** Throws `UNKNOWN_TOPIC`. */
export function partOf(
  { knownFirstPart, slots }: Topology,
  topic: string,
  partition: number,
): number {
  const firstPart = knownFirstPart(topic);
  if (firstPart === undefined) throw new ShopError("UNKNOWN_TOPIC", `no topic ${topic}`, "never");
  assert(partition >= 0 && partition < slots, `partition ${partition} of ${slots} in ${topic}`);
  return firstPart + partition;
}

/** Numbers the topics that are new to `handle`. Runs inside a transaction of the caller. */
export function openTopology(
  handle: Database,
  slots: number,
  declared: readonly string[],
): Topology {
  const insert = handle.prepare<unknown, [string]>(
    "INSERT INTO topic (name) VALUES (?) ON CONFLICT DO NOTHING",
  );
  for (const name of declared) insert.run(name);
  const rows = handle
    .prepare<{ id: number; name: string }, []>("SELECT id, name FROM topic ORDER BY id")
    .all();
  const names = rows.map((row) => row.name);
  assert(
    rows.every((row, index) => row.id === index + 1),
    "topics are numbered without gaps",
  );
  const parts = names.length * slots;
  if (parts > PARTS_MAX) {
    const message = `${names.length} topics of ${slots} slots exceed ${PARTS_MAX} partitions`;
    throw new ShopError("BAD_CONFIGURATION", message, "never");
  }
  const known = new Map(names.map((name, index) => [name, index * slots]));
  const open = new Map(declared.map((name) => [name, known.get(name)]));

  function route({ topic, frame }: Outgoing): number | ShopError {
    const first = open.get(topic);
    if (first === undefined) return new ShopError("UNKNOWN_TOPIC", `no topic ${topic}`, "never");
    if (frame.length < SLOT_END) {
      return new ShopError("BAD_FRAME", `no slot in a frame of ${frame.length} bytes`, "never");
    }
    const slot = frameSlot(frame);
    if (slot < slots) return first + slot;
    return new ShopError("BAD_FRAME", `slot ${slot} of ${slots} in a frame for ${topic}`, "never");
  }

  return {
    slots,
    parts,
    firstPart: (topic) => open.get(topic),
    knownFirstPart: (topic) => known.get(topic),
    topicOf(part) {
      const name = names[Math.floor(part / slots)];
      assert(name !== undefined, `part ${part} belongs to no topic`);
      return name;
    },
    partitionOf: (part) => part % slots,
    route,
  };
}
