/**
 * A ring beside the array it should behave like: each step does the same to both and compares.
 *
 * Only for tests. The model counts room with unbounded numbers and knows nothing of wrapping; it
 * checks the bytes of a record when it is read and once more just before it is released.
 */

import { expect } from "bun:test";

import { isShopError } from "../errors.ts";
import { createRing, PUBLISHED, RELEASED } from "./ring-layout.ts";
import { RingReader, RingWriter } from "./ring.ts";

export type ModelStep =
  | { readonly do: "write"; readonly payloadBytes: number }
  | { readonly do: "flush" }
  | { readonly do: "next" }
  | { readonly do: "park reader" }
  | { readonly do: "park writer"; readonly payloadBytes: number }
  /** Releases all that was read but the last `back` records. */
  | { readonly do: "release"; readonly back: number }
  | { readonly do: "replace writer" }
  | { readonly do: "replace reader" };

interface ModelRecord {
  readonly kind: number;
  readonly fill: number;
  readonly payloadBytes: number;
  /** Bytes ever written up to its end. */
  readonly end: number;
}

interface TakenRecord extends ModelRecord {
  readonly view: Uint8Array;
  readonly position: number;
}

export class RingModel {
  /** Records compared so far. */
  reads = 0;
  readonly #memory: SharedArrayBuffer;
  readonly #capacityBytes: number;
  #writer: RingWriter;
  #reader: RingReader;
  #staged: ModelRecord[] = [];
  #unread: ModelRecord[] = [];
  #taken: TakenRecord[] = [];
  #publishedEnd: number;
  #releasedEnd: number;
  #written = 0;
  #isReaderParked = false;
  /** What the released end must reach for the parked writer to be rung. */
  #wantedEnd: number | undefined;

  /** Positions start at `start`, a multiple of 8, as if so many bytes had gone through before. */
  constructor(capacityBytes: number, start: number) {
    this.#capacityBytes = capacityBytes;
    this.#memory = createRing(capacityBytes);
    const words = new Int32Array(this.#memory);
    words[PUBLISHED] = start;
    words[RELEASED] = start;
    // A start below zero is far on in the space before: keep the model's numbers positive.
    this.#publishedEnd = start < 0 ? start + 2 ** 32 : start;
    this.#releasedEnd = this.#publishedEnd;
    this.#writer = new RingWriter(this.#memory);
    this.#reader = new RingReader(this.#memory);
  }

  step(step: ModelStep): void {
    switch (step.do) {
      case "write":
        return this.#write(step.payloadBytes);
      case "flush":
        return this.#flush();
      case "next":
        return this.#next();
      case "release":
        return this.#release(step.back);
      case "park reader":
        this.#isReaderParked = this.#unread.length === 0;
        expect(this.#reader.park()).toBe(this.#isReaderParked);
        return undefined;
      case "park writer":
        return this.#parkWriter(step.payloadBytes);
      case "replace writer":
        this.#writer = new RingWriter(this.#memory);
        this.#staged = [];
        this.#wantedEnd = undefined;
        return undefined;
      case "replace reader":
        this.#reader = new RingReader(this.#memory);
        this.#isReaderParked = false;
        this.#unread.unshift(...this.#taken);
        this.#taken = [];
        return undefined;
    }
  }

  #write(payloadBytes: number): void {
    const kind = this.#written++;
    const payload = new Uint8Array(payloadBytes).fill(kind);
    const end = this.#endOf(payloadBytes);
    const isTooLarge = 8 + payloadBytes > this.#capacityBytes / 2;
    try {
      const half = payloadBytes >> 1;
      const isWritten = this.#writer.tryWrite(
        kind,
        payload.subarray(0, half),
        payload.subarray(half),
      );
      expect(isTooLarge).toBe(false);
      expect(isWritten).toBe(end - this.#releasedEnd <= this.#capacityBytes);
      if (isWritten) this.#staged.push({ kind, fill: kind & 0xff, payloadBytes, end });
    } catch (error) {
      if (!isTooLarge || !isShopError(error, "PAYLOAD_TOO_LARGE")) throw error;
    }
  }

  #flush(): void {
    const isBellDue = this.#isReaderParked && this.#staged.length > 0;
    expect(this.#writer.flush()).toBe(isBellDue);
    if (isBellDue) this.#isReaderParked = false;
    this.#publishedEnd = this.#staged.at(-1)?.end ?? this.#publishedEnd;
    this.#unread.push(...this.#staged);
    this.#staged = [];
  }

  #parkWriter(payloadBytes: number): void {
    if (8 + payloadBytes > this.#capacityBytes / 2) return;
    this.#flush();
    const wantedEnd = this.#endOf(payloadBytes) - this.#capacityBytes;
    this.#wantedEnd = wantedEnd > this.#releasedEnd ? wantedEnd : undefined;
    expect(this.#writer.park(payloadBytes)).toBe(this.#wantedEnd !== undefined);
  }

  #next(): void {
    const expected = this.#unread.shift();
    expect(this.#reader.next()).toBe(expected !== undefined);
    if (expected === undefined) return;
    expect(this.#reader.kind).toBe(expected.kind);
    expect(this.#reader.end).toBe(expected.end | 0);
    const record = { ...expected, view: this.#reader.bytes, position: this.#reader.end };
    checkBytes(record);
    this.#taken.push(record);
    this.reads++;
  }

  #release(back: number): void {
    const count = Math.max(0, this.#taken.length - back);
    const last = this.#taken[count - 1];
    if (last === undefined) return;
    for (const record of this.#taken) checkBytes(record);
    const isBellDue = this.#wantedEnd !== undefined && last.end >= this.#wantedEnd;
    expect(this.#reader.release(last.position)).toBe(isBellDue);
    if (isBellDue) this.#wantedEnd = undefined;
    this.#releasedEnd = last.end;
    this.#taken.splice(0, count);
  }

  /** Where a record written now would end. */
  #endOf(payloadBytes: number): number {
    const start = this.#staged.at(-1)?.end ?? this.#publishedEnd;
    const bytes = Math.ceil((8 + payloadBytes) / 8) * 8;
    const tailBytes = this.#capacityBytes - (start % this.#capacityBytes);
    return start + (tailBytes < bytes ? tailBytes : 0) + bytes;
  }
}

function checkBytes({ view, fill, payloadBytes }: TakenRecord): void {
  const isIntact = view.length === payloadBytes && view.every((byte) => byte === fill);
  if (!isIntact) expect([...view]).toEqual(Array.from({ length: payloadBytes }, () => fill));
}
