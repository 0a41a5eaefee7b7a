/**
 * Publishing on one channel: the window, full buffers, deadlines, losses, and a close.
 *
 * The channel is a fake that keeps what it is given and confirms when told; time is virtual.
 */

import { IllegalOperationError } from "amqplib";
import { expect, test } from "bun:test";
import { EventEmitter } from "node:events";

import type { ConfirmChannel, Options } from "amqplib";

import type { RabbitMessage } from "./publish-encoder.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { decodeMessages } from "./amqp-library.fixture.ts";
import { ConfirmLane } from "./confirm-lane.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

/** Larger than what the lane gives to the channel at a time. */
const LARGE_BYTES = 100_000;

class FakeChannel extends EventEmitter {
  readonly ch = 5;
  readonly connection = { frameMax: 4_096 };
  readonly taken: { readonly key: string; readonly tag: string }[] = [];
  /** Times that something was given. */
  writes = 0;
  hasRoom = true;
  /** The library closes the connection by itself, and has not said so. */
  isClosing = false;

  publish(_exchange: string, key: string, _content: Buffer, options: Options.Publish): boolean {
    if (key.startsWith("unfit")) throw new TypeError("Field 'routingKey' is the wrong type");
    this.#refuseClosing();
    this.writes++;
    this.taken.push({ key, tag: options.correlationId ?? "" });
    return this.hasRoom;
  }

  publishEncoded(bytes: Buffer, count: number): boolean {
    this.#refuseClosing();
    const messages = decodeMessages(bytes, this.connection.frameMax);
    expect(messages).toHaveLength(count);
    this.writes++;
    for (const { channel, routingKey, correlationId, mandatory } of messages) {
      expect([channel, mandatory]).toEqual([this.ch, true]);
      this.taken.push({ key: routingKey, tag: correlationId });
    }
    return this.hasRoom;
  }

  #refuseClosing(): void {
    if (this.isClosing) throw new IllegalOperationError("Channel closing");
  }

  keys(): string[] {
    return this.taken.map(({ key }) => key);
  }

  confirm(...keys: string[]): void {
    for (const [index, { key }] of this.taken.entries()) {
      if (keys.includes(key)) this.emit("ack", { deliveryTag: index + 1, multiple: false });
    }
  }

  confirmUpTo(key: string): void {
    this.emit("ack", { deliveryTag: this.keys().lastIndexOf(key) + 1, multiple: true });
  }

  decline(key: string): void {
    this.emit("nack", { deliveryTag: this.keys().indexOf(key) + 1, multiple: false });
  }
}

function createLane(settings: Partial<RabbitSettings> = {}, gatherMs = 0) {
  const environment = createVirtualEnvironment();
  const lane = new ConfirmLane(environment, { ...RABBIT_SETTINGS, ...settings }, gatherMs);
  const connect = (): FakeChannel => {
    const channel = new FakeChannel();
    lane.open(channel as EventEmitter as ConfirmChannel); // the lane uses what the fake has
    return channel;
  };
  /** Settled with: nothing yet, `stored`, or an error's code. */
  const send = (...keys: string[]): { answer: string } => {
    const seen = { answer: "" };
    lane.send(keys.map((key) => messageOf(key))).then(
      () => (seen.answer = "stored"),
      (error: unknown) => (seen.answer = isShopError(error) ? error.code : String(error)),
    );
    return seen;
  };
  return { environment, lane, connect, send };
}

/** Some are large, and some the library has to encode. */
function messageOf(key: string): RabbitMessage {
  const content = Buffer.alloc(key.startsWith("large") ? LARGE_BYTES : 10);
  const options = /^(?:headed|unfit)/.test(key) ? { headers: { h: 1 } } : {};
  return { exchange: "x", routingKey: key, content, options };
}

test("a batch is stored when all of it is confirmed, in whatever order", async () => {
  const { environment, connect, send } = createLane();
  const channel = connect();
  const batch = send("a", "b", "c");
  channel.confirm("c", "a");
  await environment.settle();
  expect(batch.answer).toBe("");
  channel.confirm("b");
  await environment.settle();
  expect(batch.answer).toBe("stored");
});

test("no more is sent than the window allows, in frames and in bytes, and in order", async () => {
  for (const window of [{ confirmWindowFrames: 2 }, { confirmWindowBytes: 20 }]) {
    const { connect, send } = createLane(window);
    const channel = connect();
    send("a", "b", "c");
    send("d");
    expect(channel.keys()).toEqual(["a", "b"]);
    channel.confirm("a");
    expect(channel.keys()).toEqual(["a", "b", "c"]);
    channel.confirmUpTo("c");
    expect(channel.keys()).toEqual(["a", "b", "c", "d"]);
  }
});

