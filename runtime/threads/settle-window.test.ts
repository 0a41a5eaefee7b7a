/**
 * The window against a list: whatever the order of settling, `released` is the end of the longest
 * settled beginning, and the window never holds more than its bound.
 */

import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { InvariantError } from "../errors.ts";
import { SETTLE_WINDOW_RECORDS_MAX } from "../limits.ts";
import { SettleWindow } from "./settle-window.ts";

test("released moves over the longest beginning that is settled", () => {
  const window = new SettleWindow(8, 100);
  const [first, second, third] = [window.open(108), window.open(124), window.open(132)];
  expect(window.settle(third)).toBe(false);
  expect(window.settle(second)).toBe(false);
  expect([window.released, window.size]).toEqual([100, 3]);
  expect(window.settle(first)).toBe(true);
  expect([window.released, window.size]).toEqual([132, 0]);
});

test("a full window opens no ticket until its oldest record is settled", () => {
  const window = new SettleWindow(2, 0);
  const oldest = window.open(8);
  const newest = window.open(16);
  expect(window.isFull).toBe(true);
  expect(window.open(24)).toBe(-1);
  window.settle(newest);
  expect(window.open(24)).toBe(-1);
  window.settle(oldest);
  expect(window.isFull).toBe(false);
  expect(window.open(24)).toBeGreaterThan(newest);
});

test("settling twice does nothing, even after the place was given to another record", () => {
  const window = new SettleWindow(2, 0);
  const first = window.open(8);
  window.settle(first);
  const second = window.open(16);
  const third = window.open(24);
  expect(window.settle(first)).toBe(false);
  expect(window.released).toBe(8);
  expect(window.settle(second)).toBe(true);
  expect(window.released).toBe(16);
  expect(window.settle(second)).toBe(false);
  expect(window.settle(third)).toBe(true);
  expect(window.released).toBe(24);
});

test("tickets that were never opened, and bounds that cannot be, are refused", () => {
  const window = new SettleWindow(4, 0);
  for (const ticket of [-1, 0, Number.NaN]) {
    expect(() => window.settle(ticket)).toThrow(InvariantError);
  }
  for (const recordsMax of [0, 0.5, 3, 4.5, -4, 2 * SETTLE_WINDOW_RECORDS_MAX]) {
    expect(() => new SettleWindow(recordsMax, 0)).toThrow(InvariantError);
  }
});

test("any order of opening and settling agrees with a list, also where positions wrap", () => {
  const starts = fc.constantFrom(0, 2 ** 31 - 24, -24);
  const picks = fc.array(fc.nat(10), { maxLength: 200, size: "max" });
  fc.assert(
    fc.property(starts, picks, (start, steps) => {
      const window = new SettleWindow(8, start);
      const open: { ticket: number; end: number; isSettled: boolean }[] = [];
      let end = start;
      let released = start;
      for (const step of steps) {
        const record = open[step];
        if (record === undefined) {
          const next = (end + 8) | 0;
          const ticket = window.open(next);
          expect(ticket >= 0).toBe(open.length < 8);
          if (ticket < 0) continue;
          open.push({ ticket, end: next, isSettled: false });
          end = next;
          continue;
        }
        record.isSettled = true;
        const before = released;
        while (open[0]?.isSettled === true) released = open.shift()?.end ?? released;
        expect(window.settle(record.ticket)).toBe(released !== before);
        expect([window.released, window.size]).toEqual([released, open.length]);
      }
    }),
    { numRuns: 500 },
  );
});
