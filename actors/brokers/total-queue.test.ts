/**
 * The judge judged: histories whose verdict is known.
 *
 * A checker that passes everything would make every conformance case worthless, so each of its
 * findings is provoked here, and an undrained history is refused.
 */

import { describe, expect, test } from "bun:test";

import { totalQueue } from "./total-queue.suite.ts";

const range = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => String(from + index));

describe("totalQueue", () => {
  test("a delivery without a confirmation is recovered, and the history valid", () => {
    const acked = range(0, 725);
    const verdict = totalQueue({
      attempted: [...acked, "799", "800"],
      acked,
      delivered: [...acked, "799"],
      drained: true,
    });
    expect(verdict).toMatchObject({ valid: true, ok: 726, acked: 725, attempts: 727 });
    expect(verdict.recovered).toEqual(["799"]);
    expect(verdict.lost).toEqual([]);
  });

  test("a confirmed id that never came out is lost, and the history invalid", () => {
    const verdict = totalQueue({
      attempted: ["1", "2", "3"],
      acked: ["1", "2", "3"],
      delivered: ["1", "3"],
      drained: true,
    });
    expect(verdict).toMatchObject({ valid: false, lost: ["2"], unexpected: [], duplicated: [] });
  });

  test("a second delivery is duplicated, an id nobody sent is unexpected and invalid", () => {
    const verdict = totalQueue({
      attempted: ["1"],
      acked: ["1"],
      delivered: ["1", "1", "9"],
      drained: true,
    });
    expect(verdict).toMatchObject({ valid: false, duplicated: ["1"], unexpected: ["9"] });
  });

  test("an id sent twice may come out twice", () => {
    const verdict = totalQueue({
      attempted: ["1", "1"],
      acked: ["1"],
      delivered: ["1", "1"],
      drained: true,
    });
    expect(verdict).toMatchObject({ valid: true, duplicated: [], ok: 2 });
  });

  test("a history that was not drained is refused", () => {
    const history = { attempted: [], acked: [], delivered: [], drained: false };
    expect(() => totalQueue(history)).toThrow("not drained");
  });
});
