/**
 * What is encoded, against the client library's own encoder on a socket without a server.
 *
 * Any names, sizes and options have the same bytes; headers and long strings are refused.
 */

import fc from "fast-check";

import { expect, test } from "bun:test";

import type { RabbitMessage } from "./publish-encoder.ts";

import { decodeMessages, openLibraryChannel } from "./amqp-library.fixture.ts";
import { PublishEncoder } from "./publish-encoder.ts";

/** Two octets that differ. */
const CHANNEL = 258;
/** The least that the protocol allows. */
const FRAME_BYTES_MAX = 4_096;
const BODY_BYTES_MAX = FRAME_BYTES_MAX - 8;
const COPY_PREFIX = "origin-";

function newEncoder(): PublishEncoder {
  return new PublishEncoder({
    channel: CHANNEL,
    frameBytesMax: FRAME_BYTES_MAX,
    copyPrefix: COPY_PREFIX,
  });
}

function messageOf(message: Partial<RabbitMessage> = {}): RabbitMessage {
  return { exchange: "x", routingKey: "k", content: Buffer.from("body"), options: {}, ...message };
}

const aName = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }),
  fc.constantFrom("a", "b", "x".repeat(255), "\u20ac".repeat(85)),
);
const aSize = fc.oneof(
  fc.nat({ max: 300 }),
  fc.constantFrom(
    0,
    ...[1, 2, 17].flatMap((frames) => [-1, 0, 1].map((d) => d + frames * BODY_BYTES_MAX)),
  ),
);
const aMessage = fc.record({
  exchange: aName,
  routingKey: aName,
  content: aSize.chain((size) =>
    fc.nat({ max: 255 }).map((first) => Buffer.alloc(size).map((_, at) => first + at) as Buffer),
  ),
  options: fc.record({ contentType: aName, messageId: aName }, { requiredKeys: [] }),
});

test("the bytes are those that the client library writes for the same options", async () => {
  const { channel, written } = openLibraryChannel(CHANNEL, FRAME_BYTES_MAX);
  const steps = fc.array(fc.tuple(aMessage, fc.boolean()), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 2 ** 50 }), async (messages, first) => {
      const encoder = newEncoder();
      const pieces: Buffer[] = [];
      for (const [index, [message, isTaken]] of messages.entries()) {
        const { exchange, routingKey, content, options } = message;
        const correlationId = `${COPY_PREFIX}${first + index}`;
        const always = { correlationId, mandatory: true, persistent: true };
        channel.publish(exchange, routingKey, content, { ...options, ...always });
        expect(encoder.add(message, first + index)).toBe(true);
        if (isTaken) pieces.push(encoder.take());
      }
      pieces.push(encoder.take());
      expect(Buffer.concat(pieces).equals(await written())).toBe(true);
    }),
  );
});

test("what was taken stays as it is while more is added", () => {
  const encoder = newEncoder();
  encoder.add(messageOf({ content: Buffer.from("first") }), 1);
  const { count, bytes } = encoder;
  const taken = encoder.take();
  expect([count, bytes, encoder.count, encoder.bytes]).toEqual([1, taken.byteLength, 0, 0]);
  for (let copy = 2; copy < 1_000; copy++) encoder.add(messageOf(), copy);
  expect(encoder.count).toBe(998);
  expect(decodeMessages(taken, FRAME_BYTES_MAX).map(({ content }) => content.toString())).toEqual([
    "first",
  ]);
});

test("all places that are used are kept, as long as they are not without number", () => {
  const encoder = newEncoder();
  const content = Buffer.alloc(0);
  const keys = Array.from({ length: 70_000 }, (_, index) => String(index % 65_537));
  const seen: string[] = [];
  const take = (): void => {
    const messages = decodeMessages(encoder.take(), FRAME_BYTES_MAX);
    for (const { routingKey } of messages) seen.push(routingKey);
  };
  for (const [index, routingKey] of keys.entries()) {
    encoder.add(messageOf({ routingKey, content }), index);
    if (index % 100 === 0) take();
    if (index === 65_535) expect(encoder.places).toBe(65_536);
  }
  take();
  expect(encoder.places).toBe(70_000 - 65_536);
  for (const contentType of ["a", "b", "a"]) {
    encoder.add(messageOf({ options: { contentType } }), 1);
  }
  expect(encoder.places).toBe(70_000 - 65_536 + 1);
  expect(seen).toEqual(keys);
});

test("headers and strings that are too long are left to the library, and nothing is added", () => {
  const encoder = newEncoder();
  const long = "\u20ac".repeat(86);
  const unfit = [
    messageOf({ exchange: long }),
    messageOf({ routingKey: long }),
    messageOf({ options: { contentType: long } }),
    messageOf({ options: { messageId: long } }),
    messageOf({ options: { headers: {} } }),
  ];
  for (const message of unfit) expect(encoder.add(message, 1)).toBe(false);
  expect([encoder.count, encoder.bytes]).toEqual([0, 0]);
});
