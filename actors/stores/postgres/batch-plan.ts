/**
 * What each unit of a batch becomes, and what the batch writes: data in, data out.
 *
 * Units are looked at in order, each against what those before it leave behind, as if each had a
 * transaction of its own. What the database holds is either `known`, because it was read under
 * locks, or assumed to be as the units expect; in both cases every assumption is in the plan as a
 * condition, which the database checks when it writes. So a plan that could be written was right.
 * Several writes of one row become one. Sorted by key, so that all writers lock in one order.
 */

import type {
  CommitResult,
  InboxMark,
  OrderColumns,
  Table,
  TimelineEntry,
  TimerStart,
  UnitOfWork,
} from "../unit-of-work.ts";
import type { Outgoing } from "../../brokers/broker.ts";

import { DEAD_LETTERS, TABLES } from "../unit-of-work.ts";

/** What a batch looks at; to be read before a plan that assumes nothing. */
export interface BatchReach {
  readonly marks: readonly InboxMark[];
  readonly letters: readonly number[];
  readonly keys: ReadonlyMap<Table, readonly string[]>;
  readonly orderIds: readonly string[];
}

/** What was found of it. */
export interface KnownState {
  /** Names by `markName`. */
  readonly marks: ReadonlySet<string>;
  readonly letters: ReadonlySet<number>;
  /** Names by `rowName`; a row that is not there is not in it. */
  readonly versions: ReadonlyMap<string, number>;
  /** Newest version of the timelines, by order. */
  readonly timelines: ReadonlyMap<string, number>;
}

/** `from` is the version that the row must have, 0: it must not exist. */
export interface PlannedRow {
  readonly table: Table;
  readonly key: string;
  readonly from: number;
  readonly to: number;
  readonly data: Uint8Array;
  readonly columns: OrderColumns | undefined;
}

export interface BatchPlan {
  /** One for each unit. */
  readonly outcomes: readonly CommitResult[];
  readonly marks: readonly InboxMark[];
  readonly letters: readonly number[];
  /** By table, new rows before others, by key. */
  readonly rows: readonly PlannedRow[];
  readonly entries: readonly TimelineEntry[];
  readonly timersEnded: readonly string[];
  readonly timersStarted: readonly TimerStart[];
  /** In the order of the units. */
  readonly outgoing: readonly Outgoing[];
}

export function markName({ group, messageId }: InboxMark): string {
  return `${group}\0${messageId}`;
}

export function rowName(table: Table, key: string): string {
  return `${table}\0${key}`;
}

/** Everything that `units` look at, each once. */
export function reachOf(units: readonly UnitOfWork[]): BatchReach {
  const marks = new Map<string, InboxMark>();
  const keys = new Map<Table, Set<string>>();
  for (const { inbox, rows } of units) {
    for (const mark of inbox) marks.set(markName(mark), mark);
    for (const { table, key } of rows) keys.set(table, (keys.get(table) ?? new Set()).add(key));
  }
  return {
    marks: [...marks.values()],
    letters: [...new Set(units.flatMap((unit) => unit.deadLettersRemoved))],
    keys: new Map([...keys].map(([table, names]) => [table, [...names].sort()])),
    orderIds: [...new Set(units.flatMap((unit) => unit.timeline.map(({ orderId }) => orderId)))],
  };
}

/** What has come of the batch so far. */
interface Draft {
  readonly known: KnownState | undefined;
  readonly marks: Map<string, InboxMark>;
  readonly letters: Set<number>;
  readonly rows: Map<string, PlannedRow>;
  /** Newest version by order, once this batch wrote to its timeline. */
  readonly newest: Map<string, number>;
  readonly entries: TimelineEntry[];
  readonly timers: Map<string, TimerStart | undefined>;
  readonly outgoing: Outgoing[];
}

/** The plan for `units`; without `known`, the database is assumed to be as they expect. */
export function planBatch(units: readonly UnitOfWork[], known?: KnownState): BatchPlan {
  const draft: Draft = {
    known,
    marks: new Map(),
    letters: new Set(),
    rows: new Map(),
    newest: new Map(),
    entries: [],
    timers: new Map(),
    outgoing: [],
  };
  const outcomes = units.map((unit): CommitResult => {
    const refusal = refusalOf(draft, unit);
    if (refusal !== undefined) return refusal;
    apply(draft, unit);
    return { kind: "committed" };
  });
  const timers = [...draft.timers].sort(([left], [right]) => compare(left, right));
  return {
    outcomes,
    marks: [...draft.marks.entries()]
      .sort(([left], [right]) => compare(left, right))
      .map(([, mark]) => mark),
    letters: [...draft.letters].sort((left, right) => left - right),
    rows: [...draft.rows.values()].sort(inWritingOrder),
    entries: draft.entries.sort(
      (left, right) => compare(left.orderId, right.orderId) || left.version - right.version,
    ),
    timersEnded: timers.flatMap(([id, start]) => (start === undefined ? [id] : [])),
    timersStarted: timers.flatMap(([, start]) => start ?? []),
    outgoing: draft.outgoing,
  };
}

/** Why the unit is not written; `undefined`: it is. */
function refusalOf(draft: Draft, unit: UnitOfWork): CommitResult | undefined {
  const { known } = draft;
  const repeated = unit.inbox.filter((mark) => {
    const name = markName(mark);
    return draft.marks.has(name) || known?.marks.has(name) === true;
  });
  if (repeated.length > 0) {
    return { kind: "duplicate", messageIds: repeated.map(({ messageId }) => messageId) };
  }
  for (const id of unit.deadLettersRemoved) {
    const isThere = !draft.letters.has(id) && known?.letters.has(id) !== false;
    if (!isThere) return { kind: "conflict", table: DEAD_LETTERS, key: `${id}`, version: 0 };
  }
  for (const { table, key, expectedVersion } of unit.rows) {
    const name = rowName(table, key);
    const version = draft.rows.get(name)?.to ?? (known && (known.versions.get(name) ?? 0));
    if (version !== undefined && version !== expectedVersion) {
      return { kind: "conflict", table, key, version };
    }
  }
  for (const { orderId: key, version: added } of unit.timeline) {
    const version = draft.newest.get(key) ?? known?.timelines.get(key) ?? 0;
    if (added <= version) return { kind: "conflict", table: "orders", key, version };
  }
  return undefined;
}

function apply(draft: Draft, unit: UnitOfWork): void {
  for (const mark of unit.inbox) draft.marks.set(markName(mark), mark);
  for (const id of unit.deadLettersRemoved) draft.letters.add(id);
  for (const { table, key, expectedVersion, data, columns } of unit.rows) {
    const name = rowName(table, key);
    const from = draft.rows.get(name)?.from ?? expectedVersion;
    draft.rows.set(name, { table, key, from, to: expectedVersion + 1, data, columns });
  }
  for (const entry of unit.timeline) {
    draft.newest.set(entry.orderId, entry.version);
    draft.entries.push(entry);
  }
  for (const id of unit.timersCancelled) draft.timers.set(id, undefined);
  for (const start of unit.timersStarted) draft.timers.set(start.id, start);
  for (const outgoing of unit.outgoing) draft.outgoing.push(outgoing);
}

const TABLE_ORDER: ReadonlyMap<Table, number> = new Map(
  TABLES.map((table, index) => [table, index]),
);

function inWritingOrder(left: PlannedRow, right: PlannedRow): number {
  return (
    (TABLE_ORDER.get(left.table) ?? 0) - (TABLE_ORDER.get(right.table) ?? 0) ||
    Math.min(left.from, 1) - Math.min(right.from, 1) ||
    compare(left.key, right.key)
  );
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
