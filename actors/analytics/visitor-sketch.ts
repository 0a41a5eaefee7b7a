/**
 * How many different visitors, roughly, in two kilobytes an hour.
 *
 * HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, AofA 2007) with linear counting where few have
 * been seen; the standard error is 1.04 / √2048, about 2.3 %. Merging takes the larger of each two
 * registers, so a visitor of many hours counts once, and a message that comes again changes
 * nothing. Made for up to some ten million visitors: 32 bits of hash know no more apart.
 */

import { assert } from "../../runtime/errors.ts";

const INDEX_BITS = 11;
export const VISITOR_REGISTERS = 2 ** INDEX_BITS;
const ALPHA = 0.7213 / (1 + 1.079 / VISITOR_REGISTERS);
const SMALL_FACTOR = 2.5;

export function createVisitorSketch(): Uint8Array {
  return new Uint8Array(VISITOR_REGISTERS);
}

export function addVisitor(registers: Uint8Array, visitor: string): void {
  const hash = Bun.hash.murmur32v3(visitor, 0);
  const index = hash >>> (32 - INDEX_BITS);
  // The bit behind the hash ends the run of zeros.
  const rank = Math.clz32((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))) + 1;
  if (rank > registers[index]!) registers[index] = rank; // `!`: the index has so many bits
}

export function mergeVisitors(into: Uint8Array, from: Uint8Array): void {
  assert(from.length === VISITOR_REGISTERS, `a sketch of ${from.length} registers`);
  for (let index = 0; index < VISITOR_REGISTERS; index++) {
    const rank = from[index]!; // `!`: below the length
    if (rank > into[index]!) into[index] = rank; // `!`: as above
  }
}

export function countVisitors(registers: Uint8Array): number {
  let sum = 0;
  let empty = 0;
  for (const rank of registers) {
    sum += 2 ** -rank;
    if (rank === 0) empty++;
  }
  const estimate = (ALPHA * VISITOR_REGISTERS ** 2) / sum;
  const isSmall = estimate <= SMALL_FACTOR * VISITOR_REGISTERS && empty > 0;
  const count = isSmall ? VISITOR_REGISTERS * Math.log(VISITOR_REGISTERS / empty) : estimate;
  return Math.round(count);
}
