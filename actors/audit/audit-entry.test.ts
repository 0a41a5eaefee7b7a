/** What is kept of a frame: columns, texts, faults, and what must never be among them. */

import { describe, expect, test } from "bun:test";

import type { EventOf } from "../contracts/messages.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { decodeEvent, readEvent } from "../delivery/decode-message.ts";
import { createTestFeed, orderCreated } from "./audit.fixture.ts";
import { asReused, isSameMessage, readEntry } from "./audit-entry.ts";
import { TEXTS_MAX } from "./audit-limits.ts";
import { GENESIS_HASH, recordHash } from "./audit-record.ts";
import { viewOf } from "./audit-view.ts";

const SECRETS = /secret|zoe@|\+?49301234567|fp_|tok_/;

function jsonFrame(payload: string, type = 1): Uint8Array {
  const [created] = createTestFeed().order(1);
  const { id, timeMs, slot, key } = decodeFrame(created!.bytes); // `!`: an order has records
  const body = new TextEncoder().encode(payload);
  return encodeFrame({ id, timeMs, slot, key, type, flags: FLAG_JSON, payload: body });
}

function viewed(bytes: Uint8Array, frame?: Uint8Array) {
  const { texts: _indexed, ...columns } = readEntry(createTestFeed().record("orders", bytes));
  const record = { ...columns, seq: 1, ...(frame === undefined ? {} : { frame }) };
  return viewOf({ ...record, prev: GENESIS_HASH, hash: recordHash(GENESIS_HASH, record) });
}

describe("an event", () => {
  test("is kept with its order, its customer and its own time", () => {
    const feed = createTestFeed();
    const record = feed.event(orderCreated("o-1", "c-1"));
    expect(readEntry(record)).toMatchObject({
      topic: "orders",
      partition: record.partition,
      sequence: 1,
      type: 1,
      orderId: "o-1",
      customerId: "c-1",
      atMs: feed.environment.nowMs(),
      fault: null,
    });
  });

  test("keeps all of its frame but the secrets, and the same bytes each time", () => {
    const feed = createTestFeed();
    const [cause] = feed.order(1);
    const { bytes } = feed.event(orderCreated("o-1", "c-1"), cause);
    const kept = readEntry(feed.record("orders", bytes)).frame;
    expect(Buffer.from(kept).toString("latin1")).not.toMatch(SECRETS);
    const { payload: _dropped, frameBytes: _shorter, ...header } = decodeFrame(bytes);
    expect(decodeFrame(kept)).toMatchObject(header);
    const { contact: _hidden, ...shown } = orderCreated("o-1", "c-1") as EventOf<"order.created">;
    const paymentMethod = { type: "card" } as const;
    expect(decodeEvent(decodeFrame(kept))).toEqual({ ...shown, paymentMethod });
    expect(readEntry(feed.record("orders", bytes)).frame).toEqual(kept);
    expect(readEntry(feed.record("orders", kept)).frame).toBe(kept);
  });

  test("in JSON is kept in JSON, without its secrets", () => {
    const { type: _inHeader, ...fields } = orderCreated("o-1", "c-1");
    const bytes = jsonFrame(JSON.stringify(fields));
    const { frame } = readEntry(createTestFeed().record("orders", bytes));
    expect(Buffer.from(frame).toString("latin1")).not.toMatch(SECRETS);
    expect(decodeFrame(frame).flags).toBe(FLAG_JSON);
    expect(readEvent(decodeFrame(frame))).toMatchObject({ orderId: "o-1", totalMinor: 2_100 });
  });

  test("that has no secrets is kept to the byte", () => {
    const feed = createTestFeed();
    for (const { bytes, ...place } of feed.order(1).slice(1)) {
      expect(readEntry({ ...place, bytes }).frame).toBe(bytes);
    }
  });

  test("can be found by its texts, not by ids with a column, and never by a secret", () => {
    const { texts } = readEntry(createTestFeed().event(orderCreated("o-1", "c-1")));
    expect(texts).toContain("coffee-beans-1kg");
    expect(texts).toContain("Zoë Ångström");
    expect(texts).toContain("card");
    expect(texts).not.toContain("o-1");
    expect(texts).not.toContain("c-1");
    expect(texts.join(" ")).not.toMatch(SECRETS);
  });

  test("is shown without its secrets, also when it was recorded with them", () => {
    const { bytes } = createTestFeed().event(orderCreated("o-1", "c-1"));
    const view = viewed(bytes);
    expect(JSON.stringify(view)).not.toMatch(SECRETS);
    expect(view.data).toMatchObject({ totalMinor: 2_100, paymentMethod: { type: "card" } });
    const old = viewed(bytes, bytes);
    expect(JSON.stringify(old)).not.toMatch(SECRETS);
    expect(old.data).toMatchObject({
      contact: "[redacted]",
      paymentMethod: { type: "card", token: "[redacted]", fingerprint: "[redacted]" },
    });
  });

  test("of a thousand visitors gives no more texts than are allowed, each once", () => {
    const places = Array.from({ length: 1_000 }, (_, index) => index);
    const record = createTestFeed().event({
      type: "user.behavior",
      batchId: "b-1",
      baseMs: 1,
      offsetMs: places,
      events: ["page.viewed"],
      event: places.map(() => 0),
      customers: places.map((place) => `visitor-${place}`),
      customer: places,
      products: places.map((place) => `product-${place}`),
      product: places,
    });
    const { texts } = readEntry(record);
    expect(texts).toHaveLength(TEXTS_MAX);
    expect(new Set(texts).size).toBe(TEXTS_MAX);
    expect(texts).toContain("page.viewed");
    expect(texts.join(" ")).not.toContain("visitor");
  });

  test("from a foreign producer with a lone surrogate for an id is kept all the same", () => {
    const order = orderCreated("x", "c-1");
    const { type: _inHeader, ...fields } = order;
    const text = JSON.stringify(fields).replace('"x"', '"\\ud800"');
    expect(readEntry(createTestFeed().record("orders", jsonFrame(text)))).toMatchObject({
      fault: null,
      orderId: "�",
    });
  });

  test("with a time beyond all calendars is kept at the last instant", () => {
    const [created] = createTestFeed().order(1);
    const frame = decodeFrame(created!.bytes); // `!`: an order has records
    const bytes = encodeFrame({ ...frame, timeMs: 1e300 });
    const { atMs } = viewed(bytes);
    expect(new Date(atMs).toISOString()).toBe("+275760-09-13T00:00:00.000Z");
  });
});

