/**
 * Frames to records and back, and what becomes of what others put into our topics.
 *
 * The events of a foreign producer are read by the decoder that reads our own. No I/O.
 */

import { describe, expect, spyOn, test } from "bun:test";
import fc from "fast-check";

import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { decodeFrame, encodeFrame } from "../../../runtime/frames/frame.ts";
import { slotOf } from "../../../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { decodeEvent, encodeEvent } from "../../delivery/decode-message.ts";
import { receive } from "./foreign-record.ts";
import { recordOf } from "./frame-record.ts";
import { letterOf, letterRecord } from "./kafka-letter.ts";
import { SHOP_EVENT_TYPES } from "./open-kafka.ts";

const environment = createVirtualEnvironment();
const orderId = "0190-order";
const parcel = { orderId, trackingNumber: "SS1", carrier: "c" };
const place = { topic: "orders", partition: slotOf(orderId, 64), partitions: 64 };
const { nameOf, numberOf } = SHOP_EVENT_TYPES;
/** Of arrays in arrays: fits in one record, can be parsed, and is more than a stack can hold. */
const DEPTH = 100_000;
const deep = `{"type":"order.shipped","data":${"[".repeat(DEPTH)}${"]".repeat(DEPTH)}}`;

function fetched(
  headers: Record<string, string>,
  value: string | Uint8Array | null,
  key: string | null = orderId,
): FetchedRecord {
  return {
    offset: 41,
    key: key === null ? null : new TextEncoder().encode(key),
    value: typeof value === "string" ? new TextEncoder().encode(value) : value,
    headers: new Map(
      Object.entries(headers).map(([name, text]) => [name, new TextEncoder().encode(text)]),
    ),
    timestampMs: 1_700_000_000_000,
  };
}

function asFetched(record: KafkaRecord): FetchedRecord {
  return { ...fetched({ ...record.headers }, record.value), key: record.key };
}

describe("a frame of ours", () => {
  test("goes out under its key and with the envelope of a CloudEvent", () => {
    const cause = { correlationId: "corr", causationId: "cause", traceId: "a".repeat(32) };
    const { frame } = encodeEvent(
      { type: "order.shipped", ...parcel },
      { environment, slots: 64, cause },
    );
    const record = recordOf("shopstream.orders", frame, nameOf);
    expect(record).toMatchObject({ topic: "shopstream.orders", partition: place.partition });
    expect(new TextDecoder().decode(record.key ?? undefined)).toBe(orderId);
    expect(record.headers).toMatchObject({
      "content-type": "application/vnd.shopstream.frame",
      ce_specversion: "1.0",
      ce_id: decodeFrame(frame).id,
      ce_source: "/shopstream",
      ce_type: "order.shipped",
      ce_subject: orderId,
      ce_partitionkey: orderId,
      ce_time: new Date(environment.nowMs()).toISOString(),
      ce_correlationid: "corr",
      ce_causationid: "cause",
    });
    expect(receive(asFetched(record), place, numberOf)).toEqual({ bytes: frame });
  });

  test("carries its trace on", () => {
    const traceId = "0123456789abcdef".repeat(2);
    const frame = encodeFrame({
      type: 3,
      slot: 1,
      key: "k",
      payload: new Uint8Array(0),
      id: environment.newId(),
      timeMs: 1,
      traceId,
      spanId: "0123456789abcdef",
    });
    const { headers } = recordOf("t", frame, nameOf);
    expect(headers["traceparent"]).toBe(`00-${traceId}-0123456789abcdef-01`);
    expect(headers["ce_traceparent"]).toBe(headers["traceparent"] ?? "");
  });

  test("says when it was made, whatever was asked before; not beyond the year 9999", () => {
    const timeOf = (timeMs: number): string | undefined => {
      const fields = { type: 3, slot: 1, key: "k", payload: new Uint8Array(0) };
      const frame = encodeFrame({ ...fields, id: environment.newId(), timeMs });
      return recordOf("t", frame, nameOf).headers["ce_time"];
    };
    const last = Date.UTC(9_999, 11, 31, 23, 59, 59, 999);
    const time = fc.oneof(
      fc.integer({ min: 0, max: last }),
      fc.integer({ min: 0, max: 5_000 }).map((ms) => 1_700_000_000_000 + ms),
      fc.double({ min: 0, max: last, noNaN: true }),
    );
    fc.assert(
      fc.property(fc.array(time, { maxLength: 50 }), (times) => {
        for (const each of times) expect(timeOf(each)).toBe(new Date(each).toISOString());
      }),
    );
    for (const [timeMs, text] of [
      [0, "1970-01-01T00:00:00.000Z"],
      [last, "9999-12-31T23:59:59.999Z"],
      [last + 1, undefined],
      [1e300, undefined],
    ] as const) {
      expect(timeOf(timeMs)).toBe(text);
    }
  });

  test("that is damaged goes out and comes in as it is", () => {
    const { frame } = encodeEvent({ type: "order.shipped", ...parcel }, { environment, slots: 64 });
    frame[frame.length - 1] = frame.at(-1)! ^ 1; // `!`: a frame has bytes
    const record = recordOf("t", frame, nameOf);
    expect(record.key).toBeNull();
    expect(receive(asFetched(record), place, numberOf)).toEqual({ bytes: frame });
  });
});

