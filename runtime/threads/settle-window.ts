/**
 * Which of a ring's records may be released when they are settled in any order.
 *
 * A reader opens a ticket for each record it takes and settles tickets as work completes; the
 * window knows the highest position before which everything is settled. It holds a fixed number of
 * open records and refuses more, which is what stops a reader from running ahead of its work. No
 * allocation per record. Settling a ticket twice is harmless; one that was never opened is a bug.
 */

import { assert } from "../errors.ts";
import { SETTLE_WINDOW_RECORDS_MAX } from "../limits.ts";

const OPEN = 0;
const SETTLED = 1;

export class SettleWindow {
  readonly recordsMax: number;
  readonly #ends: Int32Array;
  readonly #states: Uint8Array;
  readonly #mask: number;
  /** Tickets count up from 0; these are the oldest unreleased one and the next to be given. */
  #oldest = 0;
  #next = 0;
  #released: number;

  /** `released` is the reader's position at the start; `recordsMax` is a power of two. */
  constructor(recordsMax: number, released: number) {
    const isPowerOfTwo = Number.isSafeInteger(Math.log2(recordsMax));
    assert(
      isPowerOfTwo && recordsMax >= 1 && recordsMax <= SETTLE_WINDOW_RECORDS_MAX,
      `a settle window cannot hold ${recordsMax} records`,
    );
    this.recordsMax = recordsMax;
    this.#mask = recordsMax - 1;
    this.#ends = new Int32Array(recordsMax);
    this.#states = new Uint8Array(recordsMax);
    this.#released = released;
  }

  /** Records opened and not yet released: settled ones behind an open one count. */
  get size(): number {
    return this.#next - this.#oldest;
  }

  get isFull(): boolean {
    return this.#next - this.#oldest === this.recordsMax;
  }

  /** The highest position before which every record is settled. */
  get released(): number {
    return this.#released;
  }

  /** Opens a ticket for the record that ends at position `end`, in order; -1 when full. */
  open(end: number): number {
    if (this.isFull) return -1;
    const ticket = this.#next++;
    this.#ends[ticket & this.#mask] = end;
    this.#states[ticket & this.#mask] = OPEN;
    return ticket;
  }

  /** Settles a ticket. True when `released` moved, so that the ring can be told. */
  settle(ticket: number): boolean {
    assert(ticket >= 0 && ticket < this.#next, "a ticket that was never opened cannot be settled");
    if (ticket < this.#oldest) return false;
    this.#states[ticket & this.#mask] = SETTLED;
    if (ticket !== this.#oldest) return false;
    while (this.#oldest < this.#next && this.#states[this.#oldest & this.#mask] === SETTLED) {
      this.#released = this.#ends[this.#oldest & this.#mask]!; // `!`: masked
      this.#oldest++;
    }
    return true;
  }
}
