/**
 * What `patches/` adds to the client library's receiving: messages that are decoded when asked.
 *
 * A real connection of it without a server is given bytes, in pieces of any size, once with
 * consumers of its own kind and once with lazy ones: both get the same, in the same order, and the
 * same becomes of their channels and of the connection.
 */

import fc from "fast-check";

import type { Channel, ConsumeMessage, LazyMessage } from "amqplib";

import { expect, test } from "bun:test";

import type { ServedClient, ServerMessage } from "./amqp-server.fixture.ts";

import { assert } from "../../../runtime/errors.ts";
import {
  encodeDelivery,
  encodeReturn,
  FRAME_BYTES_MAX,
  openServedClient,
} from "./amqp-server.fixture.ts";

/** What a consumer heard: of which channel, and what. */
interface Heard {
  readonly tag: string;
  readonly deliveryTag?: number;
  readonly text?: string;
  readonly properties?: object;
  readonly hasHeaders?: boolean;
}
type Kind = "ordinary" | "lazy";

const KINDS = ["ordinary", "lazy"] as const;
const CHANNELS = 3;

interface Rig extends ServedClient {
  readonly channels: readonly Channel[];
  readonly heard: Heard[];
  /** Tags of messages that were read where they lay. */
  readonly short: readonly number[];
  consume(channel: number, tag: string, as?: Kind): Promise<void>;
}

async function open(kind: Kind, onHeard: (heard: Heard) => void = () => undefined): Promise<Rig> {
  const client = await openServedClient();
  const channels: Channel[] = [];
  while (channels.length < CHANNELS) channels.push(await client.channel());
  const heard: Heard[] = [];
  const short: number[] = [];
  const hear = (one: Heard): void => {
    heard.push(one);
    onHeard(one);
  };
  const consume = async (number: number, tag: string, as = kind): Promise<void> => {
    const channel = channels[number - 1];
    assert(channel !== undefined, "there is such a channel");
    const consuming =
      as === "ordinary"
        ? channel.consume("q", (message) => hear(heardOf(tag, message)))
        : channel.consumeLazily("q", (message) => {
            if (message?.constructor.name === "LazyMessage") short.push(message.deliveryTag);
            hear(lazilyHeardOf(tag, message));
          });
    await client.say("BasicConsumeOk", number, { consumerTag: tag });
    await consuming;
  };
  return { ...client, channels, heard, short, consume };
}

function heardOf(tag: string, message: ConsumeMessage | null): Heard {
  if (message === null) return { tag };
  const { content, fields, properties } = message;
  const hasHeaders = Object.keys(properties.headers ?? {}).length > 0;
  const { deliveryTag } = fields;
  return { tag, deliveryTag, text: content.toString("latin1"), properties, hasHeaders };
}

function lazilyHeardOf(tag: string, message: LazyMessage | null): Heard {
  if (message === null) return { tag };
  const { bytes, deliveryTag, hasHeaders, properties } = message;
  return { tag, deliveryTag, text: Buffer.from(bytes).toString("latin1"), properties, hasHeaders };
}

function messageOf(message: Partial<ServerMessage> = {}): ServerMessage {
  const base = { channel: 1, tag: "c1", deliveryTag: 1, redelivered: false, routingKey: "k" };
  return { ...base, properties: { headers: {} }, parts: [Buffer.from("body")], ...message };
}

const aShort = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.constant("x".repeat(255)),
);
const aHeader: fc.Arbitrary<unknown> = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, min: -1e9, max: 1e9 }),
  fc.boolean(),
  fc.constant(null),
  fc.string({ maxLength: 300 }),
  fc.array(fc.integer(), { maxLength: 3 }),
  fc.constant({ "!": "timestamp", value: 1_700_000_000 }),
  fc.constant({ inner: { "x-delivery-count": 3 } }),
);
const someProperties = fc.record(
  {
    contentType: aShort,
    contentEncoding: aShort,
    headers: fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), aHeader, { maxKeys: 3 }),
    deliveryMode: fc.constantFrom(1, 2),
    priority: fc.nat({ max: 255 }),
    correlationId: aShort,
    replyTo: aShort,
    expiration: aShort,
    messageId: aShort,
    timestamp: fc.nat(),
    type: aShort,
    userId: aShort,
    appId: aShort,
  },
  { requiredKeys: [] },
);
const aPart = fc.uint8Array({ minLength: 1, maxLength: 80 }).map((bytes) => Buffer.from(bytes));
const aMessage: fc.Arbitrary<ServerMessage> = fc
  .record({
    channel: fc.integer({ min: 1, max: CHANNELS }),
    deliveryTag: fc.integer({ min: 1, max: 2 ** 53 - 1 }),
    redelivered: fc.boolean(),
    routingKey: aShort,
    properties: someProperties,
    parts: fc.oneof(fc.tuple(aPart), fc.array(aPart, { maxLength: 3 })),
  })
  .map((message) => ({ ...message, tag: `c${message.channel}` }));

