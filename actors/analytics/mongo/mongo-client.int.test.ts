/**
 * Opening a connection, and losing it: what is refused, what is said of it, and what comes back.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { ConnectionState } from "../../brokers/broker.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { isShopError } from "../../../runtime/errors.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { openMongoClient } from "./mongo-client.ts";
import { mongoFailure } from "./mongo-failure.ts";
import { MONGO_SETTINGS } from "./mongo-settings.ts";
import { startOldServer } from "./old-server.fixture.ts";

const missing = whyMissing("mongodb");
const available = requireOrSkip("mongodb", missing === undefined, missing ?? "");

/** 32 MB in all. */
const DOCUMENTS = 32;
const DOCUMENT_CHARS = 1_000_000;
const PATIENCE_MS = 60_000;

async function refusalOf(url: string): Promise<string> {
  try {
    const settings = { ...MONGO_SETTINGS, url, connectTimeoutMs: 1_500 };
    await (await openMongoClient(settings, environment)).close();
  } catch (error) {
    if (isShopError(error, "SERVER_UNUSABLE")) return error.message;
    throw error;
  }
  return "it was opened";
}

describe("an address", () => {
  test("at which nothing answers is named with the reason", async () => {
    const text = await refusalOf("mongodb://me:secret@127.0.0.1:1/shop");
    expect(text).toBe("mongodb.url: nothing answers at 127.0.0.1:1 (ECONNREFUSED)");
  });

  test("that is none is refused, and not repeated", async () => {
    const text = await refusalOf("postgres://me:secret@127.0.0.1/shop");
    expect(text).toStartWith("mongodb.url: this is no address of MongoDB");
    expect(text).not.toContain("secret");
  });

  test("of a server that is too old is refused with the version that is needed", async () => {
    const server = startOldServer(6);
    const text = await refusalOf(`mongodb://127.0.0.1:${server.port}/shop`);
    server.close();
    expect(text).toStartWith(`mongodb.url: the server at 127.0.0.1:${server.port}`);
    expect(text).toContain("MongoDB 4.4");
  });

  test("with a password that the server does not take is refused without naming it", async () => {
    const server = startOldServer(21);
    const text = await refusalOf(`mongodb://me:secret@127.0.0.1:${server.port}/shop`);
    server.close();
    const host = `127.0.0.1:${server.port}`;
    expect(text).toBe(`mongodb.url: the server at ${host} refuses user "me" (wrong password?)`);
  });

  test("without a user, where the server wants one, is refused", async () => {
    const server = startOldServer(21);
    const text = await refusalOf(`mongodb://127.0.0.1:${server.port}/shop`);
    server.close();
    expect(text).toBe(
      `mongodb.url: the server at 127.0.0.1:${server.port} wants a user and a password`,
    );
  });
});

describe.skipIf(!available)("a connection", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer("mongodb");
  });
  afterAll(async () => {
    await server.dispose();
  });

  test("says when the server goes and when it is back, and goes on", async () => {
    const states: ConnectionState[] = [];
    let wake: () => void = () => undefined;
    const until = async (isUp: boolean) => {
      while (states.at(-1)?.isUp !== isUp) await new Promise<void>((resolve) => (wake = resolve));
    };
    const settings = { ...MONGO_SETTINGS, url: server.url, connectTimeoutMs: 2_000 };
    const handle = await openMongoClient(settings, environment, {
      onConnection(state) {
        states.push(state);
        wake();
      },
    });
    try {
      await until(true);
      await server.kill();
      await until(false);
      expect(states.at(-1)?.detail).toBe(`mongodb: nothing writable at ${server.address}`);
      await server.start();
      await until(true);
      expect(await handle.database.command({ ping: 1 })).toMatchObject({ ok: 1 });
    } finally {
      await handle.close();
    }
  });

  test("whose write waits for a server that does not read rejects it, and goes on", async () => {
    const settings = { ...MONGO_SETTINGS, url: server.url, operationTimeoutMs: 1_000 };
    const handle = await openMongoClient(settings, environment);
    try {
      // More than the sockets of both sides take: the driver waits until there is room again.
      const text = "x".repeat(DOCUMENT_CHARS);
      const documents = Array.from({ length: DOCUMENTS }, (_, at) => ({ at, text }));
      server.pause();
      const writing = handle.database.collection("big").insertMany(documents);
      const outcome = writing.then(
        () => "stored",
        (error: unknown) => isShopError(mongoFailure(error), "STORAGE_FAULT"),
      );
      expect(await outcome).toBe(true);
      server.resume();
      const small = handle.database.collection<{ _id: number }>("small");
      // For a while it may be busy with what it was sent, longer than an operation may take.
      const isTaken = async (): Promise<boolean> => {
        try {
          await small.updateOne({ _id: 1 }, { $set: { at: 0 } }, { upsert: true });
          return (await small.countDocuments()) === 1;
        } catch (error) {
          if (!isShopError(mongoFailure(error), "STORAGE_FAULT")) throw error;
          return false;
        }
      };
      const startMs = environment.monotonicMs();
      while (!(await isTaken())) {
        expect(environment.monotonicMs() - startMs).toBeLessThan(PATIENCE_MS);
      }
    } finally {
      server.resume();
      await handle.close();
    }
  }, 120_000);
});
