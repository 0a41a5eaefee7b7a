/** Copies side by side: each as it came, whatever comes after it, and little kept. No I/O. */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { ByteShelf } from "./byte-shelf.ts";

/** What one value may keep alive. */
const SHELF_BYTES_MAX = 4_096;

test("what was copied stays as it came, whatever is copied after it", () => {
  const size = fc.oneof(fc.nat(600), fc.integer({ min: 1_900, max: 20_000 }));
  fc.assert(
    fc.property(fc.array(size, { maxLength: 120 }), fc.nat(50), (sizes, at) => {
      const shelf = new ByteShelf();
      const copies = sizes.map((bytes, index) => {
        const source = Buffer.alloc(at + bytes + 7, index % 251);
        const copy = shelf.copy(source, at, bytes);
        source.fill(0xff);
        return copy;
      });
      copies.forEach((copy, index) => {
        expect(copy.byteLength).toBe(sizes[index] ?? -1);
        expect(copy.every((byte) => byte === index % 251)).toBe(true);
      });
    }),
  );
});

test("bytes come from where they are, of a source that is itself a view", () => {
  const source = Buffer.from(Uint8Array.from({ length: 10_000 }, (_, at) => at % 256)).subarray(
    100,
  );
  const shelf = new ByteShelf();
  for (const bytes of [3, 5_000]) {
    expect([...shelf.copy(source, 50, bytes)]).toEqual([...source.subarray(50, 50 + bytes)]);
  }
});

test("who keeps a value keeps no more than a shelf alive, or just itself when it is large", () => {
  const shelf = new ByteShelf();
  const source = Buffer.alloc(100_000);
  for (let index = 0; index < 200; index++) {
    expect(shelf.copy(source, 0, 400).buffer.byteLength).toBeLessThanOrEqual(SHELF_BYTES_MAX);
  }
  for (const bytes of [2_048, 50_000]) {
    expect(shelf.copy(source, 0, bytes).buffer.byteLength).toBe(bytes);
  }
});

test("frames that are parked one by one keep no more than a shelf each", () => {
  const shelf = new ByteShelf();
  const source = Buffer.alloc(209);
  const parked: Uint8Array[] = [];
  // As many as a group has in hand at most, with others between them that go.
  for (let index = 0; parked.length < 2_048; index++) {
    const copy = shelf.copy(source, 0, source.byteLength);
    if (index % 80 === 0) parked.push(copy);
  }
  let keptBytes = 0;
  for (const buffer of new Set(parked.map((each) => each.buffer))) keptBytes += buffer.byteLength;
  expect(keptBytes).toBeLessThanOrEqual(8 * 1_048_576);
});
