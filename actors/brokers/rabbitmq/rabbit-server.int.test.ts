/**
 * What is special to the RabbitMQ adapter, on a real server: what is refused at start and in which
 * words, topics without readers, frames the server gives up on, and how a connection is told.
 *
 * One server with a password serves the file; every test has names of its own on it.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { ConnectionState, Delivery, Subscription } from "../broker.ts";
import type { RabbitBroker } from "./rabbit-broker.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { assert, isShopError } from "../../../runtime/errors.ts";
import { encodeFrame } from "../../../runtime/frames/frame.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { startOldRabbit } from "./old-rabbit.fixture.ts";
import { openRabbitBroker } from "./rabbit-broker.ts";
import { control } from "./rabbit-server.fixture.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

const PASSWORD = "not to be printed";
const START_TIMEOUT_MS = 120_000;
const PATIENCE_MS = 30_000;
const REFUSED_WITHIN_MS = 10_000;

interface Opening {
  readonly settings?: Partial<RabbitSettings>;
  readonly onConnection?: (state: ConnectionState) => void;
}

let prefixes = 0;

function open(url: string, { settings, onConnection }: Opening = {}): Promise<RabbitBroker> {
  return openRabbitBroker({
    environment,
    settings: {
      ...RABBIT_SETTINGS,
      prefix: `s${++prefixes}.`,
      groups: { t: ["g"] },
      url,
      ...settings,
    },
    topics: ["t", "unread"],
    partitions: 2,
    ...(onConnection === undefined ? {} : { onConnection }),
  });
}

/** What opening is refused with; it must be refused, in time, and without the password. */
async function refusal(url: string, settings: Partial<RabbitSettings> = {}): Promise<string> {
  const startMs = environment.monotonicMs();
  try {
    const broker = await open(url, { settings });
    await broker.close();
  } catch (error) {
    if (!isShopError(error, "SERVER_UNUSABLE")) throw error;
    expect(environment.monotonicMs() - startMs).toBeLessThan(REFUSED_WITHIN_MS);
    expect(error.retry).toBe("never");
    expect(error.message).not.toContain(PASSWORD);
    return error.message;
  }
  return "it was opened";
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const startMs = environment.monotonicMs();
  while (!holds()) {
    assert(environment.monotonicMs() - startMs < PATIENCE_MS, `in vain until ${what}`);
    await Bun.sleep(10);
  }
}

async function join(broker: RabbitBroker): Promise<{
  readonly subscription: Subscription;
  readonly deliveries: Delivery[];
}> {
  const deliveries: Delivery[] = [];
  const subscription = await broker.subscribe({
    group: "g",
    topics: ["t"],
    from: "earliest",
    creditFrames: 10,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries: (batch) => void deliveries.push(...batch),
  });
  return { subscription, deliveries };
}

function frame(slot: number, payload = new TextEncoder().encode("payload")): Uint8Array {
  const timeMs = environment.nowMs();
  return encodeFrame({ type: 1, slot, key: "k", payload, id: environment.newId(), timeMs });
}

describe("no server", () => {
  test("an address at which nothing answers is named with the reason", async () => {
    expect(await refusal("amqp://127.0.0.1:1")).toBe(
      "rabbitmq.url: nothing answers at 127.0.0.1:1 (ECONNREFUSED)",
    );
  });

  test("a server that takes the connection and says nothing is given up in time", async () => {
    const silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: () => undefined },
    });
    const told = await refusal(`amqp://127.0.0.1:${silent.port}`);
    expect(told).toMatch(
      /^rabbitmq\.url: 127\.0\.0\.1:\d+ takes the connection and does not speak/,
    );
    silent.stop(true);
  }, 30_000);

  test("a server that is too old is named with what is needed", async () => {
    const old = startOldRabbit("3.8.9");
    expect(await refusal(old.url)).toBe(
      "rabbitmq.url: the server is RabbitMQ 3.8.9; needed is RabbitMQ 3.10 or later",
    );
    old.stop();
  });

  test("a group of a topic that there is not is refused before anything is connected", async () => {
    expect(await refusal("amqp://127.0.0.1:1", { groups: { orderz: ["g"] } })).toBe(
      "rabbitmq.groups: no topic orderz; there are t, unread",
    );
  });
});

const missing = whyMissing("rabbitmq");

