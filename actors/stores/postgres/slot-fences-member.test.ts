/**
 * When a member claims and releases slots: once for all topics of its group, and not too early.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import { ShopError } from "../../../runtime/errors.ts";
import { handedOver, setUp, turns } from "./slot-fences-member.fixture.ts";

let world: ReturnType<typeof setUp>;
beforeEach(() => {
  world = setUp();
});

describe("a member with fences", () => {
  test("claims a slot with its first topic and releases it with its last", async () => {
    const member = await world.join();
    await member.assigned("payments", [1, 2]);
    await member.assigned("inventory", [2, 3]);
    await member.revoking("payments", [1, 2]);
    member.revoked("payments", [1, 2]);
    await member.revoking("inventory", [2, 3]);
    expect(world.calls).toEqual([
      "claim order 1,2",
      "claim order 3",
      handedOver("1"),
      handedOver("2,3"),
    ]);
  });

  test("lets no topic begin before the claim that another topic began is done", async () => {
    const member = await world.join();
    const claiming = world.holdClaims();
    const began: string[] = [];
    const both = ["payments", "inventory"].map(async (topic) => {
      await member.assigned(topic, [5]);
      began.push(topic);
    });
    await turns();
    expect(began).toEqual([]);
    claiming.resolve();
    await Promise.all(both);
    expect(world.calls).toEqual(["claim order 5"]);
  });

  test("tells those above after the claim, and releases after they are done", async () => {
    const { calls } = world;
    const member = await world.join({
      onAssigned: async () => void calls.push("above: assigned"),
      onRevoking: async () => {
        calls.push("above: drained");
        return true;
      },
      onRevoked: () => void calls.push("above: revoked"),
    });
    await member.assigned("payments", [1]);
    await member.revoking("payments", [1]);
    member.revoked("payments", [1]);
    expect(calls).toEqual([
      "claim order 1",
      "above: assigned",
      "above: drained",
      handedOver("1"),
      "above: revoked",
    ]);
  });

  test.each([
    ["is still worked on when it goes", false],
    ["was lost without warning and is worked on yet", undefined],
  ])("does not release a slot with a topic that %s", async (_how, isAtRest) => {
    const ends: Record<string, boolean> = { payments: isAtRest ?? false, inventory: true };
    const member = await world.join({ onRevoking: async (topic) => ends[topic] === true });
    await member.assigned("payments", [1]);
    await member.assigned("inventory", [1, 2]);
    if (isAtRest !== undefined) expect(await member.revoking("payments", [1])).toBe(isAtRest);
    member.revoked("payments", [1]);
    await member.revoking("inventory", [1, 2]);
    member.revoked("inventory", [1, 2]);
    expect(world.calls).toEqual(["claim order 1", "claim order 2", handedOver("2")]);
  });

  test("releases a slot of which it got every topic back and ended well", async () => {
    const member = await world.join({ onRevoking: async () => true });
    await member.assigned("payments", [1]);
    await member.assigned("inventory", [1]);
    member.revoked("payments", [1]);
    await member.assigned("payments", [1]);
    for (const topic of ["payments", "inventory"]) await member.revoking(topic, [1]);
    expect(world.calls).toEqual(["claim order 1", handedOver("1")]);
  });

  test("that closes at rest releases all before it leaves, what it lost as well", async () => {
    const member = await world.join();
    await member.assigned("payments", [1, 2]);
    member.revoked("payments", [1]);
    expect(world.calls).toEqual(["claim order 1,2"]);
    await member.subscription.close(true);
    expect(world.calls).toEqual([
      "claim order 1,2",
      "release order 1,2 within 1000 ms",
      "closed at rest",
    ]);
  });

  test("that cannot release leaves its group all the same, and says so", async () => {
    const member = await world.join();
    await member.assigned("payments", [1]);
    world.goAway();
    await member.subscription.close(true);
    expect(world.calls.slice(1)).toEqual(["release order 1 within 1000 ms", "closed"]);
  });

  test("that closes with work under way releases nothing: who comes next fences it", async () => {
    const member = await world.join();
    await member.assigned("payments", [1]);
    await member.subscription.close(false);
    expect(world.calls).toEqual(["claim order 1", "closed"]);
  });

  test("claims nothing any more once it is closing", async () => {
    const member = await world.join();
    const closing = member.subscription.close(true);
    await expect(member.assigned("payments", [1])).rejects.toMatchObject({ code: "CLOSED" });
    await closing;
    expect(world.calls).toEqual(["closed at rest"]);
  });

  test("claims a slot anew that it gets back after it lost it", async () => {
    const member = await world.join();
    await member.assigned("payments", [1]);
    member.revoked("payments", [1]);
    await member.assigned("payments", [1]);
    expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
  });

  test("gives an assignment back whose claim is refused, and may try again", async () => {
    const member = await world.join();
    const claiming = world.holdClaims();
    const assigned = member.assigned("payments", [1]);
    claiming.reject(new ShopError("FENCED", "too late", "never"));
    await expect(assigned).rejects.toMatchObject({ code: "FENCED" });
    world.holdClaims().resolve();
    await member.assigned("payments", [1]);
    // It is not given back much later because the database is away.
    const released = "release order 1 within 1000 ms";
    expect(world.calls).toEqual(["claim order 1", released, "claim order 1"]);
  });
});

test("a member that closes at rest leaves no hand-over's release behind", async () => {
  const member = await world.join();
  await member.assigned("payments", [1, 2]);
  const releasing = world.holdRelease();
  const ending = member.revoking("payments", [1]);
  await turns();
  expect(world.calls.at(-1)).toBe(handedOver("1"));
  await member.subscription.close(true);
  expect(world.calls.slice(1)).toEqual([
    handedOver("1"),
    "release order 1,2 within 1000 ms",
    "closed at rest",
  ]);
  releasing.resolve();
  await ending;
  expect(world.calls).toHaveLength(4);
});

test("a member whose hand-over's release is not over says so as it closes at rest", async () => {
  const member = await world.join();
  await member.assigned("payments", [1]);
  const releasing = world.holdRelease();
  const ending = member.revoking("payments", [1]);
  await turns();
  expect(world.calls.at(-1)).toBe(handedOver("1"));
  world.goAway();
  await member.subscription.close(true);
  expect(world.calls.at(-1)).toBe("closed");
  releasing.resolve();
  await ending;
});

test("a hand-over's release that is over is no business of the close", async () => {
  const member = await world.join();
  await member.assigned("payments", [1]);
  await member.revoking("payments", [1]);
  await member.subscription.close(true);
  expect(world.calls).toEqual(["claim order 1", handedOver("1"), "closed at rest"]);
});
