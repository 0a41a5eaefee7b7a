/**
 * Units as bytes: whatever one holds comes back, and a record that was cut is a bug.
 *
 * No I/O.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { InvariantError } from "../../runtime/errors.ts";
import { unitFromWire, unitToWire } from "./unit-wire.ts";
import { EMPTY_UNIT, TABLES } from "./unit-of-work.ts";

const text = fc.string({ unit: "grapheme", maxLength: 80 });
const name = fc.oneof(fc.constantFrom("orders", "payment", "operations"), text);
const count = fc.maxSafeNat();
const entry = { orderId: text, version: count, type: text, atMs: count };
const data = fc.uint8Array({ maxLength: 300 });
const outgoing = fc.record({ topic: name, frame: data });
const row = { table: fc.constantFrom(...TABLES), key: text, expectedVersion: count, data };
const columns = fc.record({ customerId: text, status: text, createdAtMs: count });
const unit = fc.record({
  inbox: fc.array(fc.record({ group: name, messageId: text })),
  rows: fc.array(fc.oneof(fc.record(row), fc.record({ ...row, columns }))),
  timeline: fc.array(fc.record({ ...entry, data })),
  outgoing: fc.array(outgoing),
  timersStarted: fc.array(fc.record({ id: text, dueAtMs: count, outgoing })),
  timersCancelled: fc.array(text),
  deadLettersRemoved: fc.array(count),
});
const ref = { group: name, topic: name, partition: fc.nat({ max: 65_535 }) };
const acks = fc.array(fc.record({ ...ref, sequence: count, epoch: count }));

test("a unit and its acks come back as they were, each record with bytes of its own", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ unit, acks }), { maxLength: 3 }), (units) => {
      const wires = units.map((one) => unitToWire(one.unit, one.acks));
      expect(JSON.stringify(wires.map(unitFromWire))).toBe(JSON.stringify(units));
    }),
  );
});

test("text without UTF-8 comes back with replacement characters", () => {
  const wire = unitToWire({ ...EMPTY_UNIT, timersCancelled: ["a\ud800b"] }, []);
  expect(unitFromWire(wire).unit.timersCancelled).toEqual(["a\ufffdb"]);
});

test("a unit larger than the first target, and the one after it, come back", () => {
  const frame = new Uint8Array(900_000).fill(7);
  const large = { ...EMPTY_UNIT, outgoing: [{ topic: "orders", frame }] };
  expect(unitFromWire(unitToWire(large, [])).unit).toEqual(large);
  expect(unitFromWire(unitToWire(EMPTY_UNIT, [])).unit).toEqual(EMPTY_UNIT);
});

test("a record that is cut short or goes on is a bug", () => {
  const wire = unitToWire({ ...EMPTY_UNIT, timersCancelled: ["pack"] }, []);
  expect(() => unitFromWire(wire.subarray(0, wire.length - 1))).toThrow(InvariantError);
  expect(() => unitFromWire(new Uint8Array([...wire, 0]))).toThrow(InvariantError);
});
