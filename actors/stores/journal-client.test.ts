/**
 * The conversation with the journal, one end at a time and without threads. The other end is in
 * `journal-server.int.test.ts`.
 */

import { expect, test } from "bun:test";

import type { DeliveryRecord } from "./journal-protocol.ts";

import { ShopError } from "../../runtime/errors.ts";
import { JournalClient } from "./journal-client.ts";
import {
  COMMIT,
  decodeBody,
  decodeDelivery,
  DELIVERY,
  encodeDeliveryHeader,
  encodeFailure,
  encodeRequest,
  FAILURE,
  requestNumber,
  RESULT,
  REVOKED,
} from "./journal-protocol.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";
import { unitFromWire, unitToWire } from "./unit-wire.ts";

const JOURNAL = 1;

function createClient(takes: () => boolean = () => true) {
  const sent: Uint8Array[] = [];
  const client = new JournalClient(
    {
      send(_to, _kind, first) {
        if (!takes()) return false;
        sent.push(first);
        return true;
      },
    },
    JOURNAL,
  );
  return {
    client,
    sent,
    numberOf: (index: number) => requestNumber(sent[index] ?? new Uint8Array(4)),
  };
}

function listener() {
  const heard: { deliveries: DeliveryRecord[][]; revoked: unknown[]; failed: unknown[] } = {
    deliveries: [],
    revoked: [],
    failed: [],
  };
  return {
    heard,
    deliveries: (records: readonly DeliveryRecord[]) => void heard.deliveries.push([...records]),
    standings: () => undefined,
    revoked: (record: unknown) => void heard.revoked.push(record),
    failed: (error: unknown) => void heard.failed.push(error),
  };
}

function deliveryBytes(subscription: number, sequence: number): Uint8Array {
  const delivery = {
    group: "order",
    topic: "payments",
    partition: 63,
    sequence,
    epoch: 1_700_000_000_000_001,
    attempt: 3,
    notBeforeMs: 1_700_000_000_123,
    bytes: new Uint8Array([1, 2, 3]),
  };
  const header = encodeDeliveryHeader(subscription, 2, delivery);
  const bytes = new Uint8Array(header.length + 3);
  bytes.set(header);
  bytes.set(delivery.bytes, header.length);
  return bytes;
}

test("each answer reaches its request, in any order", async () => {
  const { client, numberOf } = createClient();
  const first = client.request<string>(COMMIT, "a");
  const second = client.request<string>(COMMIT, "b");
  client.onRecord(RESULT, encodeRequest(numberOf(1), "second"));
  client.onRecord(RESULT, encodeRequest(numberOf(0), "first"));
  expect(await Promise.all([first, second])).toEqual(["first", "second"]);
  expect(client.inFlight).toBe(0);
});

test("a failure arrives as the error it was", async () => {
  const { client, numberOf } = createClient();
  const pending = client.request(COMMIT, null).catch((error: unknown) => error);
  const failure = new ShopError("STORAGE_FULL", "the disk is full", "later");
  client.onRecord(FAILURE, encodeFailure(numberOf(0), failure));
  expect(await pending).toMatchObject({
    code: "STORAGE_FULL",
    message: "the disk is full",
    retry: "later",
  });
});

test("a request that the ring does not take is saturated, and nothing waits for it", async () => {
  const { client } = createClient(() => false);
  const error = await client.request(COMMIT, null).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "SATURATED" });
  expect(client.inFlight).toBe(0);
});

test("deliveries are handed on at the end of the turn, whole and by subscription", () => {
  const { client } = createClient();
  const one = listener();
  const two = listener();
  const first = client.listen(one);
  const second = client.listen(two);
  client.onRecord(DELIVERY, deliveryBytes(first, 1));
  client.onRecord(DELIVERY, deliveryBytes(second, 7));
  client.onRecord(DELIVERY, deliveryBytes(first, 2));
  expect(one.heard.deliveries).toEqual([]);
  client.onTurn();
  expect(
    one.heard.deliveries.map((batch) => batch.map(({ delivery }) => delivery.sequence)),
  ).toEqual([[1, 2]]);
  expect(two.heard.deliveries[0]?.[0]).toEqual({
    subscription: second,
    topic: 2,
    delivery: {
      partition: 63,
      sequence: 7,
      epoch: 1_700_000_000_000_001,
      notBeforeMs: 1_700_000_000_123,
      attempt: 3,
      bytes: new Uint8Array([1, 2, 3]),
    },
  });
});

test("a revocation comes after the deliveries that came before it", () => {
  const { client } = createClient();
  const one = listener();
  const subscription = client.listen(one);
  client.onRecord(DELIVERY, deliveryBytes(subscription, 1));
  const revoked = { subscription, topic: "payments", partitions: [63] };
  client.onRecord(REVOKED, encodeRequest(0, revoked));
  expect(one.heard.deliveries).toHaveLength(1);
  expect(one.heard.revoked).toEqual([revoked]);
});

test("when the journal is gone what waits is indeterminate, and the rest is refused", async () => {
  const { client } = createClient();
  const one = listener();
  client.listen(one);
  const pending = client.request(COMMIT, null).catch((error: unknown) => error);
  client.fail("the journal died");
  expect(await pending).toMatchObject({ code: "INDETERMINATE" });
  const late = await client.request(COMMIT, null).catch((error: unknown) => error);
  expect(late).toMatchObject({ code: "CLOSED" });
  expect(one.heard.failed).toHaveLength(1);
});

test("a decoded delivery does not change when the ring is written over", () => {
  const bytes = deliveryBytes(1, 1);
  const { delivery } = decodeDelivery(bytes);
  bytes.fill(0);
  expect(delivery.bytes).toEqual(new Uint8Array([1, 2, 3]));
});

test("a unit of work crosses the ring unchanged", () => {
  const data = new Uint8Array([9, 8]);
  const unit = {
    inbox: [{ group: "order", messageId: "0190aaaa-0000-7000-8000-000000000000" }],
    rows: [
      {
        table: "orders" as const,
        key: "o",
        expectedVersion: 0,
        data,
        columns: { customerId: "ada", status: "pending", createdAtMs: 5 },
      },
      { table: "stock" as const, key: "cup", expectedVersion: 3, data },
    ],
    timeline: [{ orderId: "o", version: 1, type: "order.created", atMs: 5, data }],
    outgoing: [{ topic: "orders", frame: data }],
    timersStarted: [{ id: "t", dueAtMs: 6, outgoing: { topic: "inventory", frame: data } }],
    timersCancelled: ["u"],
    deadLettersRemoved: [7, 9],
  };
  const acks = [{ group: "order", topic: "payments", partition: 1, sequence: 2, epoch: 3 }];
  const cross = (wire: unknown) =>
    decodeBody<ReturnType<typeof unitToWire>>(encodeRequest(1, wire));
  const back = unitFromWire(cross(unitToWire(unit, acks)));
  expect(JSON.stringify(back)).toBe(JSON.stringify({ unit, acks }));
  const empty = unitFromWire(cross(unitToWire(EMPTY_UNIT, [])));
  expect(empty).toEqual({ unit: EMPTY_UNIT, acks: [] });
});
