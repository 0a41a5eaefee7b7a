/**
 * What the coordinator of a group needs of a log: records by position, and where the group stands.
 *
 * Types alone; the journal and the memory broker each bring a log of their own.
 */

import type { Postponement } from "./broker.ts";

export interface LogRecord {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** Records that do not concern a group: settled without having been handed out. */
export interface PassedRange {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  /** Sequences, both included. */
  readonly first: number;
  readonly last: number;
}

/** What the log remembers of one partition for one group. */
export interface StoredPosition {
  /** Everything up to here is settled. */
  readonly position: number;
  readonly settledAbove: readonly number[];
  readonly postponed: ReadonlyMap<number, Postponement>;
  /** Last sequence in the log. */
  readonly tail: number;
}

export type ReadLog = (
  topic: string,
  partition: number,
  afterSequence: number,
  framesMax: number,
  bytesMax: number,
) => readonly LogRecord[];
