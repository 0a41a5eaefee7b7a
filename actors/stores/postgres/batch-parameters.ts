/**
 * A plan as the parameters of `commit_units`, the function of migration 0001.
 *
 * The order of the parameters is the function's, but for bytes: all of them travel in one run, the
 * last parameter, and each array of them is two parameters that say where they are in it. Both are
 * changed together or not at all. Refuses nothing: a plan is made of units that were checked.
 */

import type { BatchPlan, PlannedRow } from "./batch-plan.ts";

import { frameSlot } from "../../../runtime/frames/frame.ts";
import { TABLES } from "../unit-of-work.ts";
import { plainArray, textArray } from "./array-literals.ts";
import { ByteRun, runArray, runSource } from "./byte-run.ts";

const DAY_MS = 86_400_000;

const TYPES = [
  ["uuid", "bigint", "uuid", "bigint", "bigint"],
  ["text[]", "uuid[]", "bigint[]"],
  ["integer[]", "text[]", "bigint[]", "bigint[]", "bytea[]", "text[]", "text[]", "bigint[]"],
  ["text[]", "bigint[]", "text[]", "bigint[]", "bytea[]"],
  ["text[]", "text[]", "bigint[]", "integer[]", "text[]", "bytea[]"],
  ["integer[]", "text[]", "bytea[]"],
].flat();

/** Answers the numbers of the frames in the outbox, in their order. */
export const COMMIT_UNITS = commitUnits();

function commitUnits(): string {
  let places = 0;
  const values = TYPES.map((type) => {
    if (type !== "bytea[]") return `$${++places}::${type}`;
    return runArray({ starts: ++places, lengths: ++places });
  });
  return `SELECT commit_units(${values.join(", ")})::text AS ids FROM ${runSource(++places)}`;
}

export interface BatchIdentity {
  readonly writerId: string;
  readonly batch: number;
  /** `undefined`: nobody fences this writer. */
  readonly relayId: string | undefined;
  readonly nowMs: number;
}

/** In the order of `TYPES`, and the run. */
export function batchParameters(plan: BatchPlan, identity: BatchIdentity): (string | null)[] {
  const { writerId, batch, relayId, nowMs } = identity;
  const { marks, rows, entries, timersStarted, outgoing } = plan;
  const columns = rows.flatMap((row) => row.columns ?? []);
  const run = new ByteRun();
  return [
    writerId,
    `${batch}`,
    relayId ?? null,
    `${nowMs}`,
    `${nowMs - (nowMs % DAY_MS)}`,
    textArray(marks.map(({ group }) => group)),
    plainArray(marks.map(({ messageId }) => messageId)),
    plainArray(plan.letters),
    plainArray(boundsOf(rows)),
    textArray(rows.map(({ key }) => key)),
    plainArray(rows.map(({ from }) => from)),
    plainArray(rows.map(({ to }) => to)),
    ...run.add(rows.map(({ data }) => data)),
    textArray(columns.map(({ customerId }) => customerId)),
    textArray(columns.map(({ status }) => status)),
    plainArray(columns.map(({ createdAtMs }) => createdAtMs)),
    textArray(entries.map(({ orderId }) => orderId)),
    plainArray(entries.map(({ version }) => version)),
    textArray(entries.map(({ type }) => type)),
    plainArray(entries.map(({ atMs }) => atMs)),
    ...run.add(entries.map(({ data }) => data)),
    textArray(plan.timersEnded),
    textArray(timersStarted.map(({ id }) => id)),
    plainArray(timersStarted.map(({ dueAtMs }) => dueAtMs)),
    plainArray(timersStarted.map((timer) => frameSlot(timer.outgoing.frame))),
    textArray(timersStarted.map((timer) => timer.outgoing.topic)),
    ...run.add(timersStarted.map((timer) => timer.outgoing.frame)),
    plainArray(outgoing.map(({ frame }) => frameSlot(frame))),
    textArray(outgoing.map(({ topic }) => topic)),
    ...run.add(outgoing.map(({ frame }) => frame)),
    run.toText(),
  ];
}

/** The end of the inserts and the end of the updates of each table; ends, so 0 before the first. */
function boundsOf(rows: readonly PlannedRow[]): readonly number[] {
  const bounds: number[] = [];
  let end = 0;
  for (const table of TABLES) {
    while (rows[end]?.table === table && rows[end]?.from === 0) end++;
    bounds.push(end);
    while (rows[end]?.table === table) end++;
    bounds.push(end);
  }
  return bounds;
}
