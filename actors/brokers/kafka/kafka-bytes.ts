/**
 * Numbers, texts and bytes as Kafka's protocol has them, in one buffer that grows.
 *
 * The library's writer makes a buffer for every number and its reader a view for every field, which
 * is most of what a record costs; this writes and reads in place. Whole numbers of 64 bits are
 * plain numbers, exact below 2^53. A reader that comes to the end too early, or to a number that
 * does not end, refuses with `BAD_MESSAGE`.
 */

import type { ByteShelf } from "./byte-shelf.ts";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { writeText } from "../../../runtime/frames/text-bytes.ts";

const BYTES_MIN = 4_096;
const TWO_32 = 2 ** 32;
/** Of a variable-length number below 2^53. */
const VARINT_BYTES_MAX = 8;
/** Of those that Kafka writes, of 32 bits and of 64. */
const VARINT_32_BYTES_MAX = 5;
const VARINT_64_BYTES_MAX = 10;
/** UTF-8 of one UTF-16 unit. */
const TEXT_BYTES_MAX = 3;

export class KafkaWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(sizeHint = BYTES_MIN) {
    this.#bytes = Buffer.allocUnsafe(Math.max(BYTES_MIN, sizeHint));
  }

  get length(): number {
    return this.#at;
  }

  /** A view of what is written from `from` on; good until more is. */
  written(from = 0): Buffer {
    return this.#bytes.subarray(from, this.#at);
  }

  int8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value & 0xff;
  }

  int16(value: number): void {
    this.#reserve(2);
    this.#at = this.#bytes.writeInt16BE(value, this.#at);
  }

  int32(value: number): void {
    this.#reserve(4);
    this.#at = this.#bytes.writeInt32BE(value, this.#at);
  }

  int64(value: number): void {
    this.#reserve(8);
    const high = Math.floor(value / TWO_32);
    this.#at = this.#bytes.writeInt32BE(high, this.#at);
    this.#at = this.#bytes.writeUInt32BE(value - high * TWO_32, this.#at);
  }

  /** Over what was written at `at`, as an `int32`. */
  patchInt32(at: number, value: number): void {
    this.#bytes.writeUInt32BE(value >>> 0, at);
  }

  unsignedVarint(value: number): void {
    this.#reserve(VARINT_BYTES_MAX);
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }

  /** Zigzag. */
  varint(value: number): void {
    this.unsignedVarint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.byteLength);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.byteLength;
  }

  /** With its length before it, as records have it. Lone surrogates become U+FFFD. */
  text(value: string): void {
    this.#reserve(value.length * TEXT_BYTES_MAX + VARINT_BYTES_MAX);
    const start = this.#at;
    this.varint(value.length);
    const at = this.#at;
    const bytes = writeText(value, this.#bytes, at);
    if (bytes === value.length) {
      this.#at += bytes;
      return;
    }
    this.#at = start;
    const encoded = Buffer.from(value);
    this.varint(encoded.byteLength);
    this.raw(encoded);
  }

  /** With its length plus one before it, as requests have it. */
  compactText(value: string): void {
    const encoded = Buffer.from(value);
    this.unsignedVarint(encoded.byteLength + 1);
    this.raw(encoded);
  }

  /** No fields by number. */
  noTagged(): void {
    this.unsignedVarint(0);
  }

  /** Puts the length of what follows `from` before it; `isCompact`: plus one, unsigned. */
  prefixLength(from: number, isCompact: boolean): void {
    const length = this.#at - from;
    this.#reserve(VARINT_BYTES_MAX);
    const value = isCompact ? length + 1 : 2 * length;
    const bytes = varintBytes(value);
    this.#bytes.copyWithin(from + bytes, from, this.#at);
    this.#at = from;
    this.unsignedVarint(value);
    this.#at += length;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + bytes));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

export class KafkaReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get at(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  skip(bytes: number): void {
    this.#take(bytes);
  }

  int8(): number {
    return this.#bytes.readInt8(this.#take(1));
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#take(2));
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  int64(): number {
    const at = this.#take(8);
    return this.#bytes.readInt32BE(at) * TWO_32 + this.#bytes.readUInt32BE(at + 4);
  }

  unsignedVarint(): number {
    return this.#variable(VARINT_32_BYTES_MAX);
  }

  /** Zigzag, of 32 bits. */
  varint(): number {
    return signed(this.#variable(VARINT_32_BYTES_MAX));
  }

  /** Zigzag, of 64 bits. */
  varlong(): number {
    return signed(this.#variable(VARINT_64_BYTES_MAX));
  }

  /** A view of so many bytes. */
  view(bytes: number): Buffer {
    const at = this.#take(bytes);
    return this.#bytes.subarray(at, at + bytes);
  }

  /** Passes so many bytes; whether they are these. */
  isNext(expected: Uint8Array, bytes: number): boolean {
    const at = this.#take(bytes);
    if (bytes !== expected.byteLength) return false;
    return this.#bytes.compare(expected, 0, bytes, at, at + bytes) === 0;
  }

  /** So many bytes, as a copy on the shelf. */
  copy(bytes: number, shelf: ByteShelf): Uint8Array {
    return shelf.copy(this.#bytes, this.#take(bytes), bytes);
  }

  /** Goes on from `at`, where it has been before. */
  backTo(at: number): void {
    assert(at >= 0 && at <= this.#at, "a reader goes back to where it was");
    this.#at = at;
  }

  /** Of a length that stands before it, plus one. */
  compactText(): string {
    const length = this.unsignedVarint() - 1;
    const at = this.#take(Math.max(0, length));
    return this.#bytes.toString("utf8", at, this.#at);
  }

  /** Fields by number that this knows nothing of. */
  skipTagged(): void {
    for (let left = this.unsignedVarint(); left > 0; left--) {
      this.unsignedVarint();
      this.skip(this.unsignedVarint());
    }
  }

  #variable(bytesMax: number): number {
    let value = 0;
    let scale = 1;
    for (let left = bytesMax; left > 0; left--) {
      const byte = this.#bytes[this.#take(1)]!; // `!`: it was just checked to be there
      if (byte < 128) return value + byte * scale;
      value += (byte - 128) * scale;
      scale *= 128;
    }
    const message = `an answer of Kafka has a number of more than ${bytesMax} bytes`;
    throw new ShopError("BAD_MESSAGE", message, "later");
  }

  /** Where `bytes` bytes are, which are passed. */
  #take(bytes: number): number {
    const at = this.#at;
    // Not the other way round: of what is no number every comparison is false.
    if (!(bytes >= 0 && at + bytes <= this.#end)) {
      throw new ShopError("BAD_MESSAGE", "an answer of Kafka ends too early", "later");
    }
    this.#at = at + bytes;
    return at;
  }
}

function signed(zigzag: number): number {
  return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}
