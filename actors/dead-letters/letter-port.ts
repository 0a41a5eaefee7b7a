/**
 * Looking at dead letters, whatever keeps them: one, a page, how many, of which kinds.
 *
 * Only reads; what is done with a letter goes through its shard, see `letter-service.ts`. Pages are
 * bounded in letters and in bytes. A letter that is damaged is shown as such, never left out: it
 * is still to be discarded.
 */

import type { DeadLetter } from "../brokers/broker.ts";

/** Letters of one page, and ids of one listing. */
export const LETTERS_PAGE_MAX = 200;
export const LETTER_IDS_MAX = 1_000;
/** Bytes of the frames of one page; it has at least one letter, whatever its size. */
export const LETTERS_PAGE_BYTES_MAX = 4 * 1024 * 1024;
/** Kinds that a summary tells apart; the largest are named. */
export const LETTER_KINDS_MAX = 1_000;

/** Which letters: all that fit everything given. */
export interface LetterFilter {
  readonly topic?: string;
  /** The group that buried it. */
  readonly group?: string;
  readonly reason?: string;
  /**
   * What stands where a frame has its key, also when the frame is damaged elsewhere. Looked for in
   * the partition that the key belongs to.
   */
  readonly key?: string;
  /** Milliseconds since the epoch, inclusive and exclusive. */
  readonly buriedFromMs?: number;
  readonly buriedBeforeMs?: number;
}

/** Ids above `afterId`, and not above `throughId` if there is one; ids only grow. */
export interface LetterRange {
  readonly afterId: number;
  readonly throughId?: number;
  readonly limit: number;
}

export interface KeptLetter extends DeadLetter {
  /** What is wrong with it as it is stored; nothing of it can be relied on. */
  readonly damage?: string;
}

export interface LetterPage {
  /** Oldest first. */
  readonly letters: readonly KeptLetter[];
  /** False: there are more after the last of these. */
  readonly isLast: boolean;
}

export interface LetterKind {
  readonly topic: string;
  readonly group: string;
  readonly reason: string;
  readonly count: number;
  readonly oldestBuriedAtMs: number;
  readonly newestBuriedAtMs: number;
}

export interface DeadLetterReads {
  letter(id: number): Promise<KeptLetter | undefined>;
  /** `range.limit` is at most `LETTERS_PAGE_MAX`. */
  page(filter: LetterFilter, range: LetterRange): Promise<LetterPage>;
  /** Ascending; `range.limit` is at most `LETTER_IDS_MAX`. */
  ids(filter: LetterFilter, range: LetterRange): Promise<readonly number[]>;
  /** How many fit, and the largest id among them, 0 when there is none. */
  extent(filter: LetterFilter): Promise<{ readonly count: number; readonly lastId: number }>;
  /** The kinds there are, the most frequent first. */
  summary(): Promise<readonly LetterKind[]>;
}
