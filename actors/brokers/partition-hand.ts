/**
 * What the owner of one partition has in hand, in the order in which it was handed out.
 *
 * Sequences go in ascending and come out in any order, mostly the oldest first, so three lists of
 * numbers serve where a `Map` would make an entry for each delivery and outgrow its tables without
 * end. It refuses a sequence that is not above all that are in.
 */

import { assert } from "../../runtime/errors.ts";

/** In the place of a size: that delivery is not in hand any more. */
const GONE = -1;
/** Below this many places the lists are not worth clearing. */
const CLEAR_MIN = 32;

export class PartitionHand {
  #sequences: number[] = [];
  #bytes: number[] = [];
  /** Monotonic. */
  #leaseFromMs: number[] = [];
  /** Places before it are gone. */
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(sequence: number, bytes: number, leaseFromMs: number): void {
    const sequences = this.#sequences;
    const last = sequences.length - 1;
    // `!`: there is a last one
    assert(last < 0 || sequences[last]! < sequence, "deliveries are handed out in order");
    if (last >= 2 * this.#size + CLEAR_MIN) this.#clearAway();
    this.#sequences.push(sequence);
    this.#bytes.push(bytes);
    this.#leaseFromMs.push(leaseFromMs);
    this.#size++;
  }

  has(sequence: number): boolean {
    return this.#find(sequence) >= 0;
  }

  /** Takes it out; how many bytes it had, `undefined` when it is not in. */
  take(sequence: number): number | undefined {
    const at = this.#find(sequence);
    if (at < 0) return undefined;
    const bytes = this.#bytes[at];
    this.#bytes[at] = GONE;
    this.#size--;
    if (this.#size === 0) this.clear();
    else while (this.#bytes[this.#head] === GONE) this.#head++;
    return bytes;
  }

  /** False when it is not in. */
  renew(sequence: number, leaseFromMs: number): boolean {
    const at = this.#find(sequence);
    if (at >= 0) this.#leaseFromMs[at] = leaseFromMs;
    return at >= 0;
  }

  /** Is the lease of one of them from before `limitMs`? */
  hasLeaseBefore(limitMs: number): boolean {
    return this.#leaseFromMs.some(
      (fromMs, at) => at >= this.#head && fromMs < limitMs && this.#bytes[at] !== GONE,
    );
  }

  /** Sequences and bytes of those that are in. */
  *entries(): Generator<readonly [sequence: number, bytes: number]> {
    for (let at = this.#head; at < this.#sequences.length; at++) {
      const bytes = this.#bytes[at]!; // `!`: the loop's bound, here and below
      if (bytes !== GONE) yield [this.#sequences[at]!, bytes];
    }
  }

  clear(): void {
    this.#sequences.length = 0;
    this.#bytes.length = 0;
    this.#leaseFromMs.length = 0;
    this.#head = 0;
    this.#size = 0;
  }

  #clearAway(): void {
    const isIn = (_: number, at: number): boolean => this.#bytes[at] !== GONE;
    this.#sequences = this.#sequences.filter(isIn);
    this.#leaseFromMs = this.#leaseFromMs.filter(isIn);
    this.#bytes = this.#bytes.filter(isIn);
    this.#head = 0;
  }

  /** -1 when it is not in. */
  #find(sequence: number): number {
    const sequences = this.#sequences;
    let low = this.#head;
    let high = sequences.length - 1;
    if (sequences[low] === sequence) high = low;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const before = sequences[middle]!; // `!`: between low and high
      if (before < sequence) low = middle + 1;
      else high = middle;
    }
    return sequences[low] === sequence && this.#bytes[low] !== GONE ? low : -1;
  }
}
