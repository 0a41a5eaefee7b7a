/**
 * A sketch of visitors in as few bytes as it needs: few visitors leave most registers empty.
 *
 * Either all registers, or three bytes for each that is not 0. Refuses, as `DATA_DAMAGED`, bytes
 * that are neither.
 */

import { ShopError } from "../../../runtime/errors.ts";
import { createVisitorSketch, VISITOR_REGISTERS } from "../visitor-sketch.ts";

const ENTRY_BYTES = 3;

export function packRegisters(registers: Uint8Array): Uint8Array {
  const used: number[] = [];
  for (const [index, rank] of registers.entries()) if (rank !== 0) used.push(index);
  if (used.length * ENTRY_BYTES >= VISITOR_REGISTERS) return registers;
  return Uint8Array.from(
    used.flatMap((index) => [index & 0xff, index >>> 8, registers[index] ?? 0]),
  );
}

export function unpackRegisters(bytes: Uint8Array): Uint8Array {
  if (bytes.length === VISITOR_REGISTERS) return bytes;
  const registers = createVisitorSketch();
  if (bytes.length % ENTRY_BYTES !== 0) refuse(`${bytes.length} bytes`);
  for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
    // `!`: three bytes for each entry
    const index = bytes[at]! + (bytes[at + 1]! << 8);
    if (index >= VISITOR_REGISTERS) refuse(`register ${index}`);
    registers[index] = bytes[at + 2]!; // `!`: as above
  }
  return registers;
}

function refuse(what: string): never {
  throw new ShopError("DATA_DAMAGED", `not a sketch of visitors: ${what}`, "never");
}
