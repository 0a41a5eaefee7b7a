/**
 * Whose process it is: records of what was started, read strictly and compared with what runs.
 *
 * Looks at this test's own process only, and signals none.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { pickFamily, stillThere } from "./process-family.ts";
import { isOurs, parseState, readIdentity, readState, writeState } from "./service-state.ts";

const roots: string[] = [];

afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), "shopstream-state-"));
  roots.push(root);
  return root;
}

describe("the record", () => {
  test("comes back as it was written", () => {
    const root = makeRoot();
    const state = { ports: [1, 2], processes: [{ pid: 7, identity: "boot 1" }] };
    writeState(root, "redis", state);
    expect(readState(root, "redis")).toEqual(state);
    expect(readState(root, "kafka")).toBeUndefined();
  });

  test.each([
    ["null"],
    ["{}"],
    [`{"ports":[1],"processes":[{"pid":"7","identity":"x"}]}`],
    [`{"ports":[-1],"processes":[]}`],
    [`{"ports":[1],"processes":[{"pid":0,"identity":"x"}]}`],
    [`{"ports":[1],"processes":[{"pid":-1,"identity":"x"}]}`],
  ])("is no record when it is %s", (text) => {
    expect(parseState(JSON.parse(text))).toBeUndefined();
  });

  test("that was cut short is no record", () => {
    const root = makeRoot();
    writeState(root, "redis", { ports: [1], processes: [] });
    writeFileSync(join(root, "redis", "started.json"), `{"ports":[1`);
    expect(readState(root, "redis")).toBeUndefined();
  });
});

describe("isOurs", () => {
  test("is true of a process with the start that was recorded", () => {
    const identity = readIdentity(process.pid) ?? "";
    expect(identity).not.toBe("");
    expect(isOurs({ pid: process.pid, identity })).toBe(true);
  });

  test("is false of another process that has the id now, and of none", () => {
    expect(isOurs({ pid: process.pid, identity: "another boot 1" })).toBe(false);
    expect(isOurs({ pid: 2 ** 30, identity: "gone" })).toBe(false);
  });
});

describe("pickFamily", () => {
  const rows = [
    { pid: 10, parent: 1, group: 10 },
    { pid: 11, parent: 10, group: 10 },
    // A child with a group of its own, as PostgreSQL's backends, and its child.
    { pid: 12, parent: 10, group: 12 },
    { pid: 13, parent: 12, group: 12 },
    // Left behind by its parent, still of the group.
    { pid: 14, parent: 1, group: 10 },
    { pid: 20, parent: 1, group: 20 },
  ];

  test("is the group and all descendants, and nobody else", () => {
    expect(pickFamily(rows, 10)).toEqual([10, 11, 12, 13, 14]);
    expect(pickFamily(rows, 20)).toEqual([20]);
  });

  test("of a leader that is gone is what it left behind", () => {
    expect(pickFamily(rows.slice(4), 10)).toEqual([14]);
    expect(pickFamily(rows, 99)).toEqual([]);
  });
});

describe("stillThere", () => {
  test("leaves out who has ended, and who has the number of one that has", () => {
    const known = new Map([
      [10, "500"],
      [11, "501"],
      [12, "502"],
    ]);
    const rows = [
      { pid: 10, startTicks: "500" },
      { pid: 12, startTicks: "900" },
      { pid: 13, startTicks: "502" },
    ];
    expect(stillThere(known, rows)).toEqual([10]);
  });
});