/** What both kinds heard of the same, and what became of the connection. */
async function both(act: (rig: Rig, kind: Kind) => Promise<void>): Promise<readonly Rig[]> {
  const rigs: Rig[] = [];
  for (const kind of KINDS) {
    const rig = await open(kind);
    await act(rig, kind);
    rigs.push(rig);
  }
  const [ordinary, lazy] = rigs;
  expect(lazy?.heard).toEqual(ordinary?.heard ?? []);
  expect(lazy?.faults).toEqual(ordinary?.faults ?? []);
  return rigs;
}

test("a lazy consumer gets what an ordinary one does, in pieces of any size", async () => {
  const stream = fc.record({
    messages: fc.array(aMessage, { minLength: 1, maxLength: 12 }),
    cuts: fc.array(fc.nat({ max: 4_000 }), { maxLength: 8 }),
  });
  await fc.assert(
    fc.asyncProperty(stream, async ({ messages, cuts }) => {
      const bytes = Buffer.concat(messages.map(encodeDelivery));
      const ends = [...cuts.toSorted((a, b) => a - b), bytes.byteLength];
      const rigs = await both(async (rig) => {
        for (let at = 1; at <= CHANNELS; at++) await rig.consume(at, `c${at}`);
        for (const [at, end] of ends.entries()) {
          await rig.receive(bytes.subarray(ends[at - 1] ?? 0, end));
        }
      });
      expect(rigs[1]?.heard).toHaveLength(messages.length);
      expect(rigs[1]?.faults).toEqual([]);
    }),
    { numRuns: 100 },
  );
}, 60_000);

test("a message that came whole is read where it lies, one that did not is decoded", async () => {
  const [, lazy] = await both(async (rig) => {
    await rig.consume(1, "c1");
    const halves = [Buffer.from("bo"), Buffer.from("dy")];
    const parts = [undefined, halves, []].map((of, at) =>
      encodeDelivery(
        messageOf({ deliveryTag: at + 1, ...(of === undefined ? {} : { parts: of }) }),
      ),
    );
    await rig.receive(Buffer.concat(parts));
    const cut = encodeDelivery(messageOf({ deliveryTag: 4 }));
    for (const octet of cut) await rig.receive(Buffer.from([octet]));
    const whole = encodeDelivery(messageOf({ deliveryTag: 5 }));
    await rig.receive(Buffer.concat([whole, cut.subarray(0, 9)]));
  });
  expect(lazy?.short).toEqual([1, 3, 5]);
  expect(lazy?.heard.map(({ text }) => text)).toEqual(["body", "body", "", "body", "body"]);
});

test("a second consumer of the channel gets its own, and the first no more than that", async () => {
  const [, lazy] = await both(async (rig, kind) => {
    const send = (deliveryTag: number, tag: string): Promise<void> =>
      rig.receive(encodeDelivery(messageOf({ deliveryTag, tag })));
    await rig.consume(1, "c1");
    await send(1, "c1");
    await rig.consume(1, "c2", kind);
    await send(2, "c1");
    await send(3, "c2");
    const cancelling = rig.channels[0]?.cancel("c2");
    await rig.say("BasicCancelOk", 1, { consumerTag: "c2" });
    await cancelling;
    await send(4, "c1");
  });
  expect(lazy?.heard.map(({ tag }) => tag)).toEqual(["c1", "c1", "c2", "c1"]);
});

test("a consumer that the server cancels is told, and then gets no more", async () => {
  await both(async (rig) => {
    await rig.consume(1, "c1");
    await rig.say("BasicCancel", 1, { consumerTag: "c1", nowait: true });
    expect(rig.heard).toEqual([{ tag: "c1" }]);
    const errors: string[] = [];
    rig.channels[0]?.on("error", ({ message }) => void errors.push(message));
    await rig.receive(encodeDelivery(messageOf()));
    await rig.say("ChannelCloseOk", 1);
    expect(errors).toEqual(["Unknown consumer: c1"]);
    expect(rig.heard).toHaveLength(1);
  });
});

