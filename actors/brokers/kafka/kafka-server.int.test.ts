/**
 * What only a real server shows: what is refused at start, what others write, what a client costs.
 *
 * One server for the file, with a second door that asks for a password.
 */

import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { KafkaTestServer } from "../../../deploy/services/test-server.ts";
import type { Broker, Delivery, SubscribeOptions, Subscription } from "../broker.ts";
import type { KafkaDriverName, KafkaSettings } from "./kafka-options.ts";

import { Kafka, logLevel, Partitioners } from "kafkajs";

import { findFreePorts } from "../../../deploy/services/free-ports.ts";
import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { describeError } from "../../../runtime/errors.ts";
import { decodeFrame, encodeFrame } from "../../../runtime/frames/frame.ts";
import { slotOf } from "../../../runtime/frames/murmur2.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { decodeEvent, encodeEvent } from "../../delivery/decode-message.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { openKafka } from "./open-kafka.ts";

const DRIVERS: readonly KafkaDriverName[] = ["kafkajs", "platformatic"];
const SLOTS = 8;
const START_MS = 120_000;
const PATIENCE_MS = 60_000;
const parcel = { orderId: "0190-order", trackingNumber: "SS1", carrier: "c" };
const missing = whyMissing("kafka");

let server: KafkaTestServer;
let guardedPort = 0;
/** The one whose tests are running. */
let driver: KafkaDriverName = "kafkajs";
const brokers: Broker[] = [];

function settingsOf(change: Partial<KafkaSettings> = {}): KafkaSettings {
  const topicPrefix = `s${systemEnvironment.newId().slice(-8)}.`;
  return { ...KAFKA_SETTINGS, driver, brokers: [server.address], topicPrefix, ...change };
}

async function open(settings: KafkaSettings, slots = SLOTS): Promise<Broker> {
  const environment = systemEnvironment;
  const broker = await openKafka({ environment, settings, topics: ["orders"], slots });
  brokers.push(broker);
  return broker;
}

async function refusal(change: Partial<KafkaSettings>, slots = SLOTS): Promise<string> {
  try {
    await open(settingsOf(change), slots);
    return "opened";
  } catch (error) {
    return describeError(error);
  }
}

async function eventually(holds: () => boolean): Promise<void> {
  const endMs = systemEnvironment.monotonicMs() + PATIENCE_MS;
  while (!holds() && systemEnvironment.monotonicMs() < endMs) await Bun.sleep(10);
  expect(holds()).toBe(true);
}

async function collect(
  broker: Broker,
  options: Partial<SubscribeOptions> = {},
): Promise<{ readonly deliveries: Delivery[]; readonly subscription: Subscription }> {
  const deliveries: Delivery[] = [];
  const subscription = await broker.subscribe({
    group: "g",
    topics: ["orders"],
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries: (batch) => void deliveries.push(...batch),
    ...options,
  });
  return { deliveries, subscription };
}

function frameOf(key: string, id = key): Uint8Array {
  return encodeFrame({
    type: 900,
    slot: slotOf(key, SLOTS),
    key,
    payload: new TextEncoder().encode(id),
    id: systemEnvironment.newId(),
    timeMs: systemEnvironment.nowMs(),
  });
}

