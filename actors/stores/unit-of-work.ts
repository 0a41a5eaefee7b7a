/**
 * The unit-of-work port: what one message changes, committed together or not at all.
 *
 * A unit carries conditional row writes, inbox marks, timeline entries, timers and outgoing
 * frames. The store checks every condition, applies everything in one transaction that it shares
 * with other units, and answers after the commit is durable. It knows tables by name and rows by
 * key; what is inside a row is the business of the actor that owns it.
 */

import type { DeliveryRef, Outgoing } from "../brokers/broker.ts";

/** Tables of rows. Every row has a key, a version that starts at 1, and data. */
export const TABLES = [
  "orders",
  "payments",
  "stock",
  "reservations",
  "shipments",
  "idempotency",
  "fraud",
  "notifications",
] as const;
export type Table = (typeof TABLES)[number];

export interface Row {
  readonly key: string;
  readonly version: number;
  /** msgpack, as the owning actor wrote it. */
  readonly data: Uint8Array;
}

/**
 * Writes `data` at version `expectedVersion + 1` if the stored version is `expectedVersion`
 * (0: the row must not exist). `columns` fill the indexed columns of that table.
 */
export interface RowWrite {
  readonly table: Table;
  readonly key: string;
  readonly expectedVersion: number;
  readonly data: Uint8Array;
  readonly columns?: OrderColumns;
}

/** Columns of `orders` that can be asked for. */
export interface OrderColumns {
  readonly customerId: string;
  readonly status: string;
  readonly createdAtMs: number;
}

/** One row of an order's timeline; `version` is the order's, contiguous from 1. */
export interface TimelineEntry {
  readonly orderId: string;
  readonly version: number;
  readonly type: string;
  readonly atMs: number;
  /** msgpack of the event. */
  readonly data: Uint8Array;
}

/** A frame to be published at `dueAtMs`, unless cancelled before. Same id replaces. */
export interface TimerStart {
  readonly id: string;
  readonly dueAtMs: number;
  readonly outgoing: Outgoing;
}

/** Marks message `messageId` as processed by `group`; a second mark makes the unit a duplicate. */
export interface InboxMark {
  readonly group: string;
  readonly messageId: string;
}

export interface UnitOfWork {
  readonly inbox: readonly InboxMark[];
  readonly rows: readonly RowWrite[];
  readonly timeline: readonly TimelineEntry[];
  readonly outgoing: readonly Outgoing[];
  readonly timersStarted: readonly TimerStart[];
  readonly timersCancelled: readonly string[];
  /** Dead letters taken out, each named once. One that is not there makes the unit a conflict. */
  readonly deadLettersRemoved: readonly number[];
}

/** What a conflict about a dead letter names instead of a table; its key is the id as text. */
export const DEAD_LETTERS = "dead_letters";

export type CommitResult =
  | { readonly kind: "committed" }
  /** Some inbox marks were there already; nothing was written. */
  | { readonly kind: "duplicate"; readonly messageIds: readonly string[] }
  /**
   * A row was not at its expected version, or a dead letter was gone; nothing was written.
   * `version` is the stored one, 0 for a dead letter.
   */
  | {
      readonly kind: "conflict";
      readonly table: Table | typeof DEAD_LETTERS;
      readonly key: string;
      readonly version: number;
    };

/** Units that shared a transaction; `refused` were answered with a failure of the storage. */
export interface CommittedBatch {
  readonly units: number;
  readonly refused: number;
  readonly durationMs: number;
}

export interface Store {
  /**
   * Whether `commit` acknowledges its deliveries. Where it does not, because the broker is another
   * system, the caller acknowledges them once the unit is committed.
   */
  readonly acknowledges: boolean;
  /**
   * Commits `unit` and, where the store `acknowledges`, `deliveries` in the same transaction. On
   * `duplicate` the deliveries whose marks were there are not acknowledged: the caller does that.
   * Rejects with `STORAGE_FULL`, `STORAGE_FAULT` or `SATURATED` (nothing written, try later),
   * `INDETERMINATE` (ask the rows), `FENCED` (nothing written, and never will be) or `CLOSED`.
   */
  commit(unit: UnitOfWork, deliveries: readonly DeliveryRef[]): Promise<CommitResult>;
  /** The rows at `keys`, in that order; `undefined` where there is none. */
  load(table: Table, keys: readonly string[]): Promise<readonly (Row | undefined)[]>;
}

/** A page of orders or of one order's timeline, newest order first, oldest entry first. */
export interface OrderQuery {
  readonly customerId?: string;
  readonly status?: string;
  readonly limit: number;
  /** Exclusive start: the (createdAtMs, key) of the last row of the page before. */
  readonly after?: { readonly createdAtMs: number; readonly key: string };
}

/** The read side of the gateway. Sees every commit that was acknowledged before the call. */
export interface OrderReads {
  order(id: string): Promise<Row | undefined>;
  orders(query: OrderQuery): Promise<readonly Row[]>;
  timeline(orderId: string, afterVersion: number): Promise<readonly TimelineEntry[]>;
  stock(productId: string): Promise<Row | undefined>;
}

/** A unit that changes nothing; spread it and fill in what changes. */
export const EMPTY_UNIT: UnitOfWork = {
  inbox: [],
  rows: [],
  timeline: [],
  outgoing: [],
  timersStarted: [],
  timersCancelled: [],
  deadLettersRemoved: [],
};
