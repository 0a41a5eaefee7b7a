/**
 * The line to the shards on a virtual clock, with a ring that is only a list. What a shard makes of
 * a command is tested where it is done.
 */

import { expect, test } from "bun:test";

import type { CommandOf } from "../actors/contracts/messages.ts";

import {
  bodyAfterNumber,
  decodeCommand,
  decodeNumber,
  encodeNumber,
  encodeReplyFailure,
  REPLY,
  REPLY_FAILURE,
} from "../actors/command-frames.ts";
import { encodeValue } from "../actors/contracts/codec.ts";
import { ShopError } from "../runtime/errors.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { ShardCommands } from "./shard-commands.ts";

const SLOTS = 64;
const CANCEL: CommandOf<"order.cancel"> = { type: "order.cancel", orderId: "order-1" };
const OPTIONS = { deadlineMs: 1_000, correlationId: "corr-1" };

function createLine(takes: () => boolean = () => true) {
  const environment = createVirtualEnvironment();
  const sent: { shard: number; number: number; frame: Uint8Array }[] = [];
  const commands = new ShardCommands({
    environment,
    slots: SLOTS,
    shardOf: (slot) => 2 + (slot % 3),
    node: {
      send(shard, _kind, first, second) {
        if (!takes()) return false;
        sent.push({ shard, number: decodeNumber(first), frame: second ?? new Uint8Array() });
        return true;
      },
    },
  });
  function answer(kind: number, number: number, body: Uint8Array): void {
    const head = encodeNumber(number);
    const bytes = new Uint8Array(head.length + body.length);
    bytes.set(head);
    bytes.set(body, head.length);
    commands.onRecord(kind, bytes);
  }
  return { environment, commands, sent, answer };
}

test("a command goes to its key's shard, as a frame with deadline, correlation and trace", () => {
  const { environment, commands, sent } = createLine();
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  void commands.send(CANCEL, { ...OPTIONS, traceparent });
  const [only] = sent;
  const frame = decodeFrame(only?.frame ?? new Uint8Array());
  const slot = slotOf("order-1", SLOTS);
  expect(only?.shard).toBe(2 + (slot % 3));
  expect(frame.slot).toBe(slot);
  expect(frame.deadlineMs).toBe(environment.nowMs() + OPTIONS.deadlineMs);
  expect(frame.headers).toEqual({ correlationid: "corr-1" });
  expect(frame.traceId).toBe("0af7651916cd43dd8448eb211c80319c");
  expect(frame.spanId).toBe("b7ad6b7169203331");
  expect(decodeCommand(frame)).toEqual(CANCEL);
});

test("stock commands are keyed by product, so that one shard sets one product", () => {
  const { commands, sent } = createLine();
  void commands.send({ type: "inventory.set", productId: "cup", available: 1 }, OPTIONS);
  expect(decodeFrame(sent[0]?.frame ?? new Uint8Array()).key).toBe("cup");
});

test("each answer reaches the command with its number, in any order", async () => {
  const { commands, sent, answer } = createLine();
  const first = commands.send(CANCEL, OPTIONS);
  const second = commands.send(CANCEL, OPTIONS);
  const refused = (detail: string) => encodeValue({ kind: "refused", code: "not_found", detail });
  answer(REPLY, sent[1]?.number ?? 0, refused("second"));
  answer(REPLY, sent[0]?.number ?? 0, refused("first"));
  expect(await first).toMatchObject({ detail: "first" });
  expect(await second).toMatchObject({ detail: "second" });
  expect(commands.inFlight).toBe(0);
});

test("a failure keeps its code and whether a retry can help", async () => {
  const { commands, sent, answer } = createLine();
  const pending = commands.send(CANCEL, OPTIONS);
  const failure = new ShopError("SATURATED", "no room", "later");
  answer(REPLY_FAILURE, sent[0]?.number ?? 0, encodeReplyFailure(failure));
  const error = await pending.catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "SATURATED", retry: "later", message: "no room" });
});

test("a command without an answer ends at its deadline, and a late answer is dropped", async () => {
  const { environment, commands, sent, answer } = createLine();
  const pending = commands.send(CANCEL, OPTIONS).catch((caught: unknown) => caught);
  await environment.advance(OPTIONS.deadlineMs + 100);
  expect(await pending).toMatchObject({ code: "ASK_TIMEOUT" });
  answer(REPLY, sent[0]?.number ?? 0, encodeValue({ kind: "refused" }));
  expect(commands.inFlight).toBe(0);
  expect(environment.pendingTimers()).toBe(0);
});

test("a full ring refuses at once", async () => {
  const { commands } = createLine(() => false);
  const error = await commands.send(CANCEL, OPTIONS).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "SATURATED" });
});

test("a shard that owes too many answers is saturated, and free again as it answers", async () => {
  const { commands, sent, answer } = createLine();
  const pending: Promise<unknown>[] = [];
  let refusal: unknown;
  while (refusal === undefined && pending.length < 100_000) {
    const attempt = commands.send(CANCEL, OPTIONS);
    const isTaken = sent.length > pending.length;
    if (isTaken) pending.push(attempt);
    else refusal = await attempt.catch((caught: unknown) => caught);
  }
  expect(refusal).toMatchObject({ code: "SATURATED" });
  answer(REPLY, sent[0]?.number ?? 0, encodeValue({ kind: "refused" }));
  const before = sent.length;
  void commands.send(CANCEL, OPTIONS);
  expect(sent.length).toBe(before + 1);
});

test("close rejects what is open as indeterminate and what follows as closed", async () => {
  const { commands } = createLine();
  const open = commands.send(CANCEL, OPTIONS).catch((caught: unknown) => caught);
  commands.close();
  expect(await open).toMatchObject({ code: "INDETERMINATE" });
  const late = await commands.send(CANCEL, OPTIONS).catch((caught: unknown) => caught);
  expect(late).toMatchObject({ code: "CLOSED" });
});

test("a frame of an unknown command is refused by number", () => {
  const { commands, sent } = createLine();
  void commands.send(CANCEL, OPTIONS);
  const frame = decodeFrame(sent[0]?.frame ?? new Uint8Array());
  expect(() => decodeCommand({ ...frame, type: 999 })).toThrow("no command has number 999");
  expect(() => decodeCommand({ ...frame, payload: encodeValue({ orderId: 1 }) })).toThrow(
    "order.cancel does not fit at /orderId",
  );
});

test("the number in front of a body is not part of it", () => {
  const bytes = new Uint8Array([7, 0, 0, 0, 1, 2]);
  expect(decodeNumber(bytes)).toBe(7);
  expect(bodyAfterNumber(bytes)).toEqual(new Uint8Array([1, 2]));
});
