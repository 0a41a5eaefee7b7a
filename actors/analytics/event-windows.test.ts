/**
 * Which window an event falls into, as a table, and how long an answer is good for.
 *
 * Times are minutes and milliseconds around one receipt.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { HOUR_MS, MINUTE_MS, placeEvent, windowStart } from "./event-windows.ts";

const settings = { latenessMs: HOUR_MS, aheadMs: 5 * MINUTE_MS };
const STORED_MS = 1_700_000_025_000;
const MINUTE_OF_RECEIPT_MS = 1_699_999_980_000;

describe("an event", () => {
  const table = [
    ["of its receipt", 0, "counted", 0],
    ["of the minute's first millisecond", -45_000, "counted", 0],
    ["a millisecond before that", -45_001, "counted", -1],
    ["as old as allowed", -HOUR_MS, "counted", -60],
    ["a millisecond older", -HOUR_MS - 1, "late", 0],
    ["of 1970", -STORED_MS, "late", 0],
    ["as far ahead as allowed", 5 * MINUTE_MS, "counted", 5],
    ["a millisecond further", 5 * MINUTE_MS + 1, "future", 0],
    ["of the end of time", Number.MAX_SAFE_INTEGER - STORED_MS, "future", 0],
  ] as const;
  for (const [what, offsetMs, kind, minutes] of table) {
    test(`${what} is ${kind}, ${minutes} minutes from the receipt's`, () => {
      const placing = placeEvent(STORED_MS + offsetMs, STORED_MS, settings);
      const startMs = MINUTE_OF_RECEIPT_MS + minutes * MINUTE_MS;
      expect(placing).toMatchObject({ kind, startMs });
    });
  }

  test("is placed as the answer for another time of the same interval says", () => {
    const offset = fc.integer({ min: -2 * HOUR_MS, max: 10 * MINUTE_MS });
    fc.assert(
      fc.property(offset, offset, (one, two) => {
        const placing = placeEvent(STORED_MS + one, STORED_MS, settings);
        expect(STORED_MS + one).toBeGreaterThanOrEqual(placing.fromMs);
        expect(STORED_MS + one).toBeLessThan(placing.toMs);
        const atMs = STORED_MS + two;
        if (atMs < placing.fromMs || atMs >= placing.toMs) return;
        expect(placeEvent(atMs, STORED_MS, settings)).toEqual(placing);
      }),
    );
  });

  test("is in exactly one window of each size, and an hour is made of whole minutes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 45 }), (atMs) => {
        const minuteMs = windowStart(atMs, MINUTE_MS);
        expect(atMs - minuteMs).toBeWithin(0, MINUTE_MS);
        expect(windowStart(minuteMs, HOUR_MS)).toBe(windowStart(atMs, HOUR_MS));
      }),
    );
  });
});
