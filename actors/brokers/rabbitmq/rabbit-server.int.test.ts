/**
 * What is special to the RabbitMQ adapter, on a real server: what is refused at start and in which
 * words, topics without readers, frames the server gives up on, and how a connection is told.
 *
 * One server with a password serves the file; every test has names of its own on it.
 */

import { connect } from "amqplib";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { ConnectionState, Delivery, SubscribeOptions, Subscription } from "../broker.ts";
import type { Beat } from "./membership.ts";
import type { RabbitBroker } from "./rabbit-broker.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { assert, isShopError } from "../../../runtime/errors.ts";
import { encodeFrame } from "../../../runtime/frames/frame.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { withFences } from "../../stores/postgres/slot-fences-member.ts";
import { parseBeat, rosterOf } from "./membership.ts";
import { startOldRabbit } from "./old-rabbit.fixture.ts";
import { openRabbitBroker } from "./rabbit-broker.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { control } from "./rabbit-server.fixture.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

const PASSWORD = "not to be printed";
const START_TIMEOUT_MS = 120_000;
const PATIENCE_MS = 30_000;
const REFUSED_WITHIN_MS = 10_000;

interface Opening {
  readonly settings?: Partial<RabbitSettings>;
  /** Absent: the system's. */
  readonly monotonicMs?: () => number;
  readonly onConnection?: (state: ConnectionState) => void;
}

let prefixes = 0;

function open(url: string, opening: Opening = {}): Promise<RabbitBroker> {
  const { settings, onConnection, monotonicMs = () => environment.monotonicMs() } = opening;
  return openRabbitBroker({
    environment: { ...environment, monotonicMs },
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

async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const startMs = environment.monotonicMs();
  while (!(await holds())) {
    assert(environment.monotonicMs() - startMs < PATIENCE_MS, `in vain until ${what}`);
    await Bun.sleep(10);
  }
}

async function join(
  broker: Pick<RabbitBroker, "subscribe">,
  more: Partial<SubscribeOptions> = {},
): Promise<{
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
    ...more,
  });
  return { subscription, deliveries };
}

/** A member of group `g` that says what it is told to, and reads nothing. */
async function speak(url: string, prefix: string) {
  const names = new RabbitNames({ ...RABBIT_SETTINGS, prefix });
  const exchange = names.membersExchange("g");
  const model = await connect(url);
  const channel = await model.createChannel();
  const heard: Beat[] = [];
  const { queue } = await channel.assertQueue(names.memberQueue("g", "late"), { exclusive: true });
  await channel.bindQueue(queue, exchange, "");
  const take = (content: Buffer): void => {
    const beat = parseBeat(content.toString());
    if (beat !== undefined && beat.id !== "late") heard.push(beat);
  };
  await channel.consume(queue, (message) => void (message && take(message.content)));
  const say = (kind: Beat["kind"], held: Beat["held"]): void => {
    const nothing = { partitions: [], shunned: {}, roster: 0, isSettled: true };
    const beat: Beat = { ...nothing, kind, id: "late", topics: ["t"], held };
    channel.publish(exchange, "", Buffer.from(JSON.stringify(beat)));
  };
  return { heard, say, close: () => model.close() };
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
      await eventually("the server has moved it", async () => {
        letters = await broker.deadLetters("t", 0, 10);
        return letters.length > 0;
      });
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

    test("nothing is taken for free before whoever has it must have been heard", async () => {
      const prefix = "heard.";
      let nowMs = environment.monotonicMs();
      const broker = await open(server.url, { settings: { prefix }, monotonicMs: () => nowMs });
      const late = await speak(server.url, prefix);
      const assigned: number[] = [];
      await join(broker, {
        onAssigned: async (_topic, partitions) => void assigned.push(...partitions),
      });
      // It consumes both, for all it knows alone.
      expect(assigned).toEqual([]);
      late.say("beat", { t: [0] });
      await eventually("it has heard the other", () =>
        late.heard.some(({ id, roster }) => roster === rosterOf([id, "late"])),
      );
      nowMs += 5_000;
      await eventually("it takes what is free", () => assigned.length > 0);
      expect(assigned).toEqual([1]);
      late.say("bye", {});
      await eventually("it takes what the other had", () => assigned.length > 1);
      await late.close();
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
      "slots are given back while the server that took them away is gone",
      async () => {
        const broker = await open(server.url);
        const slots = new Set<number>();
        const fenced = withFences(broker, {
          claim: async (_group, taken) => taken.forEach((slot) => slots.add(slot)),
          release: async (_group, left) => left.forEach((slot) => slots.delete(slot)),
        });
        const { deliveries } = await join(fenced, { onRevoking: async () => true });
        for (const slot of [0, 1]) await broker.publish([{ topic: "t", frame: frame(slot) }]);
        await eventually("they came", () => deliveries.length === 2);
        expect([...slots].toSorted()).toEqual([0, 1]);
        await server.kill();
        await eventually("they are given back", () => slots.size === 0);
        await server.start();
        await eventually("they came again", () => deliveries.length === 4);
        expect([...slots].toSorted()).toEqual([0, 1]);
        await broker.close();
      },
      START_TIMEOUT_MS,
    );

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
