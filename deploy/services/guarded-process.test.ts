/** Waiting for a process to go: what becomes of it when it does not, and cannot be killed. */

import { expect, test } from "bun:test";

import { goneWithin } from "./guarded-process.ts";

const AT_ONCE_MS = 0;
const NEVER_MS = 3_600_000;

test("who goes in time is not killed", async () => {
  let kills = 0;
  await goneWithin(Promise.resolve(), NEVER_MS, () => Promise.resolve(void kills++));
  expect(kills).toBe(0);
});

test("who does not is killed, and waited for", async () => {
  const gone = Promise.withResolvers<void>();
  await goneWithin(gone.promise, AT_ONCE_MS, () => Promise.resolve(gone.resolve()));
});

test("who may not be killed is told to whoever waits", async () => {
  const denied = Object.assign(new Error("kill"), { code: "EPERM" });
  const gone = new Promise<void>(() => undefined);
  const waiting = goneWithin(gone, AT_ONCE_MS, () => Promise.reject(denied));
  await expect(waiting).rejects.toBe(denied);
});
