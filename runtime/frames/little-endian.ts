/**
 * Numbers in bytes, little-endian, without a DataView per call.
 *
 * Nothing here checks bounds: a caller that has not compared its offset with the length of the
 * bytes reads zeros. Floats go through a scratch of eight bytes, so the host must be
 * little-endian; the module refuses to load on one that is not.
 */

import { assert } from "../errors.ts";

const float = new Float64Array(1);
const floatBytes = new Uint8Array(float.buffer);
float[0] = 1;
assert(floatBytes[7] === 0x3f, "the host must be little-endian");

export function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8); // `!`: bounds are the caller's
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (readU16(bytes, at) | (readU16(bytes, at + 2) << 16)) >>> 0;
}

export function readF64(bytes: Uint8Array, at: number): number {
  for (let index = 0; index < 8; index++) floatBytes[index] = bytes[at + index]!; // `!`: as above
  return float[0]!; // `!`: it has one element
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value);
  writeU16(bytes, at + 2, value >>> 16);
}

export function writeF64(bytes: Uint8Array, at: number, value: number): void {
  float[0] = value;
  for (let index = 0; index < 8; index++) {
    bytes[at + index] = floatBytes[index]!; // `!`: it has eight
  }
}
