/**
 * Copies of many small runs of bytes, side by side in memory of their own.
 *
 * Memory for each value costs several times what copying it does; views of what was received would
 * keep the whole answer alive for as long as one of them. A shelf is in between: who keeps one
 * value keeps those beside it, `SHELF_BYTES` at most. Larger values have memory of their own. So a
 * group that parks all frames of its credit, each on another shelf, keeps the credit's frames times
 * a shelf, which for the groups of the shop is the bytes of their credit: 2,048 frames and 8 MiB.
 * Refuses nothing; who calls has checked that the bytes are there.
 */

/** What one kept value may keep alive. Shelves four times as large save little more. */
const SHELF_BYTES = 4_096;
/** A value of more would leave much of a shelf empty, and saves little. */
const OWN_BYTES_MIN = 2_048;

export class ByteShelf {
  #shelf = new Uint8Array(0);
  #at = 0;

  /** A copy of `source` from `at` on. */
  copy(source: Buffer, at: number, bytes: number): Uint8Array {
    if (bytes >= OWN_BYTES_MIN) {
      const from = source.byteOffset + at;
      return new Uint8Array(source.buffer.slice(from, from + bytes));
    }
    if (this.#at + bytes > this.#shelf.length) {
      // Of a buffer of its own: views of an array without one would have to make it first.
      this.#shelf = new Uint8Array(new ArrayBuffer(SHELF_BYTES));
      this.#at = 0;
    }
    const start = this.#at;
    this.#at += bytes;
    source.copy(this.#shelf, start, at, at + bytes);
    return this.#shelf.subarray(start, this.#at);
  }
}