describe.skipIf(!requireOrSkip("kafka", missing === undefined, missing ?? ""))("Kafka", () => {
  beforeAll(async () => {
    const settings: Record<string, string> = {};
    server = await startTestServer("kafka", { settings, startsFast: true });
    // The second door needs the ports of the first, which are known only now.
    const properties = readFileSync(join(server.directory, "broker-1.properties"), "utf8");
    [guardedPort = 0] = await findFreePorts(1);
    const guarded = `GUARDED://127.0.0.1:${guardedPort}`;
    for (const name of ["listeners", "advertised.listeners", "listener.security.protocol.map"]) {
      const [, value] = new RegExp(`^${name}=(.*)$`, "m").exec(properties) ?? [];
      settings[name] = `${value},${name.includes("map") ? "GUARDED:SASL_PLAINTEXT" : guarded}`;
    }
    settings["sasl.enabled.mechanisms"] = "PLAIN";
    settings["listener.name.guarded.plain.sasl.jaas.config"] =
      'org.apache.kafka.common.security.plain.PlainLoginModule required user_shop="geheim";';
    await server.stop();
    await server.start();
  }, START_MS);

  afterAll(async () => {
    await Promise.all(brokers.map((broker) => broker.close()));
    await server.dispose();
  }, START_MS);

  describe.each(DRIVERS)("through %s", (name) => {
    beforeAll(() => void (driver = name));

    test("an address where nobody listens is refused by the name of its setting", async () => {
      const text = await refusal({ brokers: ["127.0.0.1:1"] });
      expect(text).toBe(
        "SERVER_UNUSABLE: kafka.brokers: nothing answers as Kafka at 127.0.0.1:1 (ECONNREFUSED)",
      );
    });

    test(
      "a server that takes the connection and never answers is refused within ten seconds",
      async () => {
        const silent = Bun.listen({
          hostname: "127.0.0.1",
          port: 0,
          socket: { data: () => undefined },
        });
        const startMs = systemEnvironment.monotonicMs();
        const text = await refusal({ brokers: [`127.0.0.1:${silent.port}`] });
        silent.stop(true);
        expect(text).toContain(
          `kafka.brokers: nothing answers as Kafka at 127.0.0.1:${silent.port}`,
        );
        expect(systemEnvironment.monotonicMs() - startMs).toBeLessThan(20_000);
      },
      PATIENCE_MS,
    );

    test(
      "a wrong password is refused without being shown, the right one is taken",
      async () => {
        const address = [`127.0.0.1:${guardedPort}`];
        const login = { brokers: address, saslMechanism: "plain", username: "shop" } as const;
        const text = await refusal({ ...login, password: "falsch" });
        expect(text).toContain('kafka.username: the server refuses user "shop"');
        expect(text).not.toContain("falsch");
        expect(await refusal({ ...login, password: "geheim" })).toBe("opened");
        expect(await refusal({ brokers: address })).toContain("SERVER_UNUSABLE: kafka.");
      },
      PATIENCE_MS,
    );

    test("topics with another number of partitions are refused", async () => {
      const settings = settingsOf();
      await open(settings);
      const text = await refusal({ topicPrefix: settings.topicPrefix }, SLOTS + 1);
      expect(text).toContain(`topic ${settings.topicPrefix}orders has 8 partitions, needed are 9`);
    });

    test("more copies than there are brokers are refused", async () => {
      expect(await refusal({ replicationFactor: 3 })).toMatch(
        /^SERVER_UNUSABLE: kafka: .*replicat/i,
      );
    });

    test("a foreign client puts a key where we do, and its JSON becomes the event", async () => {
      const settings = settingsOf();
      const broker = await open(settings);
      const { deliveries, subscription } = await collect(broker);
      const kafka = new Kafka({ brokers: [server.address], logLevel: logLevel.NOTHING });
      const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
      await producer.connect();
      const headers = {
        ce_specversion: "1.0",
        ce_id: "7",
        ce_source: "/erp",
        ce_type: "order.shipped",
      };
      await producer.send({
        topic: `${settings.topicPrefix}orders`,
        messages: [
          { key: parcel.orderId, value: JSON.stringify(parcel), headers },
          { key: parcel.orderId, value: JSON.stringify({ ...parcel, carrier: 7 }), headers },
          { key: "k", value: "hello" },
        ],
      });
      await producer.disconnect();
      await eventually(() => deliveries.length === 3);
      const [event, unfit] = deliveries.filter(
        ({ partition }) => partition === slotOf(parcel.orderId, SLOTS),
      );
      expect(decodeEvent(decodeFrame(event?.bytes ?? new Uint8Array(0)))).toEqual({
        type: "order.shipped",
        ...parcel,
      });
      expect(() => decodeEvent(decodeFrame(unfit?.bytes ?? new Uint8Array(0)))).toThrow("/carrier");
      const raw = deliveries.find(({ bytes }) => new TextDecoder().decode(bytes) === "hello");
      expect(raw).toBeDefined();
      if (raw === undefined) return;
      expect(raw.fault).toContain("no ce_type");
      const error = raw.fault ?? "";
      await subscription.bury(raw, {
        reason: "foreign_record",
        attempts: 1,
        firstError: error,
        lastError: error,
      });
      const [letter] = await broker.deadLetters("orders", 0, 10);
      expect(new TextDecoder().decode(letter?.bytes)).toBe("hello");
      expect(letter?.burial.reason).toBe("foreign_record");
      expect(letter?.burial.lastError).toContain("no ce_type");
    });

    test("a foreign consumer reads our events by their CloudEvents headers", async () => {
      const settings = settingsOf();
      const broker = await open(settings);
      const event = encodeEvent(
        { type: "order.shipped", ...parcel },
        { environment: systemEnvironment, slots: SLOTS },
      );
      await broker.publish([event]);
      const kafka = new Kafka({ brokers: [server.address], logLevel: logLevel.NOTHING });
      const admin = kafka.admin();
      await admin.connect();
      const [record] = await admin.fetchRecords({
        topic: `${settings.topicPrefix}orders`,
        partition: slotOf(parcel.orderId, SLOTS),
        offset: "0",
        maxBytes: 1_000_000,
      });
      await admin.disconnect();
      expect(record?.key?.toString()).toBe(parcel.orderId);
      expect(record?.headers?.["ce_type"]?.toString()).toBe("order.shipped");
      expect(record?.headers?.["ce_id"]?.toString()).toBe(decodeFrame(event.frame).id);
    });

    test("a frame that is buried from its reference alone keeps its bytes", async () => {
      const broker = await open(settingsOf());
      const { deliveries, subscription } = await collect(broker);
      const frame = frameOf("k");
      await broker.publish([{ topic: "orders", frame }]);
      await eventually(() => deliveries.length === 1);
      const [delivery] = deliveries;
      if (delivery === undefined) return;
      const { group, topic, partition, sequence, epoch } = delivery;
      const burial = { reason: "test", attempts: 1, firstError: "a", lastError: "b" };
      const ref = { group, topic, partition, sequence, epoch };
      expect(await subscription.bury(ref, burial)).toBe("settled");
      const [letter] = await broker.deadLetters("orders", 0, 10);
      expect(Buffer.from(letter?.bytes ?? [])).toEqual(Buffer.from(frame));
      expect(letter?.burial).toEqual(burial);
    });

    test(
      "a member that joins takes its share, and what the other keeps is not disturbed",
      async () => {
        const broker = await open(settingsOf());
        const revoking: number[] = [];
        const revoked: number[] = [];
        const first = await collect(broker, {
          onRevoking: (_topic, partitions) => {
            revoking.push(...partitions);
            return Promise.resolve(true);
          },
          onRevoked: (_topic, partitions) => void revoked.push(...partitions),
        });
        const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
        await broker.publish(keys.map((key) => ({ topic: "orders", frame: frameOf(key) })));
        await eventually(() => first.deliveries.length === 40);
        const second = await collect(broker);
        await eventually(() => revoked.length === SLOTS / 2);
        expect(revoking.toSorted()).toEqual(revoked.toSorted());
        const kept = first.deliveries.filter(({ partition }) => !revoked.includes(partition));
        const results = await first.subscription.ack(kept);
        expect(results).toEqual(kept.map(() => "settled"));
        await eventually(() => second.deliveries.length === 40 - kept.length);
        expect(second.deliveries.every(({ attempt }) => attempt === 2)).toBe(true);
        expect(first.deliveries).toHaveLength(40);
      },
      PATIENCE_MS,
    );

    test("nothing is delivered before the member agrees, and a refusal gives it back", async () => {
      const broker = await open(settingsOf());
      await broker.publish([{ topic: "orders", frame: frameOf("k") }]);
      const agree = Promise.withResolvers<undefined>();
      let asked = 0;
      const joining = collect(broker, {
        onAssigned: async () => {
          asked++;
          if (asked === 1) throw new TypeError("the fence cannot be had");
          await agree.promise;
        },
      });
      await eventually(() => asked === 2);
      agree.resolve(undefined);
      const { deliveries } = await joining;
      await eventually(() => deliveries.length === 1);
      expect(deliveries[0]?.attempt).toBe(1);
    });

    test("acknowledgements that nobody waits for are not lost by a close", async () => {
      const broker = await open(settingsOf());
      const first = await collect(broker, { acks: "soon" });
      await broker.publish([{ topic: "orders", frame: frameOf("k", "1") }]);
      await eventually(() => first.deliveries.length === 1);
      expect(await first.subscription.ack(first.deliveries)).toEqual(["settled"]);
      await first.subscription.close(false);
      const second = await collect(broker);
      await broker.publish([{ topic: "orders", frame: frameOf("k", "2") }]);
      await eventually(() => second.deliveries.length === 1);
      expect(second.deliveries.map(({ sequence }) => sequence)).toEqual([2]);
    });
  });

  test(
    "members of one group may use different clients, whichever came first",
    async () => {
      for (const [one, other] of [DRIVERS, DRIVERS.toReversed()]) {
        const settings = settingsOf();
        const brokerOf = async (name = driver): Promise<Broker> =>
          await open({ ...settings, driver: name });
        const [leading, joining] = [await brokerOf(one), await brokerOf(other)];
        const revoked: number[] = [];
        const first = await collect(leading, {
          onRevoking: () => Promise.resolve(true),
          onRevoked: (_topic, partitions) => void revoked.push(...partitions),
        });
        const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
        await leading.publish(keys.map((key) => ({ topic: "orders", frame: frameOf(key) })));
        await eventually(() => first.deliveries.length === 40);
        await first.subscription.ack(first.deliveries.slice(0, 20));
        const second = await collect(joining);
        await eventually(() => revoked.length === SLOTS / 2);
        const left = first.deliveries.slice(20);
        const moved = left.filter(({ partition }) => revoked.includes(partition));
        await eventually(() => second.deliveries.length === moved.length);
        const ids = (each: Delivery): string => `${each.partition}/${each.sequence}`;
        expect(new Set(second.deliveries.map(ids))).toEqual(new Set(moved.map(ids)));
        expect(second.deliveries.every(({ attempt }) => attempt === 2)).toBe(true);
      }
    },
    PATIENCE_MS,
  );

  test("a connection with nothing to do sets no timer after the other", async () => {
    // Those of the tests before have something to do, and timers of their own.
    await Promise.all(brokers.splice(0).map((broker) => broker.close()));
    const kafka = new Kafka({ brokers: [server.address], logLevel: logLevel.NOTHING });
    const admin = kafka.admin();
    await admin.connect();
    await admin.listTopics();
    await Bun.sleep(100);
    const timers = spyOn(globalThis, "setTimeout");
    await Bun.sleep(500);
    const short = timers.mock.calls.filter(([, delayMs]) => (delayMs ?? 0) < 20);
    timers.mockRestore();
    await admin.disconnect();
    // Unpatched: one every millisecond.
    expect(short.length).toBeLessThan(20);
  });
});