describe.skipIf(!requireOrSkip("rabbitmq", missing === undefined, missing ?? ""))(
  "a server",
  () => {
    let server: TestServer;
    beforeAll(async () => {
      server = await startTestServer("rabbitmq", { password: PASSWORD });
    }, START_TIMEOUT_MS);
    afterAll(() => server.dispose());

    test("a wrong password is told as such", async () => {
      expect(await refusal(server.url.replace(/:[^:@]*@/, ":wrong@"))).toMatch(
        /^rabbitmq\.url: 127\.0\.0\.1:\d+ refuses user "shopstream" \(wrong password\?\)$/,
      );
    });

    test("a vhost that is not there is named", async () => {
      expect(await refusal(`${server.url}/nowhere`)).toBe(
        'rabbitmq.url: user "shopstream" may not use vhost "nowhere", or there is none',
      );
    });

    test(
      "a right that is missing is named with what it is needed for",
      async () => {
        await control(server, ["add_user", "reader", "reader"]);
        await control(server, ["set_permissions", "reader", ".*", "^amq", ".*"]);
        expect(await refusal(server.url.replace(/\/\/.*@/, "//reader:reader@"))).toMatch(
          /^rabbitmq\.url: user "reader" lacks a right on vhost "\/": .*s\d+\.t/,
        );
      },
      START_TIMEOUT_MS,
    );

    test("queues that were made with other settings are refused, and left alone", async () => {
      const prefix = "other.";
      const broker = await open(server.url, { settings: { prefix } });
      await broker.close();
      expect(await refusal(server.url, { prefix, deliveryLimit: 7 })).toMatch(
        /^rabbitmq\.prefix: something of this name exists and is different: .*x-delivery-limit/,
      );
      await (await open(server.url, { settings: { prefix } })).close();
    });

    test("a frame for a topic that no group reads is refused, not dropped", async () => {
      const broker = await open(server.url);
      const publishing = broker.publish([{ topic: "unread", frame: frame(0) }]);
      const told = await publishing.then(
        () => "stored",
        (error: unknown) => (isShopError(error) ? `${error.code} ${error.message}` : String(error)),
      );
      expect(told).toMatch(/^UNKNOWN_TOPIC .*rabbitmq\.groups/);
      await broker.close();
    });

    test("frames of all sizes that go out together come whole and in their order", async () => {
      const broker = await open(server.url);
      const { deliveries } = await join(broker);
      // Around what the server takes in one frame of the protocol, and a piece of the adapter.
      const sizes = [0, 200_000, 1, 131_064, 64, 65_536, 131_065, 300];
      const frames = sizes.map((size, at) => frame(0, new Uint8Array(size).fill(at)));
      await broker.publish(frames.map((bytes) => ({ topic: "t", frame: bytes })));
      await eventually("they came", () => deliveries.length === sizes.length);
      const isWhole = deliveries.map(({ bytes }, at) => Buffer.compare(bytes, frames[at] ?? bytes));
      expect(isWhole).toEqual(sizes.map(() => 0));
      await broker.close();
    });

    test("a frame that is given out too often goes to the dead letters by itself", async () => {
      const broker = await open(server.url, { settings: { deliveryLimit: 2 } });
      const bytes = frame(1);
      await broker.publish([{ topic: "t", frame: bytes }]);
      for (let round = 1; round <= 3; round++) {
        const { deliveries, subscription } = await join(broker);
        await eventually("it came", () => deliveries.length === 1);
        expect(deliveries[0]?.attempt).toBe(round);
        await subscription.close(false);
      }
      let letters = await broker.deadLetters("t", 0, 10);
      for (let tries = 0; letters.length === 0 && tries < 100; tries++) {
        letters = await broker.deadLetters("t", 0, 10);
      }
      expect(letters).toHaveLength(1);
      expect(letters[0]).toMatchObject({
        group: "g",
        topic: "t",
        partition: 1,
        burial: { reason: "delivery_limit" },
      });
      expect(Buffer.from(letters[0]?.bytes ?? [])).toEqual(Buffer.from(bytes));
      await broker.close();
    });

    test("letters can be read by several at a time, and again", async () => {
      const broker = await open(server.url);
      const { deliveries, subscription } = await join(broker);
      for (const slot of [0, 1]) await broker.publish([{ topic: "t", frame: frame(slot) }]);
      await eventually("they came", () => deliveries.length === 2);
      const burial = { reason: "test", attempts: 1, firstError: "a", lastError: "b" };
      for (const delivery of deliveries) await subscription.bury(delivery, burial);
      const readings = await Promise.all([1, 2, 3].map(() => broker.deadLetters("t", 0, 10)));
      const again = await broker.deadLetters("t", 0, 10);
      expect(again).toHaveLength(2);
      for (const letters of readings) expect(letters).toEqual(again);
      await broker.close();
    });

    test("acknowledgements that may be late reach the server all the same", async () => {
      const broker = await open(server.url);
      const seen: Delivery[] = [];
      const soon = await broker.subscribe({
        group: "g",
        topics: ["t"],
        from: "earliest",
        creditFrames: 10,
        creditBytes: 1_000_000,
        leaseMs: 60_000,
        acks: "soon",
        onDeliveries: (batch) => void seen.push(...batch),
      });
      for (let count = 1; count <= 3; count++)
        await broker.publish([{ topic: "t", frame: frame(0) }]);
      await eventually("they came", () => seen.length === 3);
      expect(await soon.ack(seen)).toEqual(["settled", "settled", "settled"]);
      await soon.close(false);
      const { deliveries } = await join(broker);
      await broker.publish([{ topic: "t", frame: frame(0) }]);
      await eventually("the last came", () => deliveries.length > 0);
      expect(deliveries.map(({ attempt }) => attempt)).toEqual([1]);
      await broker.close();
    });

    test(
      "a server that goes and comes back is told, and is used again",
      async () => {
        const states: boolean[] = [];
        const broker = await open(server.url, {
          onConnection: ({ isUp, detail }) => {
            states.push(isUp);
            expect(detail === "").toBe(isUp);
            expect(detail).not.toContain(PASSWORD);
          },
        });
        expect(states).toEqual([true]);
        const { deliveries } = await join(broker);
        await server.kill();
        await eventually("the loss is told", () => states.at(-1) === false);
        await server.start();
        await eventually("the return is told", () => states.at(-1) === true);
        await broker.publish([{ topic: "t", frame: frame(0) }]);
        await eventually("it came", () => deliveries.length === 1);
        await broker.close();
      },
      START_TIMEOUT_MS,
    );
  },
);
