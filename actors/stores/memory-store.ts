/**
 * The unit-of-work port in memory: the reference that says what the port means.
 *
 * A commit is checked and applied in one turn of the event loop, so units never see half of each
 * other. It keeps nothing across a restart and refuses what a database would refuse: a row at
 * another version, a mark that is there already, and (as bugs) a timeline with a gap or a unit
 * that writes one row twice.
 */

import type { DeliveryRef, Outgoing } from "../brokers/broker.ts";
import type { MemoryLog } from "../brokers/memory-log.ts";
import type { Environment, Timer } from "../../runtime/environment.ts";
import type {
  CommitResult,
  OrderColumns,
  OrderQuery,
  OrderReads,
  Row,
  RowWrite,
  Store,
  Table,
  TimelineEntry,
  TimerStart,
  UnitOfWork,
} from "./unit-of-work.ts";

import { assert } from "../../runtime/errors.ts";
import { DEAD_LETTERS, TABLES } from "./unit-of-work.ts";

/** Where a hook stands: `before` nothing has happened yet, `after` it has, unanswered. */
export type StoreStep = "before_commit" | "after_commit" | "before_load" | "after_load";

export interface MemoryStoreOptions {
  readonly environment: Environment;
  /** Frames in the order in which they were committed or fell due. */
  readonly onOutgoing?: (outgoing: Outgoing) => void;
  /** Deliveries whose unit was committed. */
  readonly onAcknowledged?: (deliveries: readonly DeliveryRef[]) => void;
  /** Where units take dead letters from; absent: there are none. */
  readonly deadLetters?: Pick<MemoryLog, "hasDeadLetter" | "removeDeadLetter">;
  /** Awaited at each step: may delay it, or reject it as a fault would. */
  readonly onStep?: (step: StoreStep) => Promise<void> | void;
}

export interface MemoryStore extends Store, OrderReads {
  /** Every row of `table`, by key. */
  rows(table: Table): readonly Row[];
  hasMark(group: string, messageId: string): boolean;
  /** Ids of timers that have neither fired nor been cancelled, sorted. */
  timerIds(): readonly string[];
}

interface StoredRow extends Row {
  readonly columns: OrderColumns | undefined;
}

export function createMemoryStore(options: MemoryStoreOptions): MemoryStore {
  const { environment } = options;
  const tables = new Map<Table, Map<string, StoredRow>>(TABLES.map((name) => [name, new Map()]));
  const marks = new Set<string>();
  const timelines = new Map<string, TimelineEntry[]>();
  const timers = new Map<string, Timer>();

  function rowsOf(table: Table): Map<string, StoredRow> {
    const rows = tables.get(table);
    assert(rows !== undefined, `no table ${table}`);
    return rows;
  }

  function apply(unit: UnitOfWork): CommitResult {
    const repeated = unit.inbox.filter((mark) => marks.has(markKey(mark.group, mark.messageId)));
    if (repeated.length > 0) {
      return { kind: "duplicate", messageIds: repeated.map((mark) => mark.messageId) };
    }
    assertDistinctRows(unit.rows);
    const { deadLettersRemoved } = unit;
    assert(
      new Set(deadLettersRemoved).size === deadLettersRemoved.length,
      "a unit removes one dead letter twice",
    );
    for (const id of deadLettersRemoved) {
      if (options.deadLetters?.hasDeadLetter(id) === true) continue;
      return { kind: "conflict", table: DEAD_LETTERS, key: `${id}`, version: 0 };
    }
    for (const { table, key, expectedVersion } of unit.rows) {
      const version = rowsOf(table).get(key)?.version ?? 0;
      if (version !== expectedVersion) return { kind: "conflict", table, key, version };
    }
    for (const mark of unit.inbox) marks.add(markKey(mark.group, mark.messageId));
    for (const write of unit.rows) {
      const { key, data, columns } = write;
      rowsOf(write.table).set(key, { key, data, columns, version: write.expectedVersion + 1 });
    }
    for (const entry of unit.timeline) appendEntry(entry);
    for (const id of unit.timersCancelled) cancelTimer(id);
    for (const start of unit.timersStarted) startTimer(start);
    for (const id of deadLettersRemoved) options.deadLetters?.removeDeadLetter(id);
    for (const outgoing of unit.outgoing) options.onOutgoing?.(outgoing);
    return { kind: "committed" };
  }

  function appendEntry(entry: TimelineEntry): void {
    const timeline = timelines.get(entry.orderId) ?? [];
    const next = timeline.length + 1;
    assert(
      entry.version === next,
      `order ${entry.orderId}: entry ${entry.version} after ${next - 1}`,
    );
    timeline.push(entry);
    timelines.set(entry.orderId, timeline);
  }

  function cancelTimer(id: string): void {
    timers.get(id)?.cancel();
    timers.delete(id);
  }

  function startTimer({ id, dueAtMs, outgoing }: TimerStart): void {
    cancelTimer(id);
    const delayMs = Math.max(0, dueAtMs - environment.nowMs());
    const timer = environment.startTimer(delayMs, () => {
      timers.delete(id);
      options.onOutgoing?.(outgoing);
    });
    timers.set(id, timer);
  }

  async function commit(
    unit: UnitOfWork,
    deliveries: readonly DeliveryRef[],
  ): Promise<CommitResult> {
    await options.onStep?.("before_commit");
    const result = apply(unit);
    if (result.kind === "committed") options.onAcknowledged?.(deliveries);
    await options.onStep?.("after_commit");
    return result;
  }

  async function load(
    table: Table,
    keys: readonly string[],
  ): Promise<readonly (Row | undefined)[]> {
    await options.onStep?.("before_load");
    const found = keys.map((key) => rowsOf(table).get(key));
    await options.onStep?.("after_load");
    return found;
  }

  return {
    acknowledges: true,
    commit,
    load,
    order: async (id) => rowsOf("orders").get(id),
    orders: async (query) => page([...rowsOf("orders").values()], query),
    timeline: async (orderId, afterVersion) => (timelines.get(orderId) ?? []).slice(afterVersion),
    stock: async (productId) => rowsOf("stock").get(productId),
    rows: (table) => [...rowsOf(table).values()],
    hasMark: (group, messageId) => marks.has(markKey(group, messageId)),
    timerIds: () => [...timers.keys()].sort(),
  };
}

function markKey(group: string, messageId: string): string {
  return `${group}/${messageId}`;
}

function assertDistinctRows(rows: readonly RowWrite[]): void {
  const names = new Set(rows.map((write) => `${write.table}/${write.key}`));
  assert(names.size === rows.length, "a unit writes one row twice");
}

function page(rows: readonly StoredRow[], query: OrderQuery): readonly Row[] {
  const { customerId, status, limit, after } = query;
  return rows
    .filter(({ columns }) => customerId === undefined || columns?.customerId === customerId)
    .filter(({ columns }) => status === undefined || columns?.status === status)
    .filter((row) => after === undefined || newestFirst(row, after) > 0)
    .sort(newestFirst)
    .slice(0, limit);
}

type Position = StoredRow | { readonly createdAtMs: number; readonly key: string };

function newestFirst(left: Position, right: Position): number {
  return createdAtMs(right) - createdAtMs(left) || (left.key < right.key ? 1 : -1);
}

function createdAtMs(position: Position): number {
  return "createdAtMs" in position ? position.createdAtMs : (position.columns?.createdAtMs ?? 0);
}
