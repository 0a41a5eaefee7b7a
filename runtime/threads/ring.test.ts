/**
 * The ring in one thread, against an array: order, bytes, room, wrapping, releasing, taking over,
 * and the two handshakes of sleeping. Real threads are in `ring.int.test.ts`.
 */

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import type { ModelStep } from "./ring.model.ts";

import { InvariantError, isShopError } from "../errors.ts";
import { RING_BYTES_MAX } from "../limits.ts";
import { createRing, PUBLISHED, RELEASED, resetRing, RING_HEADER_BYTES } from "./ring-layout.ts";
import { RingModel } from "./ring.model.ts";
import { RingReader, RingWriter } from "./ring.ts";

const text = (value: string) => new TextEncoder().encode(value);

test("records are read in order, with their kinds and their parts joined", () => {
  const memory = createRing(256);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  expect(writer.tryWrite(1, text("one"))).toBe(true);
  expect(writer.tryWrite(0xffff_fffe, text("t"), text("w"), text("o"))).toBe(true);
  expect(writer.tryWrite(0)).toBe(true);
  expect(reader.next()).toBe(false);
  writer.flush();
  expect(taken(reader)).toEqual(["1 one", "4294967294 two", "0 "]);
});

test("a record of half the capacity fits an empty ring at every offset, and a larger never", () => {
  for (let offset = 0; offset < 64; offset += 8) {
    const memory = ringAt(64, offset);
    const writer = new RingWriter(memory);
    const reader = new RingReader(memory);
    expect(writer.payloadBytesMax).toBe(24);
    expect(writer.tryWrite(1, new Uint8Array(24).fill(offset))).toBe(true);
    writer.flush();
    expect(reader.next()).toBe(true);
    expect([...reader.bytes]).toEqual(Array.from({ length: 24 }, () => offset));
    const error = thrownBy(() => writer.tryWrite(1, new Uint8Array(20), new Uint8Array(5)));
    expect(isShopError(error, "PAYLOAD_TOO_LARGE")).toBe(true);
  }
});

test("a full ring refuses and overwrites nothing; released room is used again", () => {
  const memory = createRing(64);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  for (let index = 0; index < 4; index++)
    expect(writer.tryWrite(index, text("8 bytes!"))).toBe(true);
  expect(writer.freeBytes).toBe(0);
  expect(writer.tryWrite(9)).toBe(false);
  writer.flush();
  expect(reader.next()).toBe(true);
  expect(writer.tryWrite(9)).toBe(false);
  reader.release(reader.end);
  expect(writer.freeBytes).toBe(16);
  expect(writer.tryWrite(9, text("8 bytes."))).toBe(true);
  writer.flush();
  expect(taken(reader)).toEqual(["1 8 bytes!", "2 8 bytes!", "3 8 bytes!", "9 8 bytes."]);
});

test("a refused record leaves no trace, padding included", () => {
  const memory = ringAt(64, 48);
  const writer = new RingWriter(memory);
  expect(writer.tryWrite(1, text("8 bytes!"))).toBe(true);
  expect(writer.tryWrite(1, new Uint8Array(24))).toBe(true);
  expect(writer.tryWrite(1, new Uint8Array(24))).toBe(false);
  expect(() => writer.tryWrite(0xffff_ffff)).toThrow(InvariantError);
  expect(() => writer.tryWrite(-1)).toThrow(InvariantError);
  expect(writer.freeBytes).toBe(16);
  writer.flush();
  expect(taken(new RingReader(memory)).length).toBe(2);
});

test("a view and its bytes last until they are released", () => {
  const memory = createRing(64);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  writer.tryWrite(5, text("abc"));
  writer.flush();
  reader.next();
  expect([reader.length, reader.byteAt(0), reader.byteAt(2)]).toEqual([3, 97, 99]);
  expect(reader.bytes.buffer).toBe(memory);
});

