/**
 * The server's answers, which are nested lists of buffers and numbers, as what they mean.
 *
 * Every reader checks the shape it relies on and refuses another with `InvariantError`: a server
 * that answers something else is not the one this was written for.
 */

import { assert } from "../../../runtime/errors.ts";
import { sequenceOf } from "./redis-keys.ts";

const ZERO = 0x30;
const DASH = 0x2d;

export function list(reply: unknown): readonly unknown[] {
  assert(Array.isArray(reply), "redis answered something else than a list");
  return reply;
}

export function text(reply: unknown): string {
  assert(reply instanceof Uint8Array || typeof reply === "string", "redis answered no text");
  return typeof reply === "string" ? reply : viewOf(reply).toString();
}

export function bytes(reply: unknown): Uint8Array {
  assert(reply instanceof Uint8Array, "redis answered no bytes");
  return reply;
}

export function whole(reply: unknown): number {
  const value = typeof reply === "number" ? reply : Number(text(reply));
  assert(Number.isSafeInteger(value), "redis answered no whole number");
  return value;
}

/** `name, value, name, value, …` */
export function pairs(reply: unknown): readonly (readonly [string, string])[] {
  const flat = list(reply);
  const found: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) found.push([text(flat[at]), text(flat[at + 1])]);
  return found;
}

export interface Entry {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** `[id, [name, bytes]]`; entries that were deleted meanwhile are left out. */
export function entries(reply: unknown): readonly Entry[] {
  const found: Entry[] = [];
  for (const entry of list(reply)) {
    const [id, fields] = list(entry);
    if (!Array.isArray(fields)) continue;
    found.push({ sequence: sequenceIn(id), bytes: bytes(fields[1]) });
  }
  return found;
}

/** Of an id as the server has it: read in place, for a text of it would cost more than all else. */
function sequenceIn(id: unknown): number {
  if (!(id instanceof Uint8Array)) return sequenceOf(text(id));
  let sequence = 0;
  let isWhole = id[0] === ZERO && id[1] === DASH && id.length > 2;
  for (let at = 2; at < id.length; at++) {
    const digit = id[at]! - ZERO; // `!`: the loop's bound
    isWhole &&= digit >= 0 && digit <= 9;
    sequence = sequence * 10 + digit;
  }
  // Whatever else it is, is refused there.
  return isWhole && Number.isSafeInteger(sequence) ? sequence : sequenceOf(text(id));
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** `# comment`, `name:value` lines. */
export function infoOf(reply: unknown): ReadonlyMap<string, string> {
  const lines = text(reply).split("\r\n");
  return new Map(
    lines.flatMap((line) => {
      const at = line.indexOf(":");
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
    }),
  );
}
