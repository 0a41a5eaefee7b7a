/**
 * A whole shop as a process of its own on real servers, which the tests break or talk past.
 *
 * Only for tests. Servers have ports and data of their own and end with the test; a shop is a child
 * process, so that it can be killed. It refuses nothing: what a machine lacks is for the test to
 * ask first.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Socket } from "node:net";
import type { Subprocess } from "bun";
import type { KafkaTestServer, TestServerOptions } from "../deploy/services/test-server.ts";
import type { Json } from "./story-orders.suite.ts";

import { startTestServer, whyMissing } from "../deploy/services/test-server.ts";
import { describeError } from "../runtime/errors.ts";
import { requireOrSkip } from "../runtime/testing/requirements.ts";

export const REAL_SERVERS = [
  "kafka",
  "redis",
  "rabbitmq",
  "postgres",
  "mongodb",
  "elasticsearch",
] as const;
export type RealServer = (typeof REAL_SERVERS)[number];
export type RealServers = Readonly<Record<RealServer, KafkaTestServer>>;

/** How a shop is told where each is. */
export const ADDRESS_VARIABLES: Readonly<Record<RealServer, string>> = {
  kafka: "SHOPSTREAM_KAFKA_BROKERS",
  redis: "SHOPSTREAM_REDIS_URL",
  rabbitmq: "SHOPSTREAM_RABBITMQ_URL",
  postgres: "SHOPSTREAM_POSTGRES_URL",
  mongodb: "SHOPSTREAM_MONGODB_URL",
  elasticsearch: "SHOPSTREAM_ELASTICSEARCH_URL",
};

/** Everything on servers, nothing but texts for customers in files. */
const REMOTE: Readonly<Record<string, string>> = {
  SHOPSTREAM_STORE: "postgres",
  SHOPSTREAM_BROKERS: "kafka,redis,rabbitmq",
  SHOPSTREAM_ANALYTICS_STORE: "mongodb",
  SHOPSTREAM_AUDIT_STORE: "elasticsearch",
  SHOPSTREAM_SHARDS: "2",
  SHOPSTREAM_PORT: "0",
  SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
  SHOPSTREAM_SHIPPING_PACK_MS: "20",
  SHOPSTREAM_SHIPPING_DELIVERY_MS: "20",
  SHOPSTREAM_FRAUD_DENY_CUSTOMERS: "mallory",
};
const READY_WITHIN_MS = 100_000;
/** Of what a shop said last, in the failure of a test. */
const SAID_CHARS = 4_000;
const ENTRY = new URL("./main.ts", import.meta.url).pathname;

/** Asks for each of `names` separately, so that each that is missing is named. */
export function haveServers(names: readonly RealServer[] = REAL_SERVERS): boolean {
  const there = names.map((name) => {
    const missing = whyMissing(name);
    return requireOrSkip(name, missing === undefined, missing ?? "");
  });
  return there.every(Boolean);
}

/** All of `REAL_SERVERS`, side by side. */
export async function startRealServers(
  options: Partial<Record<RealServer, TestServerOptions>> = {},
): Promise<RealServers> {
  const started = await Promise.allSettled(
    REAL_SERVERS.map((name) => startTestServer(name, options[name])),
  );
  const servers: Partial<Record<RealServer, KafkaTestServer>> = {};
  for (const [at, name] of REAL_SERVERS.entries()) {
    const result = started[at];
    if (result?.status === "fulfilled") servers[name] = result.value;
  }
  const failure = started.find((each) => each.status === "rejected");
  if (failure === undefined) return servers as RealServers; // each was started
  await disposeServers(servers);
  throw failure.reason;
}

export async function disposeServers(servers: Partial<RealServers>): Promise<void> {
  await Promise.all(Object.values(servers).map((server) => server.dispose()));
}

/** The settings of a shop on `servers`. `kafkaPassword`: that of Kafka, whose address has none. */
export function settingsOn(servers: RealServers, kafkaPassword?: string): Record<string, string> {
  const login = kafkaPassword === undefined ? {} : kafkaLogin("shopstream", kafkaPassword);
  return { ...REMOTE, ...serverAddresses(servers), ...login };
}

/** Where each is, as a shop is told. */
export function serverAddresses(servers: RealServers): Record<string, string> {
  const addresses = REAL_SERVERS.map((name) => [ADDRESS_VARIABLES[name], servers[name].url]);
  return Object.fromEntries(addresses);
}

export function kafkaLogin(user: string, password: string): Record<string, string> {
  return {
    SHOPSTREAM_KAFKA_SASL_MECHANISM: "plain",
    SHOPSTREAM_KAFKA_USERNAME: user,
    SHOPSTREAM_KAFKA_PASSWORD: password,
  };
}

export interface SilentServer {
  /** `127.0.0.1:port` */
  readonly address: string;
  close(): Promise<void>;
}

