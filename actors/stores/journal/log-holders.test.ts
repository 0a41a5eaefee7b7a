/** Which holder of the log is named, over time, as a table. Nobody is told twice; no database. */

import { describe, expect, test } from "bun:test";

import type { LogHolder } from "./journal-types.ts";

import { absentGroups } from "./group-names.ts";
import { namedHolder } from "./log-holders.ts";

const of = (group: string, share: number): LogHolder => ({ group, records: 10, share });

describe("the holder that is named", () => {
  for (const [what, named, found, next] of [
    ["is nobody while nobody holds much", undefined, undefined, undefined],
    ["is nobody at half of the log", undefined, of("a", 0.5), undefined],
    ["is whoever holds more than half", undefined, of("a", 0.51), "a"],
    ["stays named a little below that", of("a", 0.51), of("a", 0.45), "a"],
    ["is well again far below that", of("a", 0.51), of("a", 0.4), undefined],
    ["is well when nothing is found", of("a", 0.51), undefined, undefined],
    ["is another who holds more", of("a", 0.6), of("b", 0.7), "b"],
    ["is not another who holds less than half", of("a", 0.6), of("b", 0.45), undefined],
  ] as const) {
    test(what, () => {
      expect(namedHolder(named, found)?.group).toBe(next);
    });
  }

  test("is the same object while it stays the same, so that it is told once", () => {
    const named = of("a", 0.51);
    expect(namedHolder(named, of("a", 0.8))).toBe(named);
  });
});

test("groups are absent when nobody joins them, but never readers of feeds", () => {
  const attended = new Set(["order", "unmatched"]);
  expect(absentGroups(["order", "notification", "view.audit", "unmatched"], attended)).toEqual([
    "notification",
  ]);
});