describe("what cannot be read", () => {
  test.each([
    ["bytes that are no frame", new Uint8Array([1, 2, 3]), "TRUNCATED"],
    ["nothing at all", new Uint8Array(), "TRUNCATED"],
    ["a type that no event has", jsonFrame("{}", 999), "UNKNOWN_TYPE"],
    ["a payload that is not what it says", jsonFrame("tok_secret {"), "BAD_PAYLOAD"],
    ["a payload that fits no schema", jsonFrame('{"token":"tok_secret"}'), "BAD_PAYLOAD"],
  ])("%s is kept as it came, with its fault and without its content", (_what, bytes, fault) => {
    const entry = readEntry(createTestFeed().record("orders", bytes));
    expect(entry).toMatchObject({ fault, type: 0, frame: bytes, orderId: null, texts: [] });
    const view = viewed(bytes);
    expect(view).toMatchObject({ fault, type: "unreadable", frameBytes: bytes.length });
    expect(view).not.toHaveProperty("data");
    expect(JSON.stringify(view)).not.toMatch(SECRETS);
  });

  test("a flipped bit is a bad checksum, and such bytes are identified by themselves", () => {
    const [created] = createTestFeed().order(1);
    const bytes = created!.bytes.slice(); // `!`: an order has records
    bytes[100]! ^= 1; // `!`: a frame is longer
    const feed = createTestFeed();
    const [one, other] = [feed.record("orders", bytes), feed.record("orders", bytes.slice())];
    expect(readEntry(one).fault).toBe("BAD_CHECKSUM");
    expect(readEntry(one).identity).toEqual(readEntry(other).identity);
    expect(viewed(bytes)).not.toHaveProperty("id");
  });
});

describe("the same message", () => {
  const [created, reserved] = createTestFeed().order(1);
  const frame = decodeFrame(created!.bytes); // `!`: an order has records

  test("is one whose attempts and headers changed, as a redrive changes them", () => {
    const redriven = encodeFrame({ ...frame, attempt: 3, headers: { redriven: "x" } });
    expect(isSameMessage(created!.bytes, redriven)).toBe(true); // `!`: as above
  });

  test("is one that was recorded with its secrets before they were dropped", () => {
    const entry = readEntry(createTestFeed().record("orders", created!.bytes)); // `!`: as above
    expect(entry.frame).not.toEqual(created!.bytes); // `!`: as above
    expect(isSameMessage(created!.bytes, entry.frame)).toBe(true); // `!`: as above
  });

  test("is not one with another payload, and then counts by its content", () => {
    const { payload } = decodeFrame(reserved!.bytes); // `!`: an order has records
    const forged = encodeFrame({ ...frame, payload });
    expect(isSameMessage(created!.bytes, forged)).toBe(false); // `!`: as above
    const entry = readEntry(createTestFeed().record("orders", forged));
    expect(asReused(entry).fault).toBe("ID_REUSED");
    expect(asReused(entry).identity).not.toEqual(entry.identity);
    expect(asReused(entry).identity).toEqual(asReused({ ...entry, sequence: 9 }).identity);
  });
});
