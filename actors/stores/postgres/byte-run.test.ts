/** Byte strings as one text. That the server cuts it as meant is seen in the store's suite. */

import { expect, test } from "bun:test";

import { ByteRun, runArray, runSource } from "./byte-run.ts";

test("arrays of a run follow each other, and say where their parts are", () => {
  const run = new ByteRun();
  expect(run.add([Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)])).toEqual([
    "{1,3,3}",
    "{2,0,1}",
  ]);
  expect(run.add([])).toEqual(["{}", "{}"]);
  expect(run.add([Uint8Array.of(255)])).toEqual(["{4}", "{1}"]);
  expect(run.toText()).toBe(Buffer.of(1, 2, 3, 255).toString("base64"));
});

test("a run of nothing is an empty text", () => {
  expect(new ByteRun().toText()).toBe("");
});

test("each array names its own parameters, and the run is there once", () => {
  expect(runArray({ starts: 4, lengths: 5 })).toContain("unnest($4::integer[], $5::integer[])");
  expect(runSource(9)).toContain("decode($9::text, 'base64')");
});