test("a reader that takes over reads again all that was not released", () => {
  const memory = createRing(256);
  const writer = new RingWriter(memory);
  for (const name of ["a", "b", "c"]) writer.tryWrite(1, text(name));
  writer.flush();
  const first = new RingReader(memory);
  first.next();
  const afterA = first.end;
  expect(taken(first)).toEqual(["1 b", "1 c"]);
  first.release(afterA);
  const second = new RingReader(memory);
  expect(second.released).toBe(afterA);
  expect(taken(second)).toEqual(["1 b", "1 c"]);
});

test("a writer that takes over overwrites what its predecessor had not published", () => {
  const memory = createRing(256);
  const first = new RingWriter(memory);
  first.tryWrite(1, text("published"));
  first.flush();
  first.tryWrite(1, text("torn"));
  const reader = new RingReader(memory);
  expect(taken(reader)).toEqual(["1 published"]);
  const second = new RingWriter(memory);
  expect(second.isDirty).toBe(false);
  second.tryWrite(2, text("next"));
  second.flush();
  expect(taken(reader)).toEqual(["2 next"]);
});

test("A36: whatever a dying writer left beyond its publication, nobody sees it", () => {
  const garbage = fc.uint8Array({ minLength: 128, maxLength: 128 });
  fc.assert(
    fc.property(garbage, fc.nat(15), (bytes, start) => {
      const memory = ringAt(128, start * 8);
      const first = new RingWriter(memory);
      first.tryWrite(1, text("whole"));
      first.flush();
      // Any step of any write it may have died in: all but the published record is arbitrary.
      const data = new Uint8Array(memory, RING_HEADER_BYTES);
      const published = Atomics.load(new Int32Array(memory), PUBLISHED);
      for (let at = published; at < start * 8 + 128; at++) data[at % 128] = bytes[at % 128] ?? 0;
      const reader = new RingReader(memory);
      expect(taken(reader)).toEqual(["1 whole"]);
      const second = new RingWriter(memory);
      for (const name of ["a", "b"]) second.tryWrite(2, text(name));
      second.flush();
      expect(taken(reader)).toEqual(["2 a", "2 b"]);
    }),
    { numRuns: 200 },
  );
});

test("only what was read can be released, and only once", () => {
  const memory = createRing(256);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  writer.tryWrite(1);
  writer.tryWrite(2);
  writer.flush();
  reader.next();
  const first = reader.end;
  expect(() => reader.release(first + 8)).toThrow(InvariantError);
  reader.next();
  reader.release(reader.end);
  expect(() => reader.release(first)).toThrow(InvariantError);
  expect(reader.release(reader.end)).toBe(false);
});

describe("a reset", () => {
  test("drops what was unread and unsettled; both sides start over", () => {
    const { memory, reader } = fullRing();
    reader.next();
    resetRing(memory);
    const writer = new RingWriter(memory);
    const successor = new RingReader(memory);
    expect(successor.next()).toBe(false);
    expect(writer.freeBytes).toBe(64);
    writer.tryWrite(3, text("new"));
    writer.flush();
    expect(taken(successor)).toEqual(["3 new"]);
  });

  test("refuses the ends that were attached before", () => {
    const { memory, writer, reader } = fullRing();
    reader.next();
    reader.release(reader.end);
    writer.tryWrite(1);
    reader.next();
    resetRing(memory);
    expect(
      isShopError(
        thrownBy(() => writer.flush()),
        "STALE",
      ),
    ).toBe(true);
    expect(
      isShopError(
        thrownBy(() => reader.release(reader.end)),
        "STALE",
      ),
    ).toBe(true);
  });
});

test("memory that is not a ring, and capacities that cannot be, are refused", () => {
  for (const capacityBytes of [0, 32, 96, 2 * RING_BYTES_MAX, 64.5, Number.NaN]) {
    expect(() => createRing(capacityBytes)).toThrow(InvariantError);
  }
  for (const bytes of [0, RING_HEADER_BYTES, RING_HEADER_BYTES + 64]) {
    expect(() => new RingReader(new SharedArrayBuffer(bytes))).toThrow(InvariantError);
  }
});

