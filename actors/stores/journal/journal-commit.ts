/**
 * One transaction of the journal: as many units as can be committed, each whole or not at all.
 *
 * Works out for every unit what becomes of it, under the log's bound on size. Refuses units that
 * do not fit; what storage itself throws goes to the caller, who knows whether to reopen.
 */

import type { JournalCore } from "./journal-core.ts";
import type { JournalOptions, JournalOutcome, JournalUnit, LogRecord } from "./journal-types.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { finishTransaction } from "./journal-core.ts";
import { LOG_RESERVE_SHARE, PRUNE_STEP_ROWS, PRUNE_STEPS_MAX } from "./journal-limits.ts";
import { applyUnit, UnguardedFailure } from "./unit-apply.ts";
import { checkUnit } from "./unit-check.ts";

/** Bytes the log may hold when what is added comes from consumers and timers. */
function logBytesHardMax(options: JournalOptions): number {
  return options.retention.logBytesMax * (1 + LOG_RESERVE_SHARE);
}

/**
 * Commits `units` and fills `outcomes`, one per unit. When it throws after `outcomes` is complete,
 * the failure was in COMMIT itself, and only the database knows whether it happened.
 */
export function commitBatch(
  core: JournalCore,
  units: readonly JournalUnit[],
  options: JournalOptions,
  outcomes: JournalOutcome[],
): void {
  try {
    runBatch(core, units, options, outcomes, false);
  } catch (error) {
    if (!(error instanceof UnguardedFailure)) throw error;
    runBatch(core, units, options, outcomes, true);
  }
}

/** True when the unit settles deliveries and changes nothing else: it needs next to no space. */
export function isSettlingOnly({ unit, acks, burials = [], passed = [] }: JournalUnit): boolean {
  const { inbox, rows, timeline, outgoing, timersStarted, timersCancelled } = unit;
  const letters = unit.deadLettersRemoved.length;
  const changes = inbox.length + rows.length + timeline.length + outgoing.length + letters;
  return (
    acks.length + passed.length > 0 &&
    changes + burials.length + timersStarted.length + timersCancelled.length === 0
  );
}

/** Prunes what may go when `moreBytes` would take the log over its size. */
export function makeRoom(core: JournalCore, moreBytes: number, options: JournalOptions): void {
  const { logBytesMax } = options.retention;
  for (let step = 0; step < PRUNE_STEPS_MAX; step++) {
    if (core.log.bytes + moreBytes <= logBytesMax) return;
    const nowMs = options.environment.nowMs();
    const removed = core.database.transaction(() => {
      const records = core.pruner.pruneLog(nowMs, PRUNE_STEP_ROWS);
      if (records > 0) finishTransaction(core, nowMs);
      return records;
    });
    if (removed === 0) return;
  }
}

/** Bytes that `units` would add to the log. */
export function outgoingBytes(units: readonly JournalUnit[]): number {
  let bytes = 0;
  for (const { unit } of units) {
    for (const { frame } of unit.outgoing) bytes += frame.length;
  }
  return bytes;
}

function logFull(core: JournalCore): ShopError {
  const message = `the log is full and cannot be pruned: ${core.pruner.laggard()}`;
  return new ShopError("STORAGE_FULL", message, "later");
}

function runBatch(
  core: JournalCore,
  units: readonly JournalUnit[],
  options: JournalOptions,
  outcomes: JournalOutcome[],
  isCareful: boolean,
): void {
  const nowMs = options.environment.nowMs();
  outcomes.length = 0;
  const room = createRoom(core, options);
  core.database.transaction(() => {
    let isChanged = false;
    for (const unit of units) {
      options.faults?.("unit");
      const { timersFiredMax } = unit;
      const outcome =
        timersFiredMax === undefined
          ? runUnit(core, unit, nowMs, isCareful, room)
          : runFiring(core, timersFiredMax, nowMs, options);
      isChanged ||= outcome.kind === "committed";
      outcomes.push(outcome);
    }
    if (isChanged) finishTransaction(core, nowMs);
  });
}

interface Room {
  /** Takes `bytes` of the log, or says why they are not to be had. */
  take(bytes: number, isReserved: boolean): ShopError | undefined;
  give(bytes: number): void;
}

function createRoom(core: JournalCore, options: JournalOptions): Room {
  let logBytes = core.log.bytes;
  let full: ShopError | undefined;
  const softMax = options.retention.logBytesMax;
  const hardMax = logBytesHardMax(options);
  return {
    take(bytes, isReserved) {
      if (bytes > 0 && logBytes + bytes > (isReserved ? hardMax : softMax)) {
        full ??= logFull(core);
        return full;
      }
      logBytes += bytes;
      return undefined;
    },
    give: (bytes) => void (logBytes -= bytes),
  };
}

/**
 * Moves up to `limit` timers due at `nowMs` to the log. Throws `DATA_DAMAGED` and `STORAGE_FULL`
 * before anything is written.
 */
export function fireDue(
  core: JournalCore,
  nowMs: number,
  wallMs: number,
  limit: number,
  options: JournalOptions,
): LogRecord[] {
  const { topology, log, timers } = core;
  const due = timers.due(nowMs, limit);
  const dueBytes = due.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (dueBytes > 0 && log.bytes + dueBytes > logBytesHardMax(options)) throw logFull(core);
  return due.map(({ id, part, bytes }) => {
    timers.cancel(id);
    const sequence = log.append(part, bytes, wallMs);
    const topic = topology.topicOf(part);
    return { topic, partition: topology.partitionOf(part), sequence, bytes };
  });
}

/** The unit that fires timers: refused where `fireDue` throws, so that it spoils no other unit. */
function runFiring(
  core: JournalCore,
  limit: number,
  nowMs: number,
  options: JournalOptions,
): JournalOutcome {
  try {
    const appended = fireDue(core, nowMs, nowMs, limit, options);
    return { kind: "committed", appended, acks: [], postponements: [], burials: [] };
  } catch (error) {
    if (!isShopError(error, "DATA_DAMAGED", "STORAGE_FULL")) throw error;
    return { kind: "refused", error };
  }
}

function runUnit(
  core: JournalCore,
  unit: JournalUnit,
  nowMs: number,
  isCareful: boolean,
  room: Room,
): JournalOutcome {
  const checked = checkUnit(unit, core.topology, core.settle);
  if (checked instanceof ShopError) return { kind: "refused", error: checked };
  const settles = unit.acks.length + (unit.burials?.length ?? 0);
  const noRoom = room.take(checked.outgoingBytes, settles > 0);
  if (noRoom !== undefined) return { kind: "refused", error: noRoom };
  const outcome = applyUnit(core, checked, nowMs, isCareful);
  if (outcome.kind !== "committed") room.give(checked.outgoingBytes);
  return outcome;
}
