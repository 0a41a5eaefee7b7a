/**
 * What a group remembers outside its queues: retries that wait, and burials that have begun.
 *
 * A queue gives a frame back as it was, so when it is due again and which attempt comes next is
 * written beside it, under the name of that copy of the frame. Refuses, by answering nothing, what
 * it did not write itself.
 */

import type { Static } from "@sinclair/typebox";

import { Type } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";

const ERROR_CHARACTERS_MAX = 1_024;

const Copy = Type.String({ minLength: 1, maxLength: 256 });

const RecordSchema = Type.Union([
  Type.Object({
    kind: Type.Literal("postponed"),
    copy: Copy,
    attempt: Type.Integer({ minimum: 1 }),
    notBeforeMs: Type.Number(),
    error: Type.String(),
  }),
  Type.Object({ kind: Type.Literal("burying"), copy: Copy }),
]);

export type MemoryRecord = Static<typeof RecordSchema>;

const recordCheck = TypeCompiler.Compile(RecordSchema);

export function encodeMemory(record: MemoryRecord): Buffer {
  const { kind } = record;
  const bounded =
    kind === "postponed"
      ? { ...record, error: record.error.slice(0, ERROR_CHARACTERS_MAX) }
      : record;
  return Buffer.from(JSON.stringify(bounded));
}

export function decodeMemory(content: Uint8Array): MemoryRecord | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(content));
    return recordCheck.Check(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
