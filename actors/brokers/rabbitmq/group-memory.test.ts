/**
 * What a group's memory knows of a copy, without a server: until it is forgotten, and no other.
 */

import { expect, test } from "bun:test";

import type { RabbitPublisher } from "./rabbit-publisher.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { GroupMemory } from "./group-memory.ts";

test("a retry or burial of a copy is known until that copy is forgotten", async () => {
  const publisher: Pick<RabbitPublisher, "record"> = { record: () => Promise.resolve() };
  const memory = new GroupMemory(
    createVirtualEnvironment(),
    publisher as RabbitPublisher, // what is written goes through nothing else of it
    "q",
    () => Promise.reject(new Error("nothing is read")),
  );
  const known = (): unknown[] =>
    ["a", "b"].map((copy) => [memory.postponement(copy)?.attempt, memory.isBeingBuried(copy)]);
  await memory.remember("a", { attempt: 2, notBeforeMs: 1, error: "later" });
  await memory.announceBurial("a");
  await memory.announceBurial("b");
  expect(known()).toEqual([
    [2, true],
    [undefined, true],
  ]);
  memory.forget("a");
  expect(known()).toEqual([
    [undefined, false],
    [undefined, true],
  ]);
});
