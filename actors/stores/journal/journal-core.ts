/**
 * One opened database with all its tables: what is thrown away and made anew after an I/O error.
 *
 * Opening recovers, verifies and applies the damage policy. Refuses with `DATA_DAMAGED` what it
 * may not repair, and never returns a core whose log has an unknown hole under policy `refuse`.
 */

import type { JournalDatabase } from "./journal-database.ts";
import type {
  Damage,
  JournalOptions,
  JournalTuning,
  LogRecord,
  PruneResult,
} from "./journal-types.ts";
import type { JournalState } from "./journal-state.ts";
import type { Topology } from "./log-parts.ts";
import type { UnitTables } from "./unit-apply.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { DeadLetterTable } from "./dead-letter-table.ts";
import { InboxTable } from "./inbox-table.ts";
import { openDatabase } from "./journal-database.ts";
import { DAMAGE_KEPT_MAX, DAMAGE_NAMED_MAX } from "./journal-limits.ts";
import { prepareSchema } from "./journal-schema.ts";
import { openState } from "./journal-state.ts";
import { LogTable } from "./log-table.ts";
import { quarantine } from "./quarantine.ts";
import { Pruner } from "./retention.ts";
import { RowTables } from "./row-tables.ts";
import { SettleTable } from "./settle-table.ts";
import { TimerTable } from "./timer-table.ts";
import { openTopology } from "./log-parts.ts";
import { Scrubber, verifyTimers, verifyUnsettled } from "./verify.ts";

export interface JournalCore extends UnitTables {
  readonly state: JournalState;
  readonly topology: Topology;
  readonly pruner: Pruner;
  readonly scrubber: Scrubber;
  readonly damage: readonly Damage[];
  /** Batches in the database when it was opened, before any repair. */
  readonly openedAtBatch: number;
}

export interface CoreOptions extends JournalOptions {
  /** See `LogReaders`; grows as groups join, and outlives the core. */
  readonly attended?: Set<string>;
}

/** Opens and verifies. Throws what SQLite throws, or `DATA_DAMAGED`, with nothing left open. */
export function openCore(path: string, options: CoreOptions, tuning: JournalTuning): JournalCore {
  const database = openDatabase(path, tuning, options.faults);
  try {
    return build(database, options, tuning);
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Writes what a transaction leaves for its end. `removed`: what it pruned. */
export function finishTransaction(
  core: JournalCore,
  nowMs: number,
  removed: Pick<PruneResult, "inboxMarks" | "deadLetters"> = { inboxMarks: 0, deadLetters: 0 },
): void {
  const { inbox, settle, log, state } = core;
  const marks = inbox.flush(nowMs);
  settle.flush();
  log.closeSegment(false);
  state.write({
    lastId: log.lastId,
    inboxMarks: state.values.inboxMarks + marks - removed.inboxMarks,
    deadDropped: state.values.deadDropped + removed.deadLetters,
  });
}

/** Records of `part` after `afterSequence`, within the bounds but at least one. */
export function readRecords(
  { topology, log }: JournalCore,
  part: number,
  afterSequence: number,
  framesMax: number,
  bytesMax: number,
): LogRecord[] {
  const topic = topology.topicOf(part);
  const partition = topology.partitionOf(part);
  const records: LogRecord[] = [];
  let bytesLeft = bytesMax;
  let sequence = Math.max(afterSequence + 1, log.first(part));
  for (; records.length < framesMax; sequence++) {
    const found = log.find(part, sequence);
    if (found === undefined) break;
    const { bytes, damage } = found;
    if (damage !== undefined) {
      const message = `record ${topic}/${partition}/${sequence} is damaged: ${damage}`;
      throw new ShopError("DATA_DAMAGED", message, "never");
    }
    if (records.length > 0 && bytes.length > bytesLeft) break;
    bytesLeft -= bytes.length;
    records.push({ topic, partition, sequence, bytes });
  }
  return records;
}

function build(
  database: JournalDatabase,
  options: CoreOptions,
  tuning: JournalTuning,
): JournalCore {
  const { handle, undo } = database;
  prepareSchema(handle, options.slots, options.environment.nowMs());
  const topology = handle.transaction(() => openTopology(handle, options.slots, options.topics))();
  const damage: Damage[] = [];
  const state = openState(handle, undo);
  const { lastId } = state.values;
  const log = new LogTable(database, topology, tuning.segmentRecords, lastId, damage);
  const settle = new SettleTable(database, topology, log, damage);
  const inbox = new InboxTable(database);
  const deadLetters = new DeadLetterTable(database);
  const core = {
    database,
    topology,
    state,
    log,
    settle,
    inbox,
    deadLetters,
    rows: new RowTables(handle),
    timers: new TimerTable(database),
    pruner: new Pruner(
      database,
      options.retention,
      {
        topology,
        log,
        settle,
        inbox,
        deadLetters,
      },
      options,
    ),
    scrubber: new Scrubber(handle, options.environment, topology, log),
    damage,
    openedAtBatch: state.values.batches,
  };
  verify(core, tuning.verifyBudgetMs);
  if (damage.length > 0) settleDamage(core, options);
  return core;
}

function verify(core: JournalCore & { readonly damage: Damage[] }, budgetMs: number): void {
  const { topology, log, settle, database, damage, scrubber } = core;
  const seen = new Set(damage.map(placeOf));
  function add(found: readonly Damage[]): void {
    for (const one of found) {
      if (seen.has(placeOf(one)) || damage.length >= DAMAGE_KEPT_MAX) continue;
      seen.add(placeOf(one));
      damage.push(one);
    }
  }
  for (const slice of verifyUnsettled(topology, log, settle)) add(slice);
  for (const slice of verifyTimers(database.handle)) add(slice);
  add(scrubber.run(budgetMs));
}

function placeOf({ what, topic, partition, sequence, table, key }: Damage): string {
  return [what, topic, partition, sequence, table, key].join("|");
}

function settleDamage(core: JournalCore, { onDamage, environment }: JournalOptions): void {
  const { damage } = core;
  if (onDamage !== "quarantine") {
    const named = damage.slice(0, DAMAGE_NAMED_MAX).map(describeDamage).join("; ");
    const message = `${damage.length} damaged: ${named}`;
    throw new ShopError("DATA_DAMAGED", message, "never");
  }
  const nowMs = environment.nowMs();
  core.database.transaction(() => {
    quarantine(core, core.topology, damage, nowMs);
    finishTransaction(core, nowMs);
  });
}

function describeDamage({ what, topic, partition, sequence, table, key, reason }: Damage): string {
  const place = [topic ?? table, partition, key, sequence].filter((part) => part !== undefined);
  return `${what} ${place.join("/")}: ${reason}`;
}
