/**
 * What somebody else writes to the shop's topics on Kafka: taken when it fits, and buried with the
 * reason when it does not.
 *
 * A bare Kafka client is the stranger; the shop runs on real servers as a process of its own. What
 * becomes of a message is asked of the shop as those who run it do, by its API.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { Kafka } from "kafkajs";
import type { RealServers } from "./real-shop.fixture.ts";
import type { Json } from "./story-orders.suite.ts";

import {
  disposeServers,
  haveServers,
  settingsOn,
  ShopProcess,
  startRealServers,
  until,
} from "./real-shop.fixture.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { kafkaAt, kafkaRecords, PostgresPeek } from "./server-peeks.fixture.ts";
import { list } from "./story-checks.suite.ts";
import { bodyOf, CARLA, EVENTS_OF } from "./story-orders.suite.ts";

const TEST_TIMEOUT_MS = 300_000;
const SLOTS = 64;

let servers: RealServers;
let shop: ShopProcess;
let postgres: PostgresPeek;
let stranger: Kafka;
let sent = 0;
/** Orders of the shop's own. */
const own: string[] = [];

/** As any client would: the partition is the client's own doing, from the key. */
async function produce(
  topic: string,
  key: string,
  headers: Readonly<Record<string, string>>,
  body: unknown,
): Promise<void> {
  const producer = stranger.producer();
  await producer.connect();
  const value = typeof body === "string" ? body : JSON.stringify(body);
  await producer.send({
    topic: `shopstream.${topic}`,
    messages: [{ key, value, headers: { ...headers } }],
  });
  await producer.disconnect();
}

function binary(type: string): Record<string, string> {
  return {
    ce_specversion: "1.0",
    ce_id: `stranger-${++sent}`,
    ce_source: "/somebody/else",
    ce_type: type,
    ce_time: new Date().toISOString(),
    "content-type": "application/json",
  };
}

async function placed(): Promise<string> {
  const { status, body } = await shop.send("POST", "/v1/orders", bodyOf(CARLA));
  expect(status).toBe(201);
  const id = String(body["id"]);
  own.push(id);
  return id;
}

async function lettersOf(key: string): Promise<readonly Json[]> {
  return list(await shop.json(`/admin/dead-letters?key=${key}`), "letters");
}

/** Each group that reads a topic buries for itself, and any of them may be the first. */
async function letterFrom(group: string, key: string): Promise<Json> {
  let letters: readonly Json[] = [];
  const find = () => letters.find((letter) => letter["group"] === group);
  const isThere = async () => {
    letters = await lettersOf(key);
    return find() !== undefined;
  };
  const seen = () => JSON.stringify(letters);
  await until(isThere, `${group} has buried what came for ${key}`, { seen });
  return find() ?? {};
}

async function untilEntry(id: string, type: string): Promise<Json> {
  let entry: Json | undefined;
  const isThere = async () => {
    const events = list(await shop.json(`/v1/orders/${id}/events`), "events");
    entry = events.find((each) => each["type"] === type);
    return entry !== undefined;
  };
  await until(isThere, `${id} has ${type}`);
  return entry ?? {};
}

/** A payment of a stranger's, of an order of ours. */
function payment(orderId: string): Json {
  const paid = { status: "completed", amountMinor: 3_998, currency: "USD" };
  return { orderId, ...paid, gateway: "standard", reference: "theirs" };
}

