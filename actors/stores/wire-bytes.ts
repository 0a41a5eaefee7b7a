/**
 * Writing and reading the bytes of records that cross a ring: numbers, texts, names and blobs.
 *
 * A name is a text of a known list, one byte; any other is written out. A reader's blobs are views
 * of the bytes it was given, which must not be written over. Both ends are of one build: a reader
 * that comes to the end too early, or does not come to it, is a bug and asserts.
 */

import { assert } from "../../runtime/errors.ts";
import {
  readF64,
  readU16,
  readU32,
  writeU16,
  writeU32,
} from "../../runtime/frames/little-endian.ts";
import { readText, writeText } from "../../runtime/frames/text-bytes.ts";

const BYTES_MIN = 16_384;
/** A target that has grown larger is not kept. */
const BYTES_KEPT_MAX = 262_144;
/** UTF-8 of one UTF-16 unit. */
const TEXT_BYTES_MAX = 3;
const WRITTEN_OUT = 255;

/** Texts that are written as one byte, the same list at both ends. */
export class WireNames {
  readonly #names: readonly string[];
  readonly #numbers: ReadonlyMap<string, number>;

  constructor(names: readonly string[]) {
    assert(names.length < WRITTEN_OUT, `${names.length} names do not fit in a byte`);
    this.#names = names;
    this.#numbers = new Map(names.map((name, index) => [name, index]));
  }

  numberOf(name: string): number {
    return this.#numbers.get(name) ?? WRITTEN_OUT;
  }

  /** `undefined` for a name that is written out. */
  nameOf(number: number): string | undefined {
    return this.#names[number];
  }
}

/** Used over and over: what it has written is taken as a copy. */
export class WireWriter {
  #bytes = new Uint8Array(BYTES_MIN);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  u16(value: number): void {
    this.#reserve(2);
    assert(value >= 0 && value <= 0xffff, "a number does not fit in 16 bits");
    writeU16(this.#bytes, this.#at, value);
    this.#at += 2;
  }

  f64(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  text(text: string): void {
    const bytesMax = TEXT_BYTES_MAX * text.length;
    this.#reserve(4 + bytesMax);
    let textBytes = writeText(text, this.#bytes, this.#at + 4);
    // Lone surrogates have no bytes.
    if (textBytes < 0) textBytes = writeText(text.toWellFormed(), this.#bytes, this.#at + 4);
    writeU32(this.#bytes, this.#at, textBytes);
    this.#at += 4 + textBytes;
  }

  name(name: string, names: WireNames): void {
    const number = names.numberOf(name);
    this.#reserve(1);
    this.#bytes[this.#at++] = number;
    if (number === WRITTEN_OUT) this.text(name);
  }

  blob(blob: Uint8Array): void {
    this.#reserve(4 + blob.length);
    writeU32(this.#bytes, this.#at, blob.length);
    this.#bytes.set(blob, this.#at + 4);
    this.#at += 4 + blob.length;
  }

  /** What was written since the last time. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    if (this.#bytes.length > BYTES_KEPT_MAX) this.#use(new Uint8Array(BYTES_MIN));
    return taken;
  }

  /** Forgets what was written, after a failure in the middle. */
  reset(): void {
    this.#at = 0;
  }

  #reserve(moreBytes: number): void {
    const neededBytes = this.#at + moreBytes;
    if (neededBytes <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.#bytes.length, neededBytes));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#use(grown);
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  u16(): number {
    return readU16(this.#bytes, this.#pass(2));
  }

  f64(): number {
    return readF64(this.#bytes, this.#pass(8));
  }

  text(): string {
    const textBytes = readU32(this.#bytes, this.#pass(4));
    return readText(this.#bytes, this.#pass(textBytes), textBytes);
  }

  name(names: WireNames): string {
    const number = this.#bytes[this.#pass(1)] ?? WRITTEN_OUT;
    return names.nameOf(number) ?? this.text();
  }

  blob(): Uint8Array {
    const blobBytes = readU32(this.#bytes, this.#pass(4));
    const at = this.#pass(blobBytes);
    return this.#bytes.subarray(at, at + blobBytes);
  }

  /** As many of what `read` reads as were counted before them. */
  list<Item>(read: () => Item): Item[] {
    const count = this.u16();
    const items: Item[] = [];
    for (let index = 0; index < count; index++) items.push(read());
    return items;
  }

  end(): void {
    assert(this.#at === this.#bytes.length, "a record is longer than what was read of it");
  }

  #pass(passedBytes: number): number {
    const at = this.#at;
    this.#at += passedBytes;
    assert(this.#at <= this.#bytes.length, "a record is shorter than what it announces");
    return at;
  }
}
