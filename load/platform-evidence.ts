/**
 * What the stores around the orders say at the end of a run: views, notifications, books.
 *
 * Plain data, like `evidence.ts`: rules over it need no network and can be given any forgery. Sums
 * are over the whole run, what belongs to one order is there for a sample of them.
 */

/** A view of the log when the wait for it was over. */
export interface ViewState {
  readonly view: string;
  readonly lagRecords: number;
  readonly isFailing: boolean;
}

export interface Tally {
  readonly count: number;
  /** `undefined`: not exactly hundredths. 0 where there is no money. */
  readonly sumMinor: number | undefined;
}

/** By metric, or `metric/value`; with the currency behind it where there is money. */
export type Figures = ReadonlyMap<string, Tally>;

/** Where the audit stands. */
export interface AuditStanding {
  readonly count: number;
  /** Number of its last record; 0: there is none. Numbers may be far apart. */
  readonly lastSeq: number;
}

/** The audit's chain from the first record of the run on. */
export interface ChainState {
  /** Records in it. */
  readonly grown: number;
  /** Of those, found right. */
  readonly verified: number;
  /** The first place that is wrong. */
  readonly problem?: string;
}

/** One record of the audit about an order. */
export interface AuditedEvent {
  readonly type: string;
  readonly customerId: string | undefined;
  readonly fault: string | undefined;
  /** `totalMinor` or `amountMinor` of the event, where it has one. */
  readonly amountMinor: number | undefined;
}

/** One entry of an order's notification ledger. */
export interface Notice {
  readonly id: string;
  readonly event: string;
  readonly channel: string;
  readonly status: string;
  readonly reason: string | undefined;
}

export interface OrderSample {
  readonly audited: readonly AuditedEvent[];
  readonly notices: readonly Notice[];
}

/** Where the records of a group are; `imbalance` says what the shop itself finds wrong. */
export interface BookRow {
  readonly name: string;
  readonly group: string;
  readonly published: number;
  readonly acked: number;
  readonly dead: number;
  readonly inFlight: number;
  readonly waiting: number;
  readonly imbalance: string | undefined;
}

export interface BooksState {
  readonly isBalanced: boolean;
  /** One for each topic, group and partition. */
  readonly rows: readonly BookRow[];
  /** One for each group. */
  readonly totals: readonly BookRow[];
}

/** Texts in the outbox files. */
export interface OutboxState {
  /** How often each id stands in them. */
  readonly timesById: ReadonlyMap<string, number>;
  /** No file has been rotated away, so that what is not there was never written. */
  readonly isWhole: boolean;
}

export interface PlatformEvidence {
  readonly views: readonly ViewState[];
  /** What was counted since before the first order. */
  readonly figures: Figures;
  readonly chain: ChainState;
  readonly samples: ReadonlyMap<string, OrderSample>;
  readonly books: BooksState;
  /** Dead letters that are there now and were not before the first order. */
  readonly deadLetters: number;
  /** Absent when the shop's files are out of reach. */
  readonly outbox?: OutboxState;
}