const BINARY = { ce_specversion: "1.0", ce_id: "7", ce_source: "/erp", ce_type: "order.shipped" };
const json = JSON.stringify(parcel);

describe("a CloudEvent of somebody else", () => {
  test.each<[string, Record<string, string>, string]>([
    ["in binary mode", { ...BINARY, ce_time: "2026-01-02T03:04:05Z" }, json],
    [
      "in binary mode, as JSON",
      { ...BINARY, "content-type": "application/json; charset=utf-8", ce_correlationid: "c" },
      json,
    ],
    [
      "in structured mode",
      { "content-type": "application/cloudevents+json; charset=utf-8" },
      JSON.stringify({
        specversion: "1.0",
        id: "7",
        source: "/erp",
        type: "order.shipped",
        data: parcel,
      }),
    ],
  ])("%s becomes the event it says", (_what, headers, value) => {
    const { bytes, fault } = receive(fetched(headers, value), place, numberOf);
    expect(fault).toBeUndefined();
    const frame = decodeFrame(bytes);
    expect(decodeEvent(frame)).toEqual({ type: "order.shipped", ...parcel });
    expect(frame).toMatchObject({ key: orderId, slot: place.partition });
    expect(frame.headers["source"]).toBe("/erp");
  });

  test("has one id however often it is sent, and another of another source", () => {
    const idOf = (headers: Record<string, string>): string =>
      decodeFrame(receive(fetched(headers, json), place, numberOf).bytes).id;
    expect(idOf(BINARY)).toBe(idOf({ ...BINARY, ce_time: "2026-01-02T03:04:05Z" }));
    expect(idOf(BINARY)).not.toBe(idOf({ ...BINARY, ce_source: "/crm" }));
    expect(idOf(BINARY)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-/);
  });

  test("that does not fit its contract is refused by the decoder, which names the place", () => {
    const value = JSON.stringify({ ...parcel, carrier: 7 });
    const { bytes } = receive(fetched(BINARY, value), place, numberOf);
    let error: unknown;
    try {
      decodeEvent(decodeFrame(bytes));
    } catch (thrown) {
      error = thrown;
    }
    expect(isShopError(error, "BAD_MESSAGE")).toBe(true);
    expect(String(error)).toContain("/carrier");
  });

  test.each<[string, Record<string, string>, string | null, string | null, string]>([
    ["without a type", {}, json, orderId, "no ce_type"],
    ["of a type that is not ours", { ...BINARY, ce_type: "order.shiped" }, json, orderId, "shiped"],
    ["without a key", BINARY, json, null, "without a key"],
    ["on another partition than its key's", BINARY, json, "another", "murmur2"],
    [
      "with a body of another kind",
      { ...BINARY, "content-type": "text/xml" },
      json,
      orderId,
      "xml",
    ],
    ["with a time that is none", { ...BINARY, ce_time: "soon" }, json, orderId, "no time"],
    [
      "that says to be structured and is not",
      { "content-type": "application/cloudevents+json" },
      "[",
      orderId,
      "not a JSON event",
    ],
    ["too deep", { "content-type": "application/cloudevents+json" }, deep, orderId, "than 16"],
    [
      "that fits no frame",
      { ...BINARY, ce_source: "s".repeat(70_000) },
      json,
      orderId,
      "BAD_FRAME",
    ],
  ])("%s stays raw, with the reason", (_what, headers, value, key, reason) => {
    const record = fetched(headers, value, key);
    const { bytes, fault } = receive(record, place, numberOf);
    expect(bytes).toEqual(record.value ?? new Uint8Array(0));
    expect(fault).toContain(reason);
  });

  test("too deep is neither parsed nor written as text again", () => {
    const work = [spyOn(JSON, "parse"), spyOn(JSON, "stringify")];
    try {
      const headers = { "content-type": "application/cloudevents+json" };
      const { fault } = receive(fetched(headers, deep), place, numberOf);
      expect(fault).toBe("not a JSON event: BAD_MESSAGE: nested deeper than 16");
      for (const each of work) expect(each).not.toHaveBeenCalled();
    } finally {
      for (const each of work) each.mockRestore();
    }
  });
});

describe("a dead letter", () => {
  const burial = { reason: "poison", attempts: 5, firstError: "a", lastError: "ü" };
  const ref = { group: "g", topic: "orders", partition: 3, sequence: 9, epoch: 1 };

  test("goes round as a record", () => {
    const bytes = Uint8Array.of(1, 2, 3);
    const record = letterRecord({
      topic: "dead",
      ref,
      bytes,
      key: null,
      burial,
      buriedAtMs: 12.5,
    });
    const letter = letterOf(
      asFetched({ ...record, headers: { ...record.headers, "buried-at-ms": "12" } }),
    );
    const { epoch: _epoch, ...origin } = ref;
    expect(letter).toEqual({ id: 42, ...origin, bytes, burial, buriedAtMs: 12 });
  });

  test("is only what says what it is of", () => {
    expect(letterOf(fetched({ group: "g", topic: "t", partition: "x" }, ""))).toBeUndefined();
    expect(letterOf(fetched({}, ""))).toBeUndefined();
  });
});
