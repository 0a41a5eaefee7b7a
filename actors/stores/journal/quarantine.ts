/**
 * Sets damaged records aside so that the journal can start without them.
 *
 * A damaged record goes to the dead letters of every group that had not settled it, with the bytes
 * as they are, and counts as settled; in the log an empty record takes its place. A damaged timer
 * goes there too. Damaged rows stay where they are and fail when they are loaded. Runs only under
 * policy `quarantine`, and refuses to touch what the list does not name.
 */

import type { Damage } from "./journal-types.ts";
import type { StoredTimer } from "./timer-table.ts";
import type { Topology } from "./log-parts.ts";
import type { UnitTables } from "./unit-apply.ts";

import { TIMER_COLUMNS } from "./timer-table.ts";

const REASON = "damaged";
/** Stand for the group in a dead letter when no group was waiting for the frame. */
const LOG_GROUP = "log";
const TIMER_GROUP = "timer";

/** Moves what `damage` names to the dead letters; inside a transaction. */
export function quarantine(
  tables: UnitTables,
  topology: Topology,
  damage: readonly Damage[],
  nowMs: number,
): void {
  for (const one of damage) {
    if (one.what === "log") quarantineRecord(tables, topology, one, nowMs);
    if (one.what === "timer") quarantineTimer(tables, topology, one, nowMs);
  }
  tables.settle.repair();
  // A hole in the tail is found by reading it; in a closed segment its place is known.
  tables.log.closeSegment(true);
}

function quarantineRecord(
  { log, settle, deadLetters }: UnitTables,
  topology: Topology,
  { topic, partition, sequence, reason }: Damage,
  buriedAtMs: number,
): void {
  // A record that was lost before its partition was known cannot be set aside.
  if (topic === undefined || partition === undefined || sequence === undefined) return;
  const part = (topology.knownFirstPart(topic) ?? 0) + partition;
  const bytes = log.find(part, sequence)?.bytes ?? new Uint8Array(0);
  const place = { topic, partition, sequence };
  function bury(group: string, attempts: number): void {
    const burial = { reason: REASON, attempts, firstError: reason, lastError: reason };
    deadLetters.add({ group, ...place, bytes, burial, buriedAtMs });
  }
  let isBuried = false;
  for (const consumer of settle.consumersOf(topic)) {
    const attempts = settle.attempts(consumer, partition, sequence);
    if (settle.settle(consumer, partition, sequence) !== "settled") continue;
    bury(consumer.group, attempts);
    isBuried = true;
  }
  if (!isBuried) bury(LOG_GROUP, 0);
  log.replaceByNothing(part, sequence, buriedAtMs);
}

function quarantineTimer(
  { database, timers, deadLetters }: UnitTables,
  topology: Topology,
  { key, reason }: Damage,
  buriedAtMs: number,
): void {
  const timer = database.handle
    .prepare<StoredTimer, [string]>(`SELECT ${TIMER_COLUMNS} FROM timer WHERE id = ?`)
    .get(key ?? "");
  if (timer === null) return;
  const isPart = timer.part >= 0 && timer.part < topology.parts;
  const burial = { reason: REASON, attempts: 0, firstError: reason, lastError: reason };
  deadLetters.add({
    group: TIMER_GROUP,
    topic: isPart ? topology.topicOf(timer.part) : "",
    partition: isPart ? topology.partitionOf(timer.part) : 0,
    sequence: 0,
    bytes: timer.bytes,
    burial,
    buriedAtMs,
  });
  timers.cancel(timer.id);
}
