/**
 * What `patches/` adds to the client library: frames that its caller encoded, on a real channel of
 * it without a server. They count, wait, and end like those of `publish`, and like them are refused
 * by a channel that is closed.
 */

import { IllegalOperationError } from "amqplib";
import { expect, test } from "bun:test";

import { decodeMessages, openLibraryChannel } from "./amqp-library.fixture.ts";
import { PublishEncoder } from "./publish-encoder.ts";

const FRAME_BYTES_MAX = 4_096;

function open(bufferWrites?: number) {
  const opened = openLibraryChannel(1, FRAME_BYTES_MAX, bufferWrites);
  const { connection, channel } = opened;
  const encoder = new PublishEncoder({
    channel: channel.ch,
    frameBytesMax: connection.frameMax,
    copyPrefix: "o-",
  });
  const publishEncoded = (...keys: string[]): boolean => {
    const content = Buffer.from("body");
    for (const routingKey of keys) {
      encoder.add({ exchange: "x", routingKey, content, options: {} }, 1);
    }
    return channel.publishEncoded(encoder.take(), keys.length);
  };
  const publish = (key: string): boolean => channel.publish("x", key, Buffer.from("body"));
  return { ...opened, publish, publishEncoded };
}

test("they go out in the order they were given in, with what the library encodes", async () => {
  const { publish, publishEncoded, written } = open();
  publish("a");
  publishEncoded("b", "c");
  publish("d");
  publishEncoded("e");
  const keys = decodeMessages(await written(), FRAME_BYTES_MAX).map(({ routingKey }) => routingKey);
  expect(keys).toEqual(["a", "b", "c", "d", "e"]);
});

test("each message of them has a number of its own, as the server counts", async () => {
  const { channel, publish, publishEncoded, written } = open();
  publishEncoded("a", "b");
  const third = new Promise(
    (resolve) => void channel.publish("x", "c", Buffer.alloc(0), {}, resolve),
  );
  publish("d");
  channel.emit("ack", { deliveryTag: 3, multiple: false });
  expect(await third).toBeNull();
  let isConfirmed = false;
  const all = channel.waitForConfirms().then(() => (isConfirmed = true));
  channel.emit("ack", { deliveryTag: 2, multiple: true });
  await written(); // whatever could be told is told by then
  expect(isConfirmed).toBe(false);
  channel.emit("ack", { deliveryTag: 4, multiple: false });
  await all;
});

test("one that is declined is told to whoever waits for all", async () => {
  const { channel, publishEncoded } = open();
  publishEncoded("a", "b");
  const all = channel.waitForConfirms();
  channel.emit("nack", { deliveryTag: 1, multiple: false });
  channel.emit("ack", { deliveryTag: 2, multiple: false });
  expect(await all.catch(String)).toBe("Error: message nacked");
});

test("they are a sign of life: no heartbeat beside them", () => {
  const { connection, publishEncoded } = open();
  connection.checkSend();
  publishEncoded("a");
  expect([connection.checkSend(), connection.checkSend()]).toEqual([true, false]);
});

test("a full buffer is told, and when it has room again", async () => {
  const { channel, publishEncoded, written } = open(2);
  const other = open(2);
  const drained = new Promise<string>((resolve) => channel.on("drain", () => resolve("drained")));
  const keys = ["a", "b", "c", "d", "e"];
  const hasRoom = keys.map((key) => publishEncoded(key, key));
  expect(hasRoom).toEqual(keys.map((key) => other.publish(key)));
  expect(hasRoom).toContain(false);
  expect(decodeMessages(await written(), FRAME_BYTES_MAX)).toHaveLength(2 * keys.length);
  expect(await drained).toBe("drained");
});

test("a channel that closes or is closed takes none, and tells of what it had", async () => {
  const closing = open();
  closing.publishEncoded("a");
  void closing.channel.close();
  expect(() => closing.publishEncoded("b")).toThrow(IllegalOperationError);
  const closed = open();
  closed.publishEncoded("a");
  closed.channel.toClosed("");
  expect(() => closed.publishEncoded("b")).toThrow(IllegalOperationError);
  expect(await closed.channel.waitForConfirms().catch(String)).toBe("Error: channel closed");
  const lost = open();
  lost.connection.close();
  expect(() => lost.publishEncoded("a")).toThrow(IllegalOperationError);
});
