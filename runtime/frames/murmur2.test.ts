/**
 * Pins the hash and the slot of a key: to Kafka's own vectors, to another implementation, and to a
 * file of keys whose slots must never change, for data is stored by them.
 */

import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { createRequire } from "node:module";

import { InvariantError } from "../errors.ts";
import { murmur2, murmur2Bytes, slotOf } from "./murmur2.ts";
import golden from "./slots.golden.json" with { type: "json" };

const require = createRequire(import.meta.url);
// The package has no types for its inner modules.
const loaded: unknown = require("kafkajs/src/producer/partitioners/default/murmur2");

// org.apache.kafka.common.utils.UtilsTest.testMurmur2
const KAFKA_VECTORS = [
  ["21", -973932308],
  ["foobar", -790332482],
  ["a-little-bit-long-string", -985981536],
  ["a-little-bit-longer-string", -1486304829],
  ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
  ["abc", 479470107],
] as const;

test.each(KAFKA_VECTORS)("Kafka's own vector: %j hashes to %d", (key, hash) => {
  expect(murmur2(key)).toBe(hash);
  const bytes = new TextEncoder().encode(`${key}!`);
  expect(murmur2Bytes(bytes, bytes.length - 1)).toBe(hash);
});

test("any key hashes as kafkajs hashes it, unicode and empty keys included", () => {
  const key = fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 40 }),
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.string({ unit: "grapheme-ascii", maxLength: 80 }),
    fc.uuid(),
  );
  fc.assert(
    fc.property(key, (text) => murmur2(text) === kafkajsMurmur2(text)),
    { numRuns: 10_000, examples: [[""], ["\ud800"], ["\ufeff"], ["\u0000"]] },
  );
});

test("a key longer than the scratch hashes as kafkajs hashes it", () => {
  for (const units of [255, 256, 257, 5_000]) {
    for (const unit of ["x", "é", "鍵", "🔑"]) {
      const key = unit.repeat(units);
      expect(murmur2(key)).toBe(kafkajsMurmur2(key));
    }
  }
});

test("A28: a thousand golden keys have the slots they always had", () => {
  expect(golden.keys.length).toBe(1_000);
  const moved = golden.keys.filter(([key, slot]) => slotOf(String(key), golden.slots) !== slot);
  expect(moved).toEqual([]);
});

test("A28: over 10^5 keys the fullest slot has at most 1.3 times the emptiest", () => {
  const counts = new Uint32Array(64);
  for (let index = 0; index < 100_000; index++) counts[slotOf(`order-${index}`, 64)]! += 1;
  expect(Math.max(...counts) / Math.min(...counts)).toBeLessThanOrEqual(1.3);
});

test("a number of slots that is no positive integer is refused", () => {
  for (const slots of [0, -1, 1.5, Number.NaN, Infinity]) {
    expect(() => slotOf("key", slots)).toThrow(InvariantError);
  }
  expect(() => murmur2Bytes(new Uint8Array(3), 4)).toThrow(InvariantError);
});

function kafkajsMurmur2(key: string): number {
  if (typeof loaded !== "function") throw new Error("kafkajs has no murmur2 where it had one");
  return Number(loaded(key));
}