test("damaged memory is noticed, not followed", () => {
  const memory = createRing(64);
  const writer = new RingWriter(memory);
  writer.tryWrite(1, text("abc"));
  writer.flush();
  for (const length of [64, 17, 0x7fff_ffff, 0xffff_ffff]) {
    new Uint32Array(memory, RING_HEADER_BYTES)[0] = length;
    expect(() => new RingReader(memory).next()).toThrow(InvariantError);
  }
});

test("every short sequence of steps agrees with an array, from every offset of the ring", () => {
  const steps: readonly ModelStep[] = [
    { do: "write", payloadBytes: 0 },
    { do: "write", payloadBytes: 16 },
    { do: "write", payloadBytes: 24 },
    { do: "flush" },
    { do: "next" },
    { do: "release", back: 0 },
  ];
  const depth = 6;
  let reads = 0;
  for (let code = 0; code < 2 * steps.length ** depth; code++) {
    const model = new RingModel(64, 40 + (code % 2) * 8);
    let rest = code >> 1;
    for (let at = 0; at < depth; at++) {
      model.step(steps[rest % steps.length]!); // `!`: the remainder is below the length
      rest = Math.floor(rest / steps.length);
    }
    reads += model.reads;
  }
  expect(reads).toBeGreaterThan(12_000);
});

const anyStep: fc.Arbitrary<ModelStep> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("write"), payloadBytes: fc.nat(140) }) },
  { weight: 4, arbitrary: fc.constant({ do: "flush" }) },
  { weight: 8, arbitrary: fc.constant({ do: "next" }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("release"), back: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.constant({ do: "park reader" }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("park writer"), payloadBytes: fc.nat(120) }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "replace writer" }) },
  { weight: 1, arbitrary: fc.constant({ do: "replace reader" }) },
);

test("A38: any interleaving of any sizes agrees with an array, also where positions wrap", () => {
  const around = [0, 2 ** 31, 2 ** 32].flatMap((at) => [-512, -64, -8, 0, 8].map((by) => at + by));
  fc.assert(
    fc.property(
      fc.constantFrom(64, 128, 256),
      fc.constantFrom(...around),
      fc.array(anyStep, { minLength: 20, maxLength: 400, size: "max" }),
      (capacityBytes, start, steps) => {
        const model = new RingModel(capacityBytes, start);
        for (const step of steps) model.step(step);
      },
    ),
    { numRuns: 1_000 },
  );
});

test("a ring runs through the whole space of positions without a seam", () => {
  const capacityBytes = 2 ** 20;
  const memory = ringAt(capacityBytes, 2 ** 31 - 4 * capacityBytes);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  const payload = new Uint8Array(capacityBytes / 2 - 8);
  const words = new Int32Array(memory);
  let sawNegative = false;
  // Half a space of 2^32 from just below 2^31, half a ring at a time.
  for (let count = 0; count < 2 ** 31 / (capacityBytes / 2) + 16; count++) {
    payload[0] = count;
    if (!writer.tryWrite(count, payload)) throw new Error(`full at record ${count}`);
    writer.flush();
    if (!reader.next() || reader.kind !== count) throw new Error(`record ${count} is missing`);
    if (reader.byteAt(0) !== (count & 0xff)) throw new Error(`record ${count} is damaged`);
    reader.release(reader.end);
    sawNegative ||= Atomics.load(words, PUBLISHED) < 0;
  }
  expect(sawNegative).toBe(true);
  expect(Atomics.load(words, PUBLISHED)).toBeGreaterThan(0);
});

/** An empty ring whose positions start at `position`. */
function ringAt(capacityBytes: number, position: number): SharedArrayBuffer {
  const memory = createRing(capacityBytes);
  const words = new Int32Array(memory);
  words[PUBLISHED] = position;
  words[RELEASED] = position;
  return memory;
}

/** A ring of 64 bytes with four published records of 16. */
function fullRing() {
  const memory = createRing(64);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  for (let index = 0; index < 4; index++) writer.tryWrite(index, new Uint8Array(8));
  writer.flush();
  return { memory, writer, reader };
}

function taken(reader: RingReader): string[] {
  const records: string[] = [];
  while (reader.next()) records.push(`${reader.kind} ${Buffer.from(reader.bytes).toString()}`);
  return records;
}

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
