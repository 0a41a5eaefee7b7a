/**
 * Reading what a queue keeps, on a channel that goes away: the reader is told, and nobody else.
 *
 * The channel is a fake that closes and refuses when the test says so.
 */

import { expect, test } from "bun:test";
import { EventEmitter } from "node:events";

import type { Channel } from "amqplib";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { readKept } from "./kept-queue.ts";
import { ANSWER_TIMEOUT_MS } from "./rabbit-settings.ts";

test("a connection that dies before anything is asked for rejects once", async () => {
  const gone = new Error("Channel ended, no reply will be forthcoming");
  const channel = Object.assign(new EventEmitter(), {
    prefetch: async () => {
      channel.emit("close");
      // What nobody has asked for by now would be said to nobody.
      await new Promise((resolve) => setImmediate(resolve));
      throw gone;
    },
    consume: async () => undefined,
    close: async () => undefined,
  });
  const publisher = { isBlocked: false, record: async () => undefined };
  const unheard: unknown[] = [];
  const hear = (error: unknown): void => void unheard.push(error);
  process.on("unhandledRejection", hear);
  try {
    const reading = readKept(
      createVirtualEnvironment(1),
      publisher,
      // Of a channel it uses these.
      channel as unknown as Channel,
      "kept",
      () => undefined,
    );
    expect(await reading.catch((error: unknown) => error)).toBe(gone);
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off("unhandledRejection", hear);
  }
  expect(unheard).toEqual([]);
});

test("a channel whose close is never answered keeps nobody waiting for ever", async () => {
  const environment = createVirtualEnvironment(1);
  const channel = Object.assign(new EventEmitter(), {
    prefetch: async () => undefined,
    consume: async () => void channel.emit("close"),
    close: () => Promise.withResolvers<void>().promise,
  });
  const publisher = { isBlocked: false, record: async () => undefined };
  let said: unknown;
  void readKept(
    environment,
    publisher,
    // Of a channel it uses these.
    channel as unknown as Channel,
    "kept",
    () => undefined,
  ).catch((error: unknown) => (said = error));
  await environment.advance(ANSWER_TIMEOUT_MS);
  expect(said).toMatchObject({ code: "STORAGE_FAULT" });
});
