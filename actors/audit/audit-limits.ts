/**
 * The bounds of the audit, in one place: what is indexed, what one request may look at.
 *
 * None of them bounds the records themselves: the audit keeps every one. A relation that does not
 * hold stops the process at import.
 */

import { assert } from "../../runtime/errors.ts";

/** Distinct texts of one record that can be searched for, and their length together. */
export const TEXTS_MAX = 256;
export const TEXT_CHARS_MAX = 16_384;
/**
 * Records per table of words: what a search for a prefix may have to gather at once. Measured with
 * sixteen prefixes that never meet: 15 ms; ten times as many records took 270 ms.
 */
export const WORDS_SHARD_RECORDS = 100_000;
/** Of files of format 1. */
export const WORDS_SHARD_RECORDS_BEFORE = 1_000_000;
/** Records whose earliest and latest time are kept as one row, for searches by time. */
export const SPAN_RECORDS = 4_096;

export const SEARCH_PAGE_MAX = 200;
/** Bytes of frames in one page; at least one record is given. */
export const SEARCH_PAGE_BYTES_MAX = 1024 * 1024;
/** Records, and bytes of their frames, that one page may look at before it gives up its place. */
export const SCAN_RECORDS_MAX = 4_000;
export const SCAN_BYTES_MAX = 8 * 1024 * 1024;
/** Tables of words that one page may look into. */
export const SCAN_SHARDS_MAX = 40;
/** Records between two turns of the event loop. */
export const READ_CHUNK_RECORDS = 250;

export const QUERY_CHARS_MAX = 200;
export const QUERY_WORDS_MAX = 16;
export const PREFIX_CHARS_MIN = 3;

export const VERIFY_RECORDS_MAX = 1_000_000;
export const VERIFY_RECORDS_DEFAULT = 20_000;
export const VERIFY_BUDGET_MS_MAX = 5_000;
export const VERIFY_BUDGET_MS_DEFAULT = 500;

/** Orders whose customer is remembered without asking the disk. */
export const CUSTOMERS_CACHED_MAX = 20_000;
/** WAL frames from which `maintain` copies pages back, and from which `apply` does it itself. */
export const WAL_FRAMES_SOFT = 2_000;
export const WAL_FRAMES_HARD = 16_000;
/** Pages of the words that one step of merging writes. */
export const MERGE_PAGES = 32;

assert(SEARCH_PAGE_MAX < SCAN_RECORDS_MAX, "a page can be filled");
assert(READ_CHUNK_RECORDS > SEARCH_PAGE_MAX, "a page without misses is one chunk");
assert(WAL_FRAMES_SOFT < WAL_FRAMES_HARD, "maintain comes before apply");
