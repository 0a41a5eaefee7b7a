/** What is made of the server's answers: entries by their place, and what is refused. No I/O. */

import { expect, test } from "bun:test";

import { entries } from "./redis-reply.ts";

function entryOf(id: string): unknown {
  return [Buffer.from(id), [Buffer.from("f"), Buffer.from("frame")]];
}

test("an entry's sequence is the second part of its id, however large", () => {
  const sequences = [1, 9, 10, 4_711, Number.MAX_SAFE_INTEGER];
  const found = entries(sequences.map((sequence) => entryOf(`0-${sequence}`)));
  expect(found.map(({ sequence }) => sequence)).toEqual(sequences);
  expect(found.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(
    sequences.map(() => "frame"),
  );
});

test("entries that were deleted meanwhile are left out", () => {
  expect(entries([entryOf("0-1"), [Buffer.from("0-2"), null], entryOf("0-3")])).toMatchObject([
    { sequence: 1 },
    { sequence: 3 },
  ]);
});

test("an entry that somebody else wrote is refused", () => {
  const foreign = ["1700000000000-0", "1-5", "0_5", "0-5x", "0-/5", "0-:", "0-9007199254740993"];
  for (const id of foreign) expect(() => entries([entryOf(id)])).toThrow("no entry that this");
});
