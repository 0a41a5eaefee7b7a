/**
 * The ring against a plain array, over random pushes and shifts.
 *
 * Every operation is checked for what it returns and for what stays behind.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { RingQueue } from "./ring-queue.ts";

describe("RingQueue", () => {
  test("behaves like a bounded array under any sequence of operations", () => {
    const operation = fc.oneof(
      { weight: 5, arbitrary: fc.constant<"push" | "shift">("push") },
      { weight: 4, arbitrary: fc.constant<"push" | "shift">("shift") },
      { weight: 1, arbitrary: fc.nat({ max: 20 }) },
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.array(operation, { maxLength: 300 }),
        (capacity, operations) => {
          const ring = new RingQueue<number>(capacity);
          const model: number[] = [];
          let next = 0;
          for (const step of operations) {
            if (step === "push") {
              const fits = model.length < capacity;
              expect(ring.push(next)).toBe(fits);
              if (fits) model.push(next);
              next++;
            } else if (step === "shift") {
              if (model.length > 0) expect(ring.shift()).toBe(model.shift() ?? -1);
            } else {
              expect(ring.take(step)).toEqual(model.splice(0, step));
            }
            expect(ring.length).toBe(model.length);
          }
          expect(ring.take(capacity)).toEqual(model);
        },
      ),
    );
  });

  test("takes nothing once closed, gives out what waits, and takes again once reopened", () => {
    const ring = new RingQueue<string>(100);
    expect(ring.push("a")).toBe(true);
    ring.close();
    expect(ring.push("b")).toBe(false);
    expect(ring.take(10)).toEqual(["a"]);
    expect(ring.push("b")).toBe(false);
    ring.reopen();
    expect(ring.push("c")).toBe(true);
    expect(ring.shift()).toBe("c");
  });

  test("does not keep what it handed out", async () => {
    const ring = new RingQueue<object>(1_024);
    const seen: WeakRef<object>[] = [];
    for (let index = 0; index < 1_024; index++) ring.push({ index });
    while (ring.length > 0) seen.push(new WeakRef(ring.shift()));
    // A WeakRef keeps its target alive until the turn is over, and the collector may take a stale
    // register for a reference: what the ring kept would survive every one of these turns.
    let alive = seen.length;
    for (let turn = 0; turn < 100 && alive >= 100; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      Bun.gc(true);
      alive = seen.filter((reference) => reference.deref() !== undefined).length;
    }
    expect(ring.push({ index: -1 })).toBe(true);
    expect(alive).toBeLessThan(100);
  });

  test("refuses a capacity that is no positive whole number", () => {
    expect(() => new RingQueue(0)).toThrow("capacity must be >= 1");
    expect(() => new RingQueue(1.5)).toThrow("capacity must be >= 1");
  });
});
