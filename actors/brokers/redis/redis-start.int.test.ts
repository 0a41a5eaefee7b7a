/**
 * What is said at start about a server that cannot be used: the setting, what is wrong, and what
 * would be right; never a password.
 */

import { afterAll, describe, expect, test } from "bun:test";

import type { ConnectionState } from "../broker.ts";
import type { RedisSettings } from "./redis-options.ts";
import type { TestServer } from "../../../deploy/services/test-server.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { isShopError } from "../../../runtime/errors.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { openRedisBroker } from "./redis-broker.ts";
import { openRedisConnection } from "./redis-connection.ts";
import { REDIS_SETTINGS } from "./redis-options.ts";

const PASSWORD = "s3cret";
const WRONG = "n0tit";
/** Failed attempts after which the server comes back. */
const TRIES = 5;
const missing = whyMissing("redis");

/** Of somebody whose server was there before. */
async function openAway(settings: RedisSettings, onConnection: (state: ConnectionState) => void) {
  const connection = await openRedisConnection({
    settings,
    environment: systemEnvironment,
    purpose: "memory",
    mayBeAway: true,
    onConnection,
  });
  return { link: connection.link, close: () => connection.close() };
}

async function refusal(url: string, connectTimeoutMs = 1_000): Promise<string> {
  try {
    const settings = { ...REDIS_SETTINGS, url, connectTimeoutMs, commandTimeoutMs: 1_000 };
    const options = { settings, environment: systemEnvironment, topics: ["t"], partitions: 1 };
    const broker = await openRedisBroker(options);
    await broker.close();
    return "taken";
  } catch (error) {
    return isShopError(error) ? `${error.code} ${error.message}` : String(error);
  }
}

test("nobody listens there", async () => {
  expect(await refusal("redis://127.0.0.1:1")).toBe(
    "SERVER_UNUSABLE redis.url: nothing usable answers at 127.0.0.1:1 (ECONNREFUSED)",
  );
});

test("somebody listens there and says nothing", async () => {
  const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const said = await refusal(`redis://127.0.0.1:${silent.port}`, 300);
  silent.stop(true);
  expect(said).toStartWith("SERVER_UNUSABLE redis.url: nothing usable answers at 127.0.0.1:");
});

test("the address is none", async () => {
  expect(await refusal("http://127.0.0.1")).toBe(
    "BAD_CONFIGURATION redis.url is no redis://host:port or rediss://host:port",
  );
});

test("the server is too old", async () => {
  const info = "redis_version:4.0.14\r\nrole:master\r\nloading:0\r\n";
  const old = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, bytes) {
        // Each command is a list of texts; the answer depends on the first of them.
        for (const command of bytes
          .toString()
          .split(/^\*\d+\r\n/m)
          .slice(1)) {
          const name = command.split("\r\n")[1]?.toLowerCase();
          if (name === "info") socket.write(`$${info.length}\r\n${info}\r\n`);
          else if (name === "config") socket.write("*0\r\n");
          else if (name === "hello") socket.write("-ERR unknown command `HELLO`\r\n");
          else socket.write("+OK\r\n");
        }
      },
    },
  });
  const said = await refusal(`redis://127.0.0.1:${old.port}`);
  old.stop(true);
  expect(said).toBe(
    "SERVER_UNUSABLE redis.url: the server is Redis 4.0.14, needed is 7.0 or later",
  );
});

describe.skipIf(!requireOrSkip("redis", missing === undefined, missing ?? ""))("redis", () => {
  let starting: Promise<TestServer> | undefined;
  const server = () => (starting ??= startTestServer("redis", { password: PASSWORD }));
  const urlAs = async (who: string) => `redis://${who}${(await server()).address}`;

  afterAll(async () => (await starting)?.dispose());

  test("the right password opens it", async () => {
    expect(await refusal(await urlAs(`:${PASSWORD}@`))).toBe("taken");
  });

  test("the wrong password is told as such, without it", async () => {
    const said = await refusal(await urlAs(`:${WRONG}@`));
    expect(said).toBe(
      'SERVER_UNUSABLE redis.url: the server refuses user "default" (wrong password?)',
    );
    expect(said).not.toContain(WRONG);
  });

  test("an address without a password is told as such", async () => {
    expect(await refusal(await urlAs(""))).toBe(
      "SERVER_UNUSABLE redis.url: the server wants a password, and the address has none",
    );
  });

  test("a user who may not write is told as such", async () => {
    const settings = { ...REDIS_SETTINGS, url: await urlAs(`:${PASSWORD}@`) };
    const options = { settings, environment: systemEnvironment, purpose: "operator" };
    const { link } = await openRedisConnection(options);
    await link.call("ACL", "SETUSER", "reader", "on", `>${PASSWORD}`, "~*", "+@read", "+info");
    link.close();
    const said = await refusal(await urlAs(`reader:${PASSWORD}@`));
    expect(said).toStartWith("SERVER_UNUSABLE redis.url: ");
    expect(said).toContain("shopstream: may not be written");
    expect(said).not.toContain(PASSWORD);
  });

  test("one that may be away is connected once it is back, however often it was not", async () => {
    const states: boolean[] = [];
    const settings = { ...REDIS_SETTINGS, url: await urlAs(`:${PASSWORD}@`) };
    await (await server()).kill();
    const up = Promise.withResolvers<void>();
    let tries = 0;
    const failed = Promise.withResolvers<void>();
    const { link, close } = await openAway(settings, ({ isUp }) => {
      states.push(isUp);
      if (isUp) up.resolve();
      else if (++tries === TRIES) failed.resolve();
    });
    expect(link.isUp).toBe(false);
    await failed.promise;
    expect(link.call("PING")).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    await (await server()).start();
    await up.promise;
    expect(String(await link.call("PING"))).toBe("PONG");
    expect(states.slice(0, TRIES)).not.toContain(true);
    close();
  });

  test("a server that forgets keys when it is full is refused", async () => {
    const settings = { ...REDIS_SETTINGS, url: await urlAs(`:${PASSWORD}@`) };
    const options = { settings, environment: systemEnvironment, purpose: "operator" };
    const { link } = await openRedisConnection(options);
    await link.call("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru");
    const said = await refusal(settings.url);
    await link.call("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction");
    link.close();
    expect(said).toContain("allkeys-lru would throw frames away, needed is noeviction");
  });
});
