/** What readers of one log find through the window: all of it, and each row once from the disk. */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { CheckedRow, CheckedRows, ReadRows } from "./log-window.ts";

import { LogWindow, WINDOW_ROWS_MAX } from "./log-window.ts";

const LOOK_ROWS = 5;
const NO_BYTES = new Uint8Array();

function rowAt(id: number): CheckedRow {
  const row = { id, part: 0, sequence: id, at: 0, crc: 0, bytes: NO_BYTES };
  const record = { topic: "t", partition: 0, sequence: id, bytes: NO_BYTES, storedAtMs: 0 };
  return { row, record };
}

/** A log of the ids from 1 on; tells how many rows were read from it. */
function logOf(damaged: ReadonlySet<number> = new Set(), lookRows = LOOK_ROWS) {
  const log = {
    rowsRead: 0,
    read: ((afterId, throughId) => {
      const count = Math.min(lookRows, throughId - afterId);
      log.rowsRead += count;
      const rows = Array.from({ length: count }, (_, index) => {
        const one = rowAt(afterId + 1 + index);
        return damaged.has(one.row.id) ? { row: one.row, record: undefined } : one;
      });
      return { rows, throughId: afterId + count };
    }) satisfies ReadRows,
  };
  return log;
}

const idsOf = ({ rows }: CheckedRows): readonly number[] => rows.map(({ row }) => row.id);

describe("the window of the log", () => {
  test("what one has read another gets without the disk, and the same records", () => {
    const window = new LogWindow();
    const log = logOf();
    const first = window.next("one", 0, 5, log.read);
    const second = window.next("other", 0, 5, log.read);
    expect(log.rowsRead).toBe(5);
    expect(second).toEqual(first);
    expect(second.rows[0]?.record).toBe(first.rows[0]?.record);
  });

  test("a row that is damaged is read again by each", () => {
    const window = new LogWindow();
    const log = logOf(new Set([3]));
    window.next("one", 0, 5, log.read);
    const healed = logOf();
    const { rows } = window.next("other", 0, 5, healed.read);
    expect(rows.every(({ record }) => record !== undefined)).toBe(true);
    expect(healed.rowsRead).toBe(5);
  });

  test("a log that became shorter is read anew", () => {
    const window = new LogWindow();
    window.next("one", 0, 5, logOf().read);
    const other = logOf();
    expect(idsOf(window.next("one", 0, 3, other.read))).toEqual([1, 2, 3]);
    expect(other.rowsRead).toBe(3);
  });

  test("one that stays behind makes it keep no more than its bound, and reads by itself", () => {
    const window = new LogWindow();
    const log = logOf(undefined, 1_000);
    const end = WINDOW_ROWS_MAX + 5_000;
    window.next("slow", 0, end, log.read);
    for (let at = 0; at < end;) at = window.next("fast", at, end, log.read).throughId;
    const before = log.rowsRead;
    expect(idsOf(window.next("slow", 1_000, end, log.read))[0]).toBe(1_001);
    expect(log.rowsRead).toBeGreaterThan(before);
  });

  test("whoever reads, in whatever order, gets every row once and in order", () => {
    const step = fc.record({ reader: fc.nat(2), grown: fc.nat(12), back: fc.nat(30) });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.integer({ min: 1, max: 9 }),
        (steps, look) => {
          const window = new LogWindow();
          const log = logOf(undefined, look);
          const places = [0, 0, 0];
          let lastId = 0;
          for (const { reader, grown, back } of steps) {
            lastId += grown;
            // Now and then one begins again from where its store stands.
            const at = Math.max(0, (places[reader] ?? 0) - (back < 4 ? back : 0));
            if (at >= lastId) continue;
            const found = window.next(`reader ${reader}`, at, lastId, log.read);
            const expected = Array.from(
              { length: found.throughId - at },
              (_, index) => at + 1 + index,
            );
            expect(idsOf(found)).toEqual(expected);
            expect(found.throughId).toBeGreaterThan(at);
            expect(found.throughId).toBeLessThanOrEqual(lastId);
            places[reader] = found.throughId;
          }
        },
      ),
    );
  });
});