/** Takes every connection and never says a word. */
export async function startSilentServer(): Promise<SilentServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined); // the other side has given up
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens nowhere");
  return {
    address: `127.0.0.1:${address.port}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

/** `bun gateway/main.ts` with these settings and no other. */
export class ShopProcess {
  readonly child: Subprocess<"ignore", "pipe", "pipe">;
  readonly data: string;
  /** What it said so far on standard error. */
  said = "";
  #printed = "";
  readonly #read: Promise<unknown>;

  private constructor(data: string, settings: Readonly<Record<string, string>>) {
    this.data = data;
    const inherited = Object.entries(process.env).filter(
      ([name]) => !name.startsWith("SHOPSTREAM"),
    );
    this.child = Bun.spawn([process.execPath, ENTRY], {
      cwd: data,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...Object.fromEntries(inherited), SHOPSTREAM_DATA: data, ...settings },
    });
    this.#read = Promise.all([
      readAll(this.child.stdout, (text) => (this.#printed += text)),
      readAll(this.child.stderr, (text) => (this.said += text)),
    ]);
  }

  /** Started, ready or not. */
  static async spawn(
    settings: Readonly<Record<string, string>>,
    data?: string,
  ): Promise<ShopProcess> {
    return new ShopProcess(data ?? (await newDataDirectory()), settings);
  }

  /** Started and ready. */
  static async open(
    settings: Readonly<Record<string, string>>,
    data?: string,
  ): Promise<ShopProcess> {
    const shop = await ShopProcess.spawn(settings, data);
    try {
      await until(() => shop.url() !== undefined || shop.hasEnded(), "the shop is ready", {
        withinMs: READY_WITHIN_MS,
      });
      if (shop.hasEnded()) throw new Error(`the shop did not start: ${shop.said}`);
      return shop;
    } catch (error) {
      await shop.dispose();
      throw error;
    }
  }

  hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Its exit code, with all that it said. */
  async ended(): Promise<{ readonly code: number; readonly said: string }> {
    const code = await this.child.exited;
    await this.#read;
    return { code, said: this.said };
  }

  /** In good order. */
  async stop(): Promise<number> {
    this.child.kill("SIGTERM");
    return (await this.ended()).code;
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended();
  }

  async dispose(): Promise<void> {
    await this.kill();
    await rm(this.data, { recursive: true, force: true });
  }

  url(): string | undefined {
    return /ready at (http:\S+) /.exec(this.#printed)?.[1];
  }

  async fetch(path: string, init?: RequestInit): Promise<Response> {
    try {
      // On a connection of its own: one that has been idle may be closed by the shop just then.
      return await fetch(`${this.url()}${path}`, { ...init, keepalive: false });
    } catch (error) {
      if (!this.hasEnded()) throw error;
      const how = this.child.signalCode ?? `code ${this.child.exitCode}`;
      throw new Error(`the shop has ended (${how}): ${this.said.slice(-SAID_CHARS)}`, {
        cause: error,
      });
    }
  }

  async text(path: string): Promise<string> {
    return await (await this.fetch(path)).text();
  }

  /** Of the shop's own API: objects, what is in them is what the tests look at. */
  async json(path: string): Promise<Json> {
    return (await (await this.fetch(path)).json()) as Json;
  }

  /**
   * Once it can be answered: a shard that is beginning anew is away for a moment, and what only it
   * knows is a 503 or a 504 until then.
   */
  async answered(path: string): Promise<Json> {
    let answer: Json = {};
    let status = 0;
    const isAnswered = async () => {
      const response = await this.fetch(path);
      answer = (await response.json()) as Json; // as above
      ({ status } = response);
      return status !== 503 && status !== 504;
    };
    const seen = () => `${status} ${JSON.stringify(answer)}\n${this.said.slice(-SAID_CHARS)}`;
    await until(isAnswered, `${path} is answered`, { seen });
    return answer;
  }

  async send(
    method: string,
    path: string,
    body: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly status: number; readonly body: Json }> {
    const response = await this.fetch(path, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Json };
  }
}

export async function newDataDirectory(): Promise<string> {
  return await mkdtemp(join(tmpdir(), "shopstream-real-"));
}

async function readAll(
  stream: ReadableStream<Uint8Array>,
  take: (text: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}

/**
 * Waits until `expectation` no longer throws; fails with what it threw last. For what comes true by
 * itself and is asked for in many ways: whoever waits for a part of it has not waited for the rest.
 */
export async function untilMet(expectation: () => Promise<void>, what: string): Promise<void> {
  let failure: unknown;
  const isMet = async () => {
    try {
      await expectation();
      return true;
    } catch (error) {
      failure = error;
      return false;
    }
  };
  await until(isMet, what, { seen: () => describeError(failure) });
}

/** Waits until `holds`; fails with `what`, and with what was seen last, after a generous while. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  { withinMs = 90_000, seen = () => "" }: { withinMs?: number; seen?: () => string } = {},
): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain until ${what} ${seen()}`);
    await Bun.sleep(30);
  }
}