test("what the library buffered is not sent again, and nothing more until it has room", () => {
  const { connect, send } = createLane();
  const channel = connect();
  for (const kind of ["large", "headed"]) {
    channel.taken.length = 0;
    channel.hasRoom = false;
    send(`${kind} a`, `${kind} b`);
    expect(channel.keys()).toEqual([`${kind} a`]);
    channel.hasRoom = true;
    channel.emit("drain");
    expect(channel.keys()).toEqual([`${kind} a`, `${kind} b`]);
  }
});

test("what goes out in one turn is given in one piece, as long as it is small", () => {
  const { connect, send } = createLane();
  const channel = connect();
  send("a", "b", "c");
  expect(channel.writes).toBe(1);
  send("large a", "b", "large c", "d");
  expect(channel.writes).toBe(4);
  expect(channel.keys()).toEqual(["a", "b", "c", "large a", "b", "large c", "d"]);
});

test("what only the library can encode keeps its place, and its number", async () => {
  const { environment, connect, send } = createLane();
  const channel = connect();
  const before = send("a");
  const mixed = send("b", "headed c", "d");
  expect(channel.keys()).toEqual(["a", "b", "headed c", "d"]);
  expect(new Set(channel.taken.map(({ tag }) => tag)).size).toBe(4);
  channel.emit("return", { properties: { correlationId: channel.taken[2]?.tag } });
  channel.confirmUpTo("d");
  await environment.settle();
  expect([before.answer, mixed.answer]).toEqual(["stored", "INDETERMINATE"]);
});

test("what cannot be encoded is refused alone: others go on under their own numbers", async () => {
  const { environment, connect, send } = createLane({ confirmWindowFrames: 3 });
  const early = send("a");
  const unfit = send("unfit", "never sent");
  const inDoubt = send("b", "unfit");
  const channel = connect();
  const late = send("c", "d");
  expect(channel.keys()).toEqual(["a", "b", "c"]);
  channel.confirm("c", "a");
  expect(channel.keys()).toEqual(["a", "b", "c", "d"]);
  channel.confirm("d");
  await environment.settle();
  const answers = [early, unfit, inDoubt, late].map(({ answer }) => answer);
  expect(answers).toEqual(["stored", "BAD_MESSAGE", "INDETERMINATE", "stored"]);
});

test("under traffic frames go out together when their time is over, or with a close", async () => {
  const { environment, lane, connect, send } = createLane({}, 20);
  const channel = connect();
  const names = Array.from({ length: 10 }, (_, index) => `frame ${index}`);
  send(...names);
  expect(channel.keys()).toEqual(names);
  await environment.advance(20);
  send("a");
  channel.confirm(...names);
  send("b");
  expect(channel.keys()).toEqual(names);
  await environment.advance(20);
  expect(channel.keys()).toEqual([...names, "a", "b"]);
  send(...names);
  await environment.advance(20);
  const last = send("z");
  expect(channel.keys()).not.toContain("z");
  void lane.close();
  channel.confirm(...channel.keys());
  await environment.settle();
  expect(last.answer).toBe("stored");
});

test("a message that found no queue is told, though the server confirms it", async () => {
  const { environment, connect, send } = createLane();
  connect().emit("close");
  send("lost");
  connect().emit("close");
  const channel = connect();
  const first = send("a");
  const batch = send("b");
  channel.emit("return", { properties: { correlationId: channel.taken[1]?.tag } });
  channel.confirmUpTo("b");
  await environment.settle();
  expect([first.answer, batch.answer]).toEqual(["stored", "UNKNOWN_TOPIC"]);
});

test("what the server declines is not stored; in a batch with others it is uncertain", async () => {
  const { environment, connect, send } = createLane();
  const channel = connect();
  const refused = send("a");
  const mixed = send("b", "c");
  channel.decline("a");
  channel.decline("c");
  channel.confirmUpTo("c");
  await environment.settle();
  expect([refused.answer, mixed.answer]).toEqual(["STORAGE_FULL", "INDETERMINATE"]);
});

test("no two copies have one name, on whichever channel", () => {
  const { connect, send } = createLane();
  const first = connect();
  send("a", "b");
  first.emit("close");
  const second = connect();
  send("a");
  const tags = [...first.taken, ...second.taken].map(({ tag }) => tag);
  expect(new Set(tags).size).toBe(3);
});

test("a lost channel leaves in doubt what was sent; the rest goes out on the next", async () => {
  const { environment, connect, send } = createLane({ confirmWindowFrames: 1 });
  const first = connect();
  const sent = send("a");
  const waiting = send("b");
  first.emit("close");
  // What an earlier channel still says is no answer.
  first.decline("a");
  await environment.settle();
  expect([sent.answer, waiting.answer]).toEqual(["INDETERMINATE", ""]);
  const second = connect();
  expect(second.keys()).toEqual(["b"]);
  first.confirm("a");
  await environment.settle();
  expect(waiting.answer).toBe("");
  first.decline("a");
  await environment.settle();
  expect(waiting.answer).toBe("");
  second.confirm("b");
  await environment.settle();
  expect(waiting.answer).toBe("stored");
});

