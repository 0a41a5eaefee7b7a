/**
 * Events as facts and as documents: nothing that is counted is lost on the way to the store and
 * back.
 */

import { describe, expect, test } from "bun:test";
import { BSON } from "mongodb";

import type { EventDocument } from "./event-document.ts";
import type { EventFacts, VisitorHours } from "./event-facts.ts";

import { LogWriter, writeLog } from "../analytics-log.fixture.ts";
import { ANALYTICS_SETTINGS } from "../analytics-tuning.ts";
import { PendingCells } from "../pending-cells.ts";
import { addVisitor, createVisitorSketch } from "../visitor-sketch.ts";
import { documentOf, factsIn } from "./event-document.ts";
import { addFacts, factsOf } from "./event-facts.ts";
import { cutPieces } from "./mongo-analytics-sink.ts";
import { packRegisters, unpackRegisters } from "./sparse-registers.ts";

function factsOfLog(seed: number): readonly EventFacts[] {
  const order = { segment: "new", size: "xl", currency: "USD", lines: [] };
  const line = { productId: "p", quantity: 2, amountMinor: 5_000_000_000 };
  return writeLog(seed, 400).flatMap(({ record }) => {
    const facts = factsOf(record, ANALYTICS_SETTINGS);
    if (facts === undefined) return [];
    return [facts.shape === "order" ? { ...facts, order: { ...order, lines: [line] } } : facts];
  });
}

function countsOf(facts: readonly EventFacts[]) {
  const cells = new PendingCells();
  const visitors: VisitorHours = new Map();
  for (const one of facts) addFacts(one, cells, visitors);
  return { cells: [...cells.minutes()], visitors };
}

describe("an event", () => {
  test("counts the same after it was a document", () => {
    const facts = factsOfLog(3);
    const back = facts.map((one) => {
      const bytes = BSON.serialize(documentOf(one, "piece_1"), { ignoreUndefined: true });
      // What was serialized is what comes back.
      return factsIn(BSON.deserialize(bytes, { promoteBuffers: true }) as EventDocument);
    });
    expect(countsOf(back)).toEqual(countsOf(facts));
  });

  test("has amounts of 64 bits in its document, and no float", () => {
    const paid = factsOfLog(3).find((one) => {
      return one.shape === "order" && one.event.type === "payment.processed";
    });
    if (paid === undefined) throw new Error("there is no payment");
    const json = BSON.EJSON.stringify(documentOf(paid, "piece_1"), { relaxed: false });
    expect(json).toContain('{"$numberLong":"5000000000"}');
    expect(json).not.toContain("$numberDouble");
  });

  test("is in the same day however late a copy of it comes", () => {
    const log = new LogWriter(1);
    log.event({ type: "order.shipped", orderId: "o", trackingNumber: "t", carrier: "c" });
    const [entry] = log.entries;
    if (entry === undefined) throw new Error("there is no record");
    const late = { ...entry.record, storedAtMs: entry.record.storedAtMs + 30 * 3_600_000 };
    const [one, other] = [entry.record, late].map((record) => {
      return factsOf(record, ANALYTICS_SETTINGS);
    });
    expect(other?.day).toBe(one?.day ?? -1);
    expect(other?.id).toBe(one?.id ?? "");
  });
});

describe("a payment without its order", () => {
  test("counts in two parts what it counts in one with it", () => {
    const whole = factsOfLog(5).filter((one) => {
      return one.shape === "order" && one.event.type === "payment.processed";
    });
    const part = (name: "own" | "order") => whole.map((one) => ({ ...one, part: name }));
    // Only order facts have parts.
    const halves = [...part("own"), ...part("order")] as readonly EventFacts[];
    const sorted = (facts: readonly EventFacts[]) =>
      countsOf(facts).cells.toSorted((one, other) =>
        JSON.stringify(one) < JSON.stringify(other) ? -1 : 1,
      );
    expect(sorted(halves)).toEqual(sorted(whole));
    const own = countsOf([...part("own")] as readonly EventFacts[]); // as above
    expect(own.cells.some(({ metric }) => metric === "units")).toBe(false);
  });
});

describe("registers of a sketch", () => {
  for (const visitors of [0, 1, 50, 5_000]) {
    test(`of ${visitors} visitors are the same after packing`, () => {
      const registers = createVisitorSketch();
      for (let number = 0; number < visitors; number++) addVisitor(registers, `visitor-${number}`);
      const packed = packRegisters(registers);
      expect(unpackRegisters(packed)).toEqual(registers);
      expect(packed.length).toBeLessThanOrEqual(Math.min(registers.length, 3 * visitors));
    });
  }

  test("that are neither whole nor packed are refused", () => {
    expect(() => unpackRegisters(new Uint8Array(4))).toThrow("not a sketch of visitors");
    expect(() => unpackRegisters(Uint8Array.of(0, 255, 1))).toThrow("register 65280");
  });
});

test("a piece has no more records than allowed, and no more sums than fit a document", () => {
  const facts = factsOfLog(9);
  const pieces = cutPieces(facts, 30);
  expect(pieces.flat()).toEqual([...facts]);
  expect(Math.max(...pieces.map(({ length }) => length))).toBe(30);
  const products = Array.from({ length: 30_000 }, (_, number) => `product-${number}`);
  const window = { kind: "counted", startMs: 0, events: [], eventCounts: [], products } as const;
  const counts = { productCounts: products.map(() => 1), visitors: createVisitorSketch() };
  const base = { shape: "behavior", day: 1, storedAtMs: 1, batchId: "b" } as const;
  const wide = ["1", "2"].map((id) => ({ ...base, id, windows: [{ ...window, ...counts }] }));
  expect(cutPieces(wide, 30)).toHaveLength(2);
});
