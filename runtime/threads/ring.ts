/**
 * The two ends of a ring: one thread writes records of bytes, one other thread reads them.
 *
 * Invariants: released <= cursor <= published <= staged <= released + capacity. Only the writer
 * stores `published`, only the reader `released`; nothing between them is ever overwritten. The
 * writer stages records and publishes them together; the reader reads on privately and releases
 * what it has taken responsibility for. So a writer that dies leaves no torn record, and a reader
 * that takes a dead one's place reads again all that was not released.
 *
 * Sleeping is a handshake of two flags (Dekker's): each side first stores its own word, then loads
 * the other's, and as Atomics are sequentially consistent, one of them sees the other. A ring
 * never blocks and never rings a bell itself: it says when one must be rung.
 */

import { assert, ShopError } from "../errors.ts";
import {
  attachRing,
  EPOCH,
  KIND_PAD,
  PUBLISHED,
  READER_PARKED,
  RECORD_HEADER_BYTES,
  recordBytes,
  RELEASED,
  WANTED,
  WRITER_PARKED,
} from "./ring-layout.ts";

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** The writing end. Attaching continues after the last published record. */
export class RingWriter {
  /** Records of more payload than this are refused. */
  readonly payloadBytesMax: number;
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  readonly #dataWords: Uint32Array;
  readonly #capacityBytes: number;
  readonly #mask: number;
  readonly #epoch: number;
  /** End of the last staged record. */
  #staged: number;
  #published: number;
  /** The reader's position when last looked at: at most the true one. */
  #released: number;

  constructor(memory: SharedArrayBuffer) {
    const { words, data, dataWords, capacityBytes } = attachRing(memory);
    this.#words = words;
    this.#data = data;
    this.#dataWords = dataWords;
    this.#capacityBytes = capacityBytes;
    this.#mask = capacityBytes - 1;
    this.payloadBytesMax = capacityBytes / 2 - RECORD_HEADER_BYTES;
    // To notice a reset.
    this.#epoch = Atomics.load(words, EPOCH);
    // A predecessor's last publication; what it staged after that is overwritten.
    this.#published = Atomics.load(words, PUBLISHED);
    this.#staged = this.#published;
    // The oldest byte that must not be overwritten.
    this.#released = Atomics.load(words, RELEASED);
    // A predecessor may have died asleep.
    Atomics.store(words, WRITER_PARKED, 0);
  }

  /** Bytes for further records, their headers included. */
  get freeBytes(): number {
    // The reader may have released more since.
    this.#released = Atomics.load(this.#words, RELEASED);
    return this.#capacityBytes - ((this.#staged - this.#released) | 0);
  }

  /** True when there are staged records that `flush` would publish. */
  get isDirty(): boolean {
    return this.#staged !== this.#published;
  }

  /**
   * Stages one record: `kind` (0 to 2^32 - 2) and the bytes of up to three parts, one after the
   * other. False, and nothing staged, when there is no room. Throws `PAYLOAD_TOO_LARGE` when there
   * never will be.
   */
  tryWrite(
    kind: number,
    first: Uint8Array = NO_BYTES,
    second: Uint8Array = NO_BYTES,
    third: Uint8Array = NO_BYTES,
  ): boolean {
    const payloadBytes = first.length + second.length + third.length;
    assert(kind >= 0 && kind < KIND_PAD, "a record's kind must be below 2^32 - 1");
    const start = this.#place(payloadBytes);
    if (start < 0) return false;
    const header = start >>> 2;
    this.#dataWords[header] = payloadBytes;
    this.#dataWords[header + 1] = kind;
    let at = start + RECORD_HEADER_BYTES;
    this.#data.set(first, at);
    at += first.length;
    if (second.length > 0) this.#data.set(second, at);
    if (third.length > 0) this.#data.set(third, at + second.length);
    this.#staged = (this.#staged + recordBytes(payloadBytes)) | 0;
    return true;
  }

