/** Acknowledgements in multiples: when the server is told, and that it is told of all. */

import { expect, test } from "bun:test";

import { multipleAcks } from "./multiple-acks.ts";

test("the server is told of every so many at once, and at the end of the rest", () => {
  const told: (readonly [number, boolean])[] = [];
  const channel = { ack: (tag: number, isAllUpTo: boolean) => void told.push([tag, isAllUpTo]) };
  const acks = multipleAcks(channel, 3);
  for (let tag = 1; tag <= 7; tag++) acks.taken(tag);
  expect(told).toEqual([
    [3, true],
    [6, true],
  ]);
  acks.end();
  acks.end();
  expect(told.slice(2)).toEqual([[7, true]]);
  // A tag that was told must not be named again.
  for (let tag = 8; tag <= 10; tag++) acks.taken(tag);
  acks.end();
  expect(told.slice(3)).toEqual([[10, true]]);
});
