/**
 * Servers for tests do what their users rely on: they come up, die, come back with their data, hang
 * when told to, and never outlive whoever started them.
 *
 * Real servers throughout; one that the machine lacks is skipped by name.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { countKafkaBrokers } from "./ask-server.ts";
import { SERVICE_NAMES } from "./recipe.ts";
import { startTestServer, whyMissing } from "./test-server.ts";

import type { KafkaTestServer, ServiceName, TestServerOptions } from "./test-server.ts";

const TIMEOUT_MS = 360_000;
const servers: KafkaTestServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.dispose();
}, TIMEOUT_MS);

async function start(name: ServiceName, options?: TestServerOptions): Promise<KafkaTestServer> {
  const server = await startTestServer(name, options);
  servers.push(server);
  return server;
}

function lacks(name: ServiceName): boolean {
  const missing = whyMissing(name);
  return !requireOrSkip(name, missing === undefined, missing ?? "");
}

function isListening(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    socket.on("connect", () => {
      resolve(true);
      socket.destroy();
    });
    socket.on("error", () => resolve(false));
  });
}

describe.each(SERVICE_NAMES)("%s", (name) => {
  test.skipIf(lacks(name))(
    "comes up, dies at once, comes back at the same address, and goes with its data",
    async () => {
      const server = await start(name);
      const { address, directory } = server;
      expect(await isListening(address)).toBe(true);
      await server.kill();
      expect(await isListening(address)).toBe(false);
      await server.start();
      expect(await isListening(address)).toBe(true);
      await server.stop();
      expect(await isListening(address)).toBe(false);
      await server.dispose();
      expect(existsSync(directory)).toBe(false);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(lacks("redis"))("a test server of Redis", () => {
  test("keeps its data over a kill, and asks for its password", async () => {
    const server = await start("redis", { password: "secret" });
    const client = new Bun.RedisClient(server.url);
    await client.set("k", "v");
    client.close();
    await server.kill();
    await server.start();
    const again = new Bun.RedisClient(server.url);
    expect(await again.get("k")).toBe("v");
    again.close();
    const stranger = new Bun.RedisClient(`redis://${server.address}`);
    expect(stranger.get("k")).rejects.toThrow("NOAUTH");
    stranger.close();
  });

  test("that is paused takes connections and answers nothing until it is resumed", async () => {
    const server = await start("redis");
    const client = new Bun.RedisClient(server.url);
    await client.set("k", "v");
    server.pause();
    expect(await isListening(server.address)).toBe(true);
    let isAnswered = false;
    const answer = client.get("k").then((value) => {
      isAnswered = true;
      return value;
    });
    // A second connection that is refused an answer by a deadline proves that it hangs.
    const probe = await fetch(`http://${server.address}/`, {
      signal: AbortSignal.timeout(300),
    }).catch((error: unknown) => (error instanceof Error ? error.name : ""));
    expect(probe).toBe("TimeoutError");
    expect(isAnswered).toBe(false);
    server.resume();
    expect(await answer).toBe("v");
    client.close();
  });

  test("that cannot start says why, with what it logged", () => {
    expect(startTestServer("redis", { settings: { nonsense: "1" } })).rejects.toMatchObject({
      code: "SERVER_UNUSABLE",
      message: expect.stringContaining("nonsense"),
    });
  });
});

describe.skipIf(lacks("postgres"))("a test server of PostgreSQL", () => {
  test("keeps its data over a kill, and refuses a wrong password", async () => {
    const server = await start("postgres", { password: "p@ss" });
    const client = new Bun.SQL(server.url);
    await client`create table t as select 42 as answer`;
    await client.close({ timeout: 0 });
    await server.kill();
    await server.start();
    const again = new Bun.SQL(server.url);
    expect([...(await again`select answer from t`)]).toEqual([{ answer: 42 }]);
    await again.close({ timeout: 0 });
    const stranger = new Bun.SQL(server.url.replace("p%40ss", "wrong"));
    expect(stranger`select 1`.execute()).rejects.toThrow("password authentication failed");
  });

  test("is killed with its backends, and stopped by what they do not finish", async () => {
    const server = await start("postgres");
    const client = new Bun.SQL(server.url);
    const endless = client`select pg_sleep(600)`.execute().then(
      () => "done",
      () => "cut off",
    );
    const other = new Bun.SQL(server.url);
    const count = async (): Promise<unknown> => {
      const rows: unknown[] = await other`
        select count(*)::int as n from pg_stat_activity where query like '%pg_sleep(600)'`;
      return rows[0];
    };
    while (!Bun.deepEquals(await count(), { n: 1 })) await Bun.sleep(20);
    await server.stop();
    expect(await endless).toBe("cut off");
    await other.close({ timeout: 0 });
    await client.close({ timeout: 0 });
  });
});

describe.skipIf(lacks("elasticsearch"))("a test server of Elasticsearch", () => {
  test(
    "keeps its data over a kill",
    async () => {
      const server = await start("elasticsearch");
      const path = `${server.url}/things/_doc/1`;
      const put = await fetch(path, {
        method: "PUT",
        headers: { "content-type": "application/json" },
        body: `{"a":1}`,
      });
      expect(put.status).toBe(201);
      await server.kill();
      await server.start();
      const got: unknown = await (await fetch(path)).json();
      expect(got).toMatchObject({ found: true, _source: { a: 1 } });
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(lacks("kafka"))("a test server of Kafka with three brokers", () => {
  test(
    "goes on when one dies, and is three again when it is back",
    async () => {
      const server = await start("kafka", { brokers: 3 });
      const ports = server.brokerAddresses.map((address) => Number(address.split(":")[1]));
      expect(ports).toHaveLength(3);
      await server.killBroker(1);
      expect(await isListening(server.brokerAddresses[1] ?? "")).toBe(false);
      while ((await countKafkaBrokers(ports[0] ?? 0)) !== 2) await Bun.sleep(50);
      await server.startBroker(1);
      expect(await Promise.all(ports.map((port) => countKafkaBrokers(port)))).toEqual([3, 3, 3]);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(lacks("redis") || lacks("postgres") || lacks("rabbitmq"))("test servers", () => {
  test(
    "do not outlive a process that is killed, and leave nothing behind",
    async () => {
      const program = `
        import { startTestServer } from ${JSON.stringify(join(import.meta.dir, "test-server.ts"))};
        for (const name of ["redis", "postgres", "rabbitmq"]) {
          const server = await startTestServer(name);
          console.log(server.address + " " + server.directory);
        }
        process.kill(process.pid, "SIGKILL");`;
      const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe" });
      const lines = (await new Response(child.stdout).text()).trim().split("\n");
      await child.exited;
      expect(child.signalCode).toBe("SIGKILL");
      expect(lines).toHaveLength(3);
      for (const line of lines) {
        const [address = "", directory = ""] = line.split(" ");
        while ((await isListening(address)) || existsSync(directory)) await Bun.sleep(20);
      }
    },
    TIMEOUT_MS,
  );
});
