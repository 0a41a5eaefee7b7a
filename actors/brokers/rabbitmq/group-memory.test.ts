/**
 * What a group's memory holds, without a server: whether there is anything to forget.
 */

import { expect, test } from "bun:test";

import type { RabbitPublisher } from "./rabbit-publisher.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { GroupMemory } from "./group-memory.ts";

test("it is empty until a retry or burial is remembered, and when all are forgotten", async () => {
  const publisher: Pick<RabbitPublisher, "record"> = { record: () => Promise.resolve() };
  const memory = new GroupMemory(
    createVirtualEnvironment(),
    publisher as RabbitPublisher, // what is written goes through nothing else of it
    "q",
    () => Promise.reject(new Error("nothing is read")),
  );
  expect(memory.isEmpty).toBe(true);
  await memory.remember("a", { attempt: 2, notBeforeMs: 1, error: "later" });
  expect(memory.isEmpty).toBe(false);
  memory.forget("a");
  expect(memory.isEmpty).toBe(true);
  await memory.announceBurial("b");
  expect(memory.isEmpty).toBe(false);
  memory.forget("a");
  expect(memory.isEmpty).toBe(false);
  memory.forget("b");
  expect(memory.isEmpty).toBe(true);
});