  /** Publishes all that is staged. True: the reader sleeps, ring its bell. Throws `STALE`. */
  flush(): boolean {
    if (this.#staged === this.#published) return false;
    checkEpoch(this.#words, this.#epoch);
    // The bytes written before become visible to whoever loads this position.
    Atomics.store(this.#words, PUBLISHED, this.#staged);
    this.#published = this.#staged;
    return takeFlag(this.#words, READER_PARKED);
  }

  /**
   * To be called when `tryWrite` found no room, after `flush`. True: sleep until the bell, which
   * is rung when a record of `payloadBytes` fits. False: it fits already.
   */
  park(payloadBytes: number): boolean {
    assert(!this.isDirty, "a writer must flush before it sleeps");
    const wanted = this.#releasedFor(payloadBytes);
    // Before the flag, so that the reader finds the position that goes with it.
    Atomics.store(this.#words, WANTED, wanted);
    // Before the load: a reader that does not see the flag has released before it.
    Atomics.store(this.#words, WRITER_PARKED, 1);
    // After the store: the reader may have released between `tryWrite` and the flag.
    this.#released = Atomics.load(this.#words, RELEASED);
    if (((this.#released - wanted) | 0) < 0) return true;
    this.unpark();
    return false;
  }

  /** Withdraws the wish to be woken. A bell that is already on its way still rings. */
  unpark(): void {
    // Only this side sets the flag, so nothing can be lost by clearing it.
    Atomics.store(this.#words, WRITER_PARKED, 0);
  }

  /** Offset of the next record, padding before it if need be; -1 when there is no room. */
  #place(payloadBytes: number): number {
    const wanted = this.#releasedFor(payloadBytes);
    if (((this.#released - wanted) | 0) < 0) {
      // Only now: as long as the known position suffices, the reader's cache line is left alone.
      this.#released = Atomics.load(this.#words, RELEASED);
      if (((this.#released - wanted) | 0) < 0) return -1;
    }
    const offset = this.#staged & this.#mask;
    const tailBytes = this.#capacityBytes - offset;
    if (tailBytes >= recordBytes(payloadBytes)) return offset;
    this.#dataWords[offset >>> 2] = tailBytes - RECORD_HEADER_BYTES;
    this.#dataWords[(offset >>> 2) + 1] = KIND_PAD;
    this.#staged = (this.#staged + tailBytes) | 0;
    return 0;
  }

  /** The released position from which on a record of `payloadBytes` fits. */
  #releasedFor(payloadBytes: number): number {
    if (payloadBytes > this.payloadBytesMax) refuseSize(payloadBytes, this.payloadBytesMax);
    const bytes = recordBytes(payloadBytes);
    const tailBytes = this.#capacityBytes - (this.#staged & this.#mask);
    const padBytes = tailBytes < bytes ? tailBytes : 0;
    return (this.#staged + padBytes + bytes - this.#capacityBytes) | 0;
  }
}

/** The reading end. Attaching continues after the last released record. */
export class RingReader {
  /** Of the record that `next` moved to. */
  kind = 0;
  /** The position after that record: `release(end)` gives it and all before it back. */
  end: number;
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  readonly #dataWords: Uint32Array;
  readonly #capacityBytes: number;
  readonly #mask: number;
  readonly #epoch: number;
  #offset = 0;
  #length = 0;
  /** The writer's position when last looked at: at most the true one. */
  #published: number;
  #released: number;

  constructor(memory: SharedArrayBuffer) {
    const { words, data, dataWords, capacityBytes } = attachRing(memory);
    this.#words = words;
    this.#data = data;
    this.#dataWords = dataWords;
    this.#capacityBytes = capacityBytes;
    this.#mask = capacityBytes - 1;
    // To notice a reset.
    this.#epoch = Atomics.load(words, EPOCH);
    // A predecessor was not responsible for anything after this.
    this.#released = Atomics.load(words, RELEASED);
    this.#published = this.#released;
    this.end = this.#released;
    // A predecessor may have died asleep.
    Atomics.store(words, READER_PARKED, 0);
  }

  /** Everything before this may be overwritten. */
  get released(): number {
    return this.#released;
  }

  /** Published bytes after the current record. */
  get unreadBytes(): number {
    // The writer may have published more since.
    return (Atomics.load(this.#words, PUBLISHED) - this.end) | 0;
  }

  /** The record's bytes: a view that is valid until they are released. */
  get bytes(): Uint8Array {
    return this.#data.subarray(this.#offset, this.#offset + this.#length);
  }

  /** The record's length, without making a view. */
  get length(): number {
    return this.#length;
  }

  /** One byte of the record, without making a view; `index` is below `length`. */
  byteAt(index: number): number {
    return this.#data[this.#offset + index]!; // `!`: the caller keeps index below length
  }

  /** Moves to the next record. False when there is none, and nothing has changed. */
  next(): boolean {
    if (this.end === this.#published) {
      // Only now: as long as there are known records, the writer's cache line is left alone.
      this.#published = Atomics.load(this.#words, PUBLISHED);
      if (this.end === this.#published) return false;
    }
    let header = (this.end & this.#mask) >>> 2;
    if (this.#dataWords[header + 1] === KIND_PAD) {
      this.end = (this.end + this.#capacityBytes - (this.end & this.#mask)) | 0;
      header = 0;
    }
    const length = this.#dataWords[header]!; // `!`: a masked offset is within the data
    this.kind = this.#dataWords[header + 1]!; // `!`: see above
    this.#length = length;
    this.#offset = (header << 2) + RECORD_HEADER_BYTES;
    this.end = (this.end + recordBytes(length)) | 0;
    const isWhole = length <= this.#capacityBytes && ((this.#published - this.end) | 0) >= 0;
    assert(isWhole, "a ring's memory was damaged: a record reaches beyond what was published");
    return true;
  }

  /**
   * Gives back everything before `position`, an `end` of this reader: its records have become
   * somebody's responsibility. True: the writer waits for the room, ring its bell. Throws `STALE`.
   */
  release(position: number): boolean {
    const isTaken = ((this.end - position) | 0) >= 0 && ((position - this.#released) | 0) >= 0;
    assert(isTaken, "only what was read and not yet released can be released");
    if (position === this.#released) return false;
    checkEpoch(this.#words, this.#epoch);
    // From here on the writer may overwrite those bytes.
    Atomics.store(this.#words, RELEASED, position);
    this.#released = position;
    // After the store: a writer that set the flag later sees the released position instead.
    if (Atomics.load(this.#words, WRITER_PARKED) === 0) return false;
    // Stored before the flag, so it belongs to it.
    const wanted = Atomics.load(this.#words, WANTED);
    return ((position - wanted) | 0) >= 0 && takeFlag(this.#words, WRITER_PARKED);
  }

  /** True: sleep until the bell. False: there is a record already. */
  park(): boolean {
    // Before the load: a writer that does not see the flag has published before it.
    Atomics.store(this.#words, READER_PARKED, 1);
    // After the store: the writer may have published between `next` and the flag.
    if (Atomics.load(this.#words, PUBLISHED) === this.end) return true;
    this.unpark();
    return false;
  }

  /** Withdraws the wish to be woken. A bell that is already on its way still rings. */
  unpark(): void {
    // Only this side sets the flag, so nothing can be lost by clearing it.
    Atomics.store(this.#words, READER_PARKED, 0);
  }
}

/** Clears a flag; true for the one caller that found it set. */
function takeFlag(words: Int32Array, index: number): boolean {
  // A load first: the other side is mostly awake, and an exchange would take its cache line.
  if (Atomics.load(words, index) === 0) return false;
  // An exchange, so that one sleep is ended by one bell.
  return Atomics.exchange(words, index, 0) === 1;
}

function checkEpoch(words: Int32Array, epoch: number): void {
  // The word changes only on a reset, so this load stays in the cache.
  if (Atomics.load(words, EPOCH) === epoch) return;
  throw new ShopError("STALE", "the ring was reset after this end was attached", "never");
}

function refuseSize(payloadBytes: number, payloadBytesMax: number): never {
  const message = `a record of ${payloadBytes} bytes exceeds the ${payloadBytesMax} of its ring`;
  throw new ShopError("PAYLOAD_TOO_LARGE", message, "never");
}