test("a channel closing by itself is lost; what was not sent goes out on the next", async () => {
  for (const gatherMs of [0, 20]) {
    const { environment, connect, send } = createLane({}, gatherMs);
    const first = connect();
    const many = Array.from({ length: 10 }, (_, index) => `frame ${index}`);
    send(...many);
    await environment.advance(gatherMs);
    first.isClosing = true;
    const inDoubt = send("a", "b");
    await environment.advance(gatherMs);
    // Only the library can encode it, and it was not given any part of it.
    const alone = send("headed c", "d");
    await environment.advance(gatherMs);
    expect([inDoubt.answer, alone.answer]).toEqual(["INDETERMINATE", ""]);
    first.emit("close");
    const second = connect();
    expect(second.keys()).toEqual(["headed c", "d"]);
    second.confirmUpTo("d");
    await environment.settle();
    expect(alone.answer).toBe("stored");
  }
});

test("what the library has to encode is not sent when the channel closes before it", async () => {
  const { environment, connect, send } = createLane({ confirmWindowFrames: 2 });
  const first = connect();
  send("a", "b");
  const encoded = send("c");
  const alone = send("headed d");
  first.isClosing = true;
  first.confirmUpTo("b");
  await environment.settle();
  expect([encoded.answer, alone.answer]).toEqual(["INDETERMINATE", ""]);
  const second = connect();
  expect(second.keys()).toEqual(["headed d"]);
  // Behind others of its batch it is in doubt with them.
  second.confirm("headed d");
  second.isClosing = true;
  const mixed = send("e", "headed f");
  await environment.settle();
  expect([alone.answer, mixed.answer]).toEqual(["stored", "INDETERMINATE"]);
  const third = connect();
  third.isClosing = true;
  const notGiven = send("headed g");
  await environment.settle();
  expect([notGiven.answer, connect().keys()]).toEqual(["", ["headed g"]]);
});

test("every batch is answered in time: in doubt if sent, not stored if not", async () => {
  const { environment, connect, send } = createLane({ confirmWindowFrames: 1 });
  const unsent = send("z");
  await environment.advance(RABBIT_SETTINGS.publishTimeoutMs + RABBIT_SETTINGS.fullWaitMs);
  expect(unsent.answer).toBe("STORAGE_FAULT");
  const channel = connect();
  const sent = send("a");
  const behind = send("b");
  await environment.advance(RABBIT_SETTINGS.publishTimeoutMs + RABBIT_SETTINGS.fullWaitMs);
  expect([sent.answer, behind.answer]).toEqual(["INDETERMINATE", "STORAGE_FAULT"]);
  // The late confirmation makes room, and neither frame is sent after its answer.
  channel.confirm("a");
  send("c");
  expect(channel.keys()).toEqual(["a", "c"]);
});

test("a server that takes nothing refuses soon, and is used again when it does", async () => {
  const { environment, lane, connect, send } = createLane();
  const channel = connect();
  lane.setBlocked(true);
  const refused = send("a");
  await environment.advance(2 * RABBIT_SETTINGS.fullWaitMs);
  expect(refused.answer).toBe("STORAGE_FULL");
  const lucky = send("b");
  lane.setBlocked(false);
  expect(channel.keys()).toEqual(["b"]);
  channel.confirm("b");
  await environment.settle();
  expect(lucky.answer).toBe("stored");
});

test("what waits is bounded, and a batch above the bound is taken alone", async () => {
  const { environment, connect, send } = createLane({ waitingFramesMax: 2 });
  const large = send("a", "b", "c");
  const more = send("d");
  await environment.settle();
  expect([large.answer, more.answer]).toEqual(["", "SATURATED"]);
  const channel = connect();
  channel.confirm("a", "b", "c");
  await environment.settle();
  expect(large.answer).toBe("stored");
});

test("a close waits for what is under way and answers everything", async () => {
  const { environment, lane, connect, send } = createLane();
  const channel = connect();
  const batch = send("a");
  let isClosed = false;
  void lane.close().then(() => (isClosed = true));
  await environment.settle();
  expect(isClosed).toBe(false);
  expect(send("b").answer).toBe("");
  channel.confirm("a");
  await environment.settle();
  expect([batch.answer, isClosed]).toEqual(["stored", true]);

  const cut = createLane();
  const unsent = cut.send("a");
  await cut.lane.close();
  await cut.environment.settle();
  expect(unsent.answer).toBe("CLOSED");
  const late = cut.send("b");
  await cut.environment.settle();
  expect(late.answer).toBe("CLOSED");
});