test("what comes to a channel or connection that closes or is closed is dropped", async () => {
  await both(async (rig) => {
    const send = (channel: number): Promise<void> =>
      rig.receive(encodeDelivery(messageOf({ channel, tag: `c${channel}` })));
    for (let at = 1; at <= CHANNELS; at++) await rig.consume(at, `c${at}`);
    void rig.channels[0]?.close();
    await send(1);
    await send(2);
    void rig.model.close();
    await send(3);
    expect(rig.heard.map(({ tag }) => tag)).toEqual(["c2"]);
    await rig.say("ConnectionCloseOk", 0);
    await send(3);
    expect(rig.heard).toHaveLength(1);
  });
});

test("what came together with a message whose consumer ends everything is dropped", async () => {
  for (const kind of KINDS) {
    const rig: Rig = await open(kind, () => void rig.model.close());
    await rig.consume(1, "c1");
    const messages = [1, 2, 3].map((deliveryTag) => encodeDelivery(messageOf({ deliveryTag })));
    await rig.receive(Buffer.concat(messages));
    expect(rig.heard.map(({ deliveryTag }) => deliveryTag)).toEqual([1]);
  }
});

test("a consumer that throws costs it its channel, or is told to who listens", async () => {
  const errors: string[][] = [];
  for (const kind of KINDS) {
    const rig = await open(kind, ({ tag }) => {
      throw new Error(`${tag} threw`);
    });
    const told: string[] = [];
    const [first, second] = rig.channels;
    first?.on("error", (error: Error) => void told.push(`error: ${error.message}`));
    second?.on("handler-error", (error: Error) => void told.push(`handler: ${error.message}`));
    for (const channel of [1, 2]) {
      await rig.consume(channel, `c${channel}`);
      await rig.receive(encodeDelivery(messageOf({ channel, tag: `c${channel}` })));
    }
    await rig.receive(encodeDelivery(messageOf({ channel: 2, tag: "c2" })));
    await rig.say("ChannelCloseOk", 1);
    errors.push(told.toSorted());
    expect(rig.faults).toEqual([]);
  }
  expect(errors[0]).toEqual(["error: c1 threw", "handler: c2 threw", "handler: c2 threw"]);
  expect(errors[1]).toEqual(errors[0] ?? []);
});

test("a message that comes back is not taken for a delivery", async () => {
  await both(async (rig) => {
    const returned: string[] = [];
    rig.channels[0]?.on("return", ({ content }) => void returned.push(content.toString()));
    await rig.consume(1, "c1");
    await rig.receive(encodeReturn(messageOf()));
    expect(returned).toEqual(["body"]);
    expect(rig.heard).toEqual([]);
  });
});

test("a frame that is larger than was agreed on is refused though it is all there", async () => {
  const [, lazy] = await both(async (rig) => {
    await rig.consume(1, "c1");
    const sizes = [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1];
    const messages = sizes.map((size) => messageOf({ parts: [Buffer.alloc(size)] }));
    await rig.receive(Buffer.concat(messages.map(encodeDelivery)));
  });
  expect(lazy?.short).toEqual([1]);
  expect(lazy?.faults.at(-1)).toContain("exceeds maxFrameSize");
});

test("frames that are not as they should be are refused like those of others", async () => {
  const sound = encodeDelivery(messageOf({ deliveryTag: 1 }));
  const ends = [...sound.entries()].filter(([, octet]) => octet === 0xce).map(([at]) => at);
  expect(ends).toHaveLength(3);
  const [afterMethod = 0, afterHeader = 0] = ends;
  const broken: readonly (readonly [at: number, octet: number])[] = [
    ...ends.map((at) => [at, 0xcf] as const),
    [afterMethod + 1, 3], // a body where the header should be
    [11, 0xff], // the consumer's tag longer than its frame
    [afterMethod + 3, 2], // a header of another channel
    [afterMethod + 9, 61], // a header of no class
    [afterHeader + 1, 9], // a frame of no kind
    [afterHeader + 4, 0x7f], // larger than any may be
    [afterMethod + 8 + 12 - 1, 3], // a body smaller than what comes
  ];
  for (const [at, octet] of broken) {
    const bytes = Buffer.from(sound);
    bytes[at] = octet;
    const rigs = await both(async (rig) => {
      for (const channel of rig.channels) channel.on("error", (error: Error) => void error);
      await rig.consume(1, "c1");
      await rig.receive(Buffer.concat([sound, bytes]));
      await rig.say("ChannelCloseOk", 1);
      rig.faults.push(String(rig.heard.length));
    });
    expect(rigs[1]?.short).toEqual([1]);
  }
});
