/**
 * What a group remembers goes round, fits the server's limit, and forgets only on the safe side.
 *
 * Properties over arbitrary sets. No I/O.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { PartitionMemory } from "./offset-metadata.ts";

import { addSettled, hasSettled } from "../../stores/journal/settled-set.ts";
import { memoryOf, positionFrom } from "./member-memory.ts";
import { decodeMemory, encodeMemory, METADATA_BYTES_MAX } from "./offset-metadata.ts";

const ATTEMPT = fc.record({
  attempt: fc.integer({ min: 1, max: 1_000 }),
  notBeforeMs: fc.constantFrom(0, 1_800_000_000_000),
});

function memories(length: number): fc.Arbitrary<PartitionMemory> {
  return fc
    .record({
      position: fc.nat(2 ** 40),
      above: fc.uniqueArray(fc.integer({ min: 1, max: 100_000 }), { maxLength: length }),
      entries: fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 100_000 }), ATTEMPT), {
        maxLength: length,
        selector: ([sequence]) => sequence,
      }),
      handedOut: fc.nat(100_000),
      lettersThrough: fc.nat(2 ** 40),
    })
    .map(({ position, above, entries, handedOut, lettersThrough }) => {
      const settled = { position, ranges: [] };
      for (const gap of above) if (gap > 1) addSettled(settled, position + gap);
      return {
        settled,
        cursor: position + handedOut,
        attempts: new Map(entries.map(([gap, each]) => [position + gap, each])),
        lettersThrough,
      };
    });
}

describe("the text beside an offset", () => {
  test("gives back what went in, while there is room", () => {
    fc.assert(
      fc.property(memories(40), (memory) => {
        const back = decodeMemory(encodeMemory(memory), memory.settled.position);
        expect(back?.settled).toEqual(memory.settled);
        expect(back?.cursor).toBe(memory.cursor);
        expect(back?.lettersThrough).toBe(memory.lettersThrough);
        expect([...(back?.attempts ?? [])]).toEqual(
          [...memory.attempts].toSorted(([a], [b]) => a - b),
        );
      }),
    );
  });

  test("fits the server's limit, and forgets settled ones rather than inventing any", () => {
    fc.assert(
      fc.property(memories(4_000), (memory) => {
        const text = encodeMemory(memory);
        expect(text.length).toBeLessThanOrEqual(METADATA_BYTES_MAX);
        const back = decodeMemory(text, memory.settled.position);
        expect(back).toBeDefined();
        const ranges = back?.settled.ranges ?? [];
        expect(ranges).toEqual(memory.settled.ranges.slice(0, ranges.length));
        for (const [sequence, each] of back?.attempts ?? []) {
          expect(each).toEqual(memory.attempts.get(sequence) ?? { attempt: 0, notBeforeMs: 0 });
        }
      }),
      { numRuns: 30 },
    );
  });

  test("of a partition full of holes keeps the oldest of them", () => {
    const settled = { position: 10, ranges: [] };
    const attempts = new Map<number, { readonly attempt: number; readonly notBeforeMs: number }>();
    for (let sequence = 12; sequence < 20_000; sequence += 2) {
      addSettled(settled, sequence);
      attempts.set(sequence + 1, { attempt: 3, notBeforeMs: 1_800_000_000_000 });
    }
    const text = encodeMemory({ settled, cursor: 20_000, attempts, lettersThrough: 1 });
    expect(text.length).toBeLessThanOrEqual(METADATA_BYTES_MAX);
    const back = decodeMemory(text, 10);
    expect(back?.settled.ranges.length).toBeGreaterThan(1_000);
    expect(back?.settled.ranges.slice(0, 4)).toEqual([12, 12, 14, 14]);
    expect(back?.attempts.get(13)).toEqual({ attempt: 3, notBeforeMs: 1_800_000_000_000 });
  });

  test("of another program, or cut short, is none", () => {
    const memory = { settled: { position: 5, ranges: [7, 9] }, cursor: 9, attempts: new Map() };
    const text = encodeMemory({ ...memory, lettersThrough: 3 });
    for (const other of ["", "hello", "s1:", text.slice(0, 5), "s1:////"]) {
      const back = decodeMemory(other, 5);
      if (back !== undefined) expect(back.settled.position).toBe(5);
    }
    expect(decodeMemory("hello", 5)).toBeUndefined();
    expect(decodeMemory("s1:", 5)).toBeUndefined();
  });

  test("arbitrary bytes of our form are read without a throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const text = `s1:${Buffer.from(bytes).toString("base64")}`;
        const back = decodeMemory(text, 10);
        expect(back === undefined || back.settled.position === 10).toBe(true);
      }),
    );
  });
});

describe("attempts", () => {
  const position = {
    settled: { position: 10, ranges: [12, 12] },
    postponed: new Map([
      [13, { attempt: 4, notBeforeMs: 99, error: "later" }],
      [18, { attempt: 3, notBeforeMs: 0, error: "" }],
    ]),
    attempts: new Map([[11, 2]]),
    cursor: 15,
  };

  test("of what was handed out go up by one, of the rest they stay", () => {
    const memory = memoryOf(position, 7);
    expect(memory.cursor).toBe(18);
    expect([...memory.attempts]).toEqual([
      [13, { attempt: 5, notBeforeMs: 99 }],
      [18, { attempt: 3, notBeforeMs: 0 }],
      [11, { attempt: 3, notBeforeMs: 0 }],
    ]);
  });

  test("and everything handed out and not settled comes as a second attempt at least", () => {
    const begin = positionFrom(memoryOf(position, 7), 10, [14]);
    expect(begin.position).toBe(10);
    expect(begin.settledAbove).toEqual([12, 14]);
    const attempts = [...begin.postponed].map(([sequence, { attempt }]) => [sequence, attempt]);
    expect(attempts).toEqual([
      [11, 3],
      [13, 5],
      [15, 2],
      [16, 2],
      [17, 2],
      [18, 3],
    ]);
  });

  test("a dead letter right above the position moves it on", () => {
    const begin = positionFrom(undefined, 10, [11, 12]);
    expect(begin).toEqual({ position: 12, settledAbove: [], postponed: new Map() });
    expect(hasSettled({ position: begin.position, ranges: [] }, 12)).toBe(true);
  });
});