describe.skipIf(!haveServers())("a message of somebody else on a topic of the shop", () => {
  beforeAll(async () => {
    servers = await startRealServers();
    stranger = kafkaAt(servers);
    postgres = new PostgresPeek(servers);
    // No payments here: those that come are the stranger's.
    shop = await ShopProcess.open({
      ...settingsOn(servers),
      SHOPSTREAM_ROLES: "order,inventory,shipping,notification",
    });
    const stock = { available: 1_000 };
    expect((await shop.send("PUT", "/v1/inventory/story-mug", stock)).status).toBe(201);
  }, TEST_TIMEOUT_MS);

  afterAll(async () => {
    await postgres?.close();
    await shop?.dispose();
    if (servers !== undefined) await disposeServers(servers);
  }, TEST_TIMEOUT_MS);

  test(
    "is taken in binary mode when it fits: a payment completes its order",
    async () => {
      const id = await placed();
      await produce("payments", id, binary("payment.processed"), payment(id));
      const entry = await untilEntry(id, "payment.processed");
      expect(entry["data"]).toMatchObject({ status: "completed", reference: "theirs" });
      await untilEntry(id, "order.delivered");
      expect(await lettersOf(id)).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "is taken in structured mode, and once, however often it is sent",
    async () => {
      const id = await placed();
      const event = {
        specversion: "1.0",
        id: "stranger-once",
        source: "/somebody/else",
        type: "payment.processed",
        data: payment(id),
      };
      const headers = { "content-type": "application/cloudevents+json" };
      for (let times = 0; times < 3; times++) await produce("payments", id, headers, event);
      await untilEntry(id, "order.delivered");
      const { events } = await shop.json(`/v1/orders/${id}/events`);
      const types = (events as readonly Json[]).map(({ type }) => type); // a list, says the API
      expect(types.toSorted()).toEqual([...EVENTS_OF.delivered].toSorted());
    },
    TEST_TIMEOUT_MS,
  );

  test.each<[string, string, (id: string) => Json | string, string]>([
    ["without a field", "payment.processed", () => ({}), "/orderId"],
    [
      "with a value that is none",
      "payment.processed",
      (id) => ({ ...payment(id), status: "maybe" }),
      "/status",
    ],
    ["with a field too many", "payment.processed", (id) => ({ ...payment(id), tip: 5 }), "/tip"],
    ["of another key", "payment.processed", () => payment("another-order"), "/orderId"],
    ["that is not JSON", "payment.processed", () => "{", "not JSON"],
  ])(
    "%s goes to the dead letters, with the failing path",
    async (_what, type, body, path) => {
      const id = await placed();
      await produce("payments", id, binary(type), body(id));
      const letter = await letterFrom("order", id);
      expect(letter).toMatchObject({ topic: "payments", group: "order", reason: "bad_message" });
      expect(String(letter["lastError"])).toContain(path);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "that is no event of the shop's is buried as it came",
    async () => {
      await produce("payments", "nobody", binary("payment.procesed"), {});
      const path = "/admin/dead-letters?reason=foreign_record";
      let letters: readonly Json[] = [];
      const isBuried = async () => (letters = list(await shop.json(path), "letters")).length > 0;
      await until(isBuried, "it is buried");
      expect(String(letters[0]?.["lastError"])).toContain("payment.procesed");
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "may be put back by whoever runs the shop, or thrown away, and either is on record",
    async () => {
      const id = "an-order-nobody-knows";
      await produce("payments", id, binary("payment.processed"), payment(id));
      const letter = await letterFrom("order", id);
      expect(letter).toMatchObject({ group: "order", reason: "unknown_order" });
      const back = await shop.send(
        "POST",
        `/admin/dead-letters/${Number(letter["id"])}/redrive`,
        {},
      );
      expect(back).toMatchObject({ status: 200, body: { result: "redriven" } });
      let again: Json | undefined;
      const isBack = async () => {
        again = (await lettersOf(id)).find(
          (each) => each["group"] === "order" && each["id"] !== letter["id"],
        );
        return again !== undefined;
      };
      await until(isBack, "it is buried once more");
      const why = { reason: "a test" };
      const gone = await shop.send(
        "POST",
        `/admin/dead-letters/${Number(again?.["id"])}/discard`,
        why,
      );
      expect(gone).toMatchObject({ status: 200, body: { result: "discarded" } });
      expect(await lettersOf(id)).toEqual([]);
      let types: readonly (string | undefined)[] = [];
      const isOnRecord = async () => {
        const records = await kafkaRecords(servers, ["operations"]);
        types = records.map(({ headers }) => headers["ce_type"]);
        return types.includes("deadletter.redriven") && types.includes("deadletter.discarded");
      };
      await until(isOnRecord, "both are on record", { seen: () => types.join(", ") });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "that tells of an order which the shop has not taken moves neither money nor stock",
    async () => {
      await shop.dispose();
      shop = await ShopProcess.open(settingsOn(servers));
      // Who had no payment has one now: what is reserved for them is shipped before anything else.
      for (const each of own) await untilEntry(each, "order.delivered");
      const reserved = async () => (await postgres.rowAt("stock", "story-mug"))["reserved"];
      await until(async () => (await reserved()) === 0, "all of it is shipped");
      const id = "an-order-of-a-stranger";
      const order = {
        orderId: id,
        customerId: "carla",
        items: [{ productId: "story-mug", quantity: 7, priceMinor: 100 }],
        totalMinor: 700,
        currency: "USD",
        paymentMethod: { type: "card", token: "somebody's" },
        contact: { email: "somebody@example.org", language: "en" },
      };
      await produce("orders", id, binary("order.created"), order);
      for (const group of ["payment", "inventory"]) {
        const letter = await letterFrom(group, id);
        expect(letter).toMatchObject({ topic: "orders", reason: "unknown_order" });
      }
      expect(await postgres.rowAt("payments", id)).toEqual({});
      expect(await postgres.rowAt("reservations", id)).toEqual({});
      expect(await reserved()).toBe(0);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "that cancels an order which is not cancelled gives no money back",
    async () => {
      const id = await placed();
      await untilEntry(id, "order.delivered");
      const cancelled = { orderId: id, reason: "requested" };
      await produce("orders", id, binary("order.cancelled"), cancelled);
      // Of the group that would give it back.
      const letter = await letterFrom("payment", id);
      expect(letter).toMatchObject({ topic: "orders", reason: "contradicts_order" });
      expect(await postgres.rowAt("payments", id)).toMatchObject({ status: "completed" });
      expect(slotOf(id, SLOTS)).toBe(Number(letter["partition"]));
    },
    TEST_TIMEOUT_MS,
  );
});
