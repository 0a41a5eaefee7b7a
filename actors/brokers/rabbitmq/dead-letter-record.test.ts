/**
 * Dead letters as messages: what is written is read back, and what the server moved is understood.
 *
 * The headers of moved messages are as a real server writes them.
 */

import { expect, test } from "bun:test";

import { letterHeaders, readLetter } from "./dead-letter-record.ts";
import { decodeMemory, encodeMemory } from "./memory-record.ts";

const BYTES = Uint8Array.of(1, 2, 3);
const BURIAL = { reason: "poison", attempts: 5, firstError: "first", lastError: "last" };
const HEAD = {
  group: "g",
  topic: "t",
  partition: 3,
  sequence: 17,
  burial: BURIAL,
  buriedAtMs: 1_700_000_000_123,
  copy: "origin-1",
};

test("a letter is read back as it was written", () => {
  const { copy: _copy, ...letter } = HEAD;
  expect(readLetter("t", BYTES, letterHeaders(42, HEAD))).toEqual({
    ...letter,
    id: 42,
    bytes: BYTES,
  });
});

test("errors of any length are cut to a bound", () => {
  const burial = { ...BURIAL, firstError: "x".repeat(1_000_000) };
  const letter = readLetter("t", BYTES, letterHeaders(1, { ...HEAD, burial }));
  expect(letter?.burial.firstError).toHaveLength(4_096);
});

test("a frame that the server gave up on says from which group, and why", () => {
  const moved = {
    "x-delivery-count": 101,
    "x-death": [
      {
        count: 1,
        reason: "delivery_limit",
        queue: "shopstream.orders.payment.7",
        time: { "!": "timestamp", value: 1_700_000_000 },
        exchange: "shopstream.orders",
        "routing-keys": ["7"],
      },
    ],
  };
  expect(readLetter("orders", BYTES, moved)).toMatchObject({
    group: "payment",
    topic: "orders",
    partition: 7,
    burial: { reason: "delivery_limit", attempts: 101 },
    buriedAtMs: 1_700_000_000_000,
  });
});

test("what is no letter is nothing", () => {
  expect(readLetter("t", BYTES, {})).toBeUndefined();
  expect(readLetter("t", BYTES, { group: "g" })).toBeUndefined();
});

test("what a group remembers is read back, and what it did not write is nothing", () => {
  const postponed = {
    kind: "postponed",
    copy: "c",
    attempt: 4,
    notBeforeMs: 99,
    error: "e",
  } as const;
  expect(decodeMemory(encodeMemory(postponed))).toEqual(postponed);
  expect(decodeMemory(encodeMemory({ kind: "burying", copy: "c" }))).toEqual({
    kind: "burying",
    copy: "c",
  });
  for (const text of ["", "[]", '{"kind":"postponed"}', '{"kind":"other","copy":"c"}']) {
    expect(decodeMemory(new TextEncoder().encode(text))).toBeUndefined();
  }
});
