/**
 * Recording behaviour at a shard: one message a batch, answered after the commit, once for a key.
 *
 * Over the store in memory, whose commits can be held, raced and failed.
 */

import { describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { CommandOf } from "../contracts/messages.ts";
import type { StoreStep } from "../stores/memory-store.ts";

import { ShopError } from "../../runtime/errors.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { decodeEvent } from "../delivery/decode-message.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { behaviorColumns } from "./behavior-columns.ts";
import { createBehaviorService } from "./behavior-service.ts";

const columns = behaviorColumns([
  { event: "page.viewed", customerId: "ada", atMs: 5 },
  { event: "cart.added", customerId: "bob", productId: "p", atMs: 3 },
]);
const origin = {
  cause: { correlationId: "c-1", causationId: "m-1", traceId: "0".repeat(32) },
  deadlineMs: 0,
};

function commandOf(fingerprint?: string): CommandOf<"behavior.record"> {
  const command = { type: "behavior.record", batchId: "batch-1", ...columns } as const;
  return fingerprint === undefined ? command : { ...command, fingerprint };
}

function openService(onStep: (step: StoreStep) => Promise<void> | void = () => {}) {
  const environment = createVirtualEnvironment();
  const published: Outgoing[] = [];
  const onOutgoing = (outgoing: Outgoing) => void published.push(outgoing);
  const store = createMemoryStore({ environment, onOutgoing, onStep });
  const service = createBehaviorService({ store, environment, slots: 8 });
  return { environment, published, service };
}

describe("a batch of behaviour", () => {
  test("becomes one message with its columns and cause, and its events are counted", async () => {
    const { service, published } = openService();
    const reply = await service.command(commandOf(), origin);
    expect(reply).toEqual({ kind: "recorded", events: 2 });
    expect(published.map(({ topic }) => topic)).toEqual(["behavior"]);
    const frame = decodeFrame(published[0]!.frame);
    expect(frame).toMatchObject({ key: "batch-1", headers: { correlationid: "c-1" } });
    expect(decodeEvent(frame)).toEqual({ type: "user.behavior", batchId: "batch-1", ...columns });
  });

  test("is not answered before it is committed", async () => {
    const held = Promise.withResolvers<void>();
    const { service, published, environment } = openService((step) =>
      step === "after_commit" ? held.promise : undefined,
    );
    let reply: unknown;
    const done = service.command(commandOf(), origin).then((given) => (reply = given));
    await environment.settle();
    expect(published).toHaveLength(1);
    expect(reply).toBeUndefined();
    held.resolve();
    await done;
    expect(reply).toMatchObject({ kind: "recorded" });
  });

  test("under a key is published once, however often and at the same time it comes", async () => {
    const { service, published } = openService();
    const replies = await Promise.all(
      Array.from({ length: 5 }, () => service.command(commandOf("same"), origin)),
    );
    replies.push(await service.command(commandOf("same"), origin));
    expect(replies).toEqual(replies.map(() => ({ kind: "recorded", events: 2 })));
    expect(replies).toHaveLength(6);
    expect(published).toHaveLength(1);
    const other = await service.command(commandOf("other"), origin);
    expect(other).toMatchObject({ kind: "refused", code: "idempotency_mismatch" });
    expect(published).toHaveLength(1);
  });

  test("without a key is published as often as it comes", async () => {
    const { service, published } = openService();
    await service.command(commandOf(), origin);
    await service.command(commandOf(), origin);
    expect(published).toHaveLength(2);
  });

  test("is refused when it is too late, does not fit or cannot be stored", async () => {
    const { service, published, environment } = openService();
    const expired = await service.command(commandOf(), { ...origin, deadlineMs: 1 });
    expect(expired).toMatchObject({ kind: "refused", code: "expired" });
    const unfit = await service.command({ ...commandOf(), event: [0] }, origin);
    expect(unfit).toMatchObject({ kind: "refused", code: "failed" });
    expect(published).toHaveLength(0);

    const failing = openService(() => {
      throw new ShopError("STORAGE_FULL", "no space", "later");
    });
    const full = await failing.service.command(commandOf(), origin);
    expect(full).toMatchObject({ kind: "refused", code: "storage_unavailable" });
    const closing = openService(() => {
      throw new ShopError("CLOSED", "over", "later");
    });
    const promise = closing.service.command(commandOf(), origin);
    expect(promise).rejects.toMatchObject({ code: "CLOSED" });
    await promise.catch(() => {});
    await environment.settle();
  });
});
