/**
 * Events to frames and back, and everything that must not pass as an event.
 *
 * One sample of every event goes round; arbitrary bytes give `BAD_MESSAGE` and nothing else.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { FrameInput } from "../../runtime/frames/frame-header.ts";
import type { ShopEvent } from "../contracts/messages.ts";

import { isShopError } from "../../runtime/errors.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { encodeValue } from "../contracts/codec.ts";
import { EVENTS, OrderShipped } from "../contracts/messages.ts";
import { causeOf, decodeEvent, encodeEvent } from "./decode-message.ts";

const environment = createVirtualEnvironment();
const options = { environment, slots: 64 };
const orderId = "0190-order";
const items = [{ productId: "p", quantity: 2 }];
const letter = {
  letterKey: orderId,
  group: "payment",
  topic: "orders",
  partition: 3,
  sequence: 9,
  reason: "poison",
};
const parcel = { orderId, trackingNumber: "SS1", carrier: "c" };

const SAMPLES: readonly ShopEvent[] = [
  {
    type: "order.created",
    orderId,
    customerId: "c",
    items: [{ productId: "p", quantity: 2, priceMinor: 1_000 }],
    totalMinor: 2_000,
    currency: "EUR",
  },
  { type: "order.ready_to_ship", orderId, customerId: "c", items },
  { type: "order.shipped", ...parcel },
  { type: "order.delivered", orderId, trackingNumber: "SS1" },
  { type: "order.cancelled", orderId, reason: "requested" },
  {
    type: "payment.processed",
    orderId,
    status: "completed",
    amountMinor: 2_000,
    currency: "EUR",
    gateway: "standard",
    reference: "r",
  },
  { type: "payment.refunded", orderId, amountMinor: 2_000, currency: "EUR", reference: "r" },
  { type: "inventory.reserved", orderId, status: "reserved", expiresAtMs: 1_700_000_000_000 },
  { type: "inventory.released", orderId, items },
  { type: "reservation.lapsed", orderId },
  { type: "shipment.packed", ...parcel },
  { type: "shipment.delivered", orderId, trackingNumber: "SS1" },
  {
    type: "user.behavior",
    batchId: orderId,
    baseMs: 1,
    offsetMs: [0, 5],
    events: ["page.viewed"],
    event: [0, 0],
    customers: ["c"],
    customer: [0, 0],
    products: [],
    product: [0, 0],
  },
  { type: "deadletter.redriven", ...letter },
  { type: "deadletter.discarded", ...letter, why: "obsolete" },
  { type: "notification.due", orderId, event: "order.shipped", channel: "sms", attempt: 2 },
  {
    type: "fraud.flagged",
    orderId,
    customerId: "c",
    decision: "block",
    score: 80,
    rules: ["velocity"],
  },
];

function frameWith(fields: Partial<FrameInput>): ReturnType<typeof decodeFrame> {
  const payload = encodeValue({ orderId, trackingNumber: "SS1", carrier: "c" });
  const type = OrderShipped.number;
  const times = { id: environment.newId(), timeMs: 1, slot: 0, key: orderId };
  return decodeFrame(encodeFrame({ type, payload, ...times, ...fields }));
}

function refusal(act: () => unknown): string {
  try {
    act();
    return "nothing refused";
  } catch (error) {
    return isShopError(error) ? `${error.code}/${error.retry}` : String(error);
  }
}

describe("an event and its frame", () => {
  test("there is a sample of every event", () => {
    expect(SAMPLES.map(({ type }) => type)).toEqual(EVENTS.map(({ type }) => type));
  });

  test.each(SAMPLES.map((event) => [event.type, event] as const))(
    "%s goes round",
    (type, event) => {
      const { topic, frame } = encodeEvent(event, options);
      const decoded = decodeFrame(frame);
      expect(decodeEvent(decoded)).toEqual(event);
      const contract = EVENTS.find((each) => each.type === type);
      expect(topic).toBe(contract?.topic ?? "no topic");
      expect(decoded).toMatchObject({
        type: contract?.number ?? -1,
        key: orderId,
        slot: slotOf(orderId, 64),
        timeMs: environment.nowMs(),
        deadlineMs: 0,
        attempt: 0,
      });
    },
  );

  test("carries its cause on, and starts a correlation of its own without one", () => {
    const first = decodeFrame(encodeEvent({ type: "reservation.lapsed", orderId }, options).frame);
    expect(first.headers).toEqual({});
    expect(causeOf(first)).toEqual({
      correlationId: first.id,
      causationId: first.id,
      traceId: "0".repeat(32),
    });
    const cause = { ...causeOf(first), traceId: "0123456789abcdef".repeat(2) };
    const event: ShopEvent = { type: "order.cancelled", orderId, reason: "reservation_expired" };
    const next = decodeFrame(encodeEvent(event, { ...options, cause, deadlineMs: 9 }).frame);
    expect(next.headers).toEqual({ correlationid: first.id, causationid: first.id });
    expect(next).toMatchObject({ traceId: cause.traceId, deadlineMs: 9 });
    expect(causeOf(next)).toEqual({ ...cause, causationId: next.id });
  });

  test("JSON is read where the flags say JSON", () => {
    const { type: _type, ...fields } = { type: "order.shipped", ...parcel };
    const payload = new TextEncoder().encode(JSON.stringify(fields));
    expect(decodeEvent(frameWith({ flags: FLAG_JSON, payload }))).toEqual({
      type: "order.shipped",
      ...parcel,
    });
    expect(refusal(() => decodeEvent(frameWith({ payload })))).toBe("BAD_MESSAGE/never");
  });
});

describe("what is no event is refused as BAD_MESSAGE", () => {
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  const nested = `${"[".repeat(10_000)}${"]".repeat(10_000)}`;
  const shipped = JSON.stringify(parcel);

  test.each<[string, Partial<FrameInput>]>([
    ["an unknown number", { type: 65_000 }],
    ["the number of a command", { type: 101 }],
    ["a missing field", { payload: encodeValue({ orderId }) }],
    ["an unknown field", { payload: encodeValue({ ...parcel, more: 1 }) }],
    ["a field of another type", { payload: encodeValue({ ...parcel, carrier: 1 }) }],
    ["a truncated payload", { payload: encodeValue(parcel).slice(0, -1) }],
    ["an empty payload", { payload: new Uint8Array(0) }],
    ["msgpack nested 10,000 deep", { payload: new Uint8Array(10_000).fill(0x91) }],
    ["JSON nested 10,000 deep", { flags: FLAG_JSON, payload: text(nested) }],
    ["JSON cut short", { flags: FLAG_JSON, payload: text(shipped.slice(0, -1)) }],
    ["JSON that is not UTF-8", { flags: FLAG_JSON, payload: Uint8Array.of(0x22, 0xff, 0x22) }],
    ["JSON under another key", { flags: FLAG_JSON, payload: text(shipped), key: "another" }],
    [
      "a prototype in JSON",
      { flags: FLAG_JSON, payload: text(shipped.replace("{", '{"__proto__":{"a":1},')) },
    ],
  ])("%s", (_what, fields) => {
    expect(refusal(() => decodeEvent(frameWith(fields)))).toBe("BAD_MESSAGE/never");
  });

  test("of JSON that is too deep nothing but its depth is found out", () => {
    const deep = frameWith({ flags: FLAG_JSON, payload: text(nested) });
    expect(() => decodeEvent(deep)).toThrow("nested deeper than 16");
  });

  test("JSON that does not fit names the place, also deep inside", () => {
    const lines = [{ productId: "p", quantity: "2", priceMinor: 1 }];
    const payload = text(
      JSON.stringify({ orderId, customerId: "c", items: lines, totalMinor: 1, currency: "EUR" }),
    );
    const frame = frameWith({ type: 1, flags: FLAG_JSON, payload });
    expect(() => decodeEvent(frame)).toThrow("order.created does not fit at /items/0/quantity");
    const moved = frameWith({ flags: FLAG_JSON, payload: text(shipped), key: "another" });
    expect(() => decodeEvent(moved)).toThrow("/orderId: it is not the key");
  });

  test("arbitrary bytes of any event are an event or BAD_MESSAGE", () => {
    const numbers = fc.constantFrom(...EVENTS.map(({ number }) => number));
    const payloads = fc.uint8Array({ maxLength: 200 });
    fc.assert(
      fc.property(numbers, payloads, fc.constantFrom(0, FLAG_JSON), (type, payload, flags) => {
        const outcome = refusal(() => decodeEvent(frameWith({ type, payload, flags })));
        expect(["BAD_MESSAGE/never", "nothing refused"]).toContain(outcome);
      }),
    );
  });

  test("an event that does not fit its contract is not sent either", () => {
    const event: ShopEvent = { type: "order.shipped", ...parcel, trackingNumber: "" };
    expect(refusal(() => encodeEvent(event, options))).toBe("BAD_MESSAGE/never");
  });
});
