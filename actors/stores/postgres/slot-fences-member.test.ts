/**
 * When a member claims and releases slots: once for all topics of its group, and not too early.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { Broker, SubscribeOptions } from "../../brokers/broker.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { withFences } from "./slot-fences-member.ts";

const OPTIONS: SubscribeOptions = {
  group: "order",
  topics: ["payments", "inventory"],
  from: "earliest",
  creditFrames: 1,
  creditBytes: 1,
  leaseMs: 1_000,
  onDeliveries: () => undefined,
};

function setUp() {
  const calls: string[] = [];
  let given: SubscribeOptions | undefined;
  let claiming: PromiseWithResolvers<void> | undefined;
  const broker: Pick<Broker, "subscribe"> = {
    async subscribe(options) {
      given = options;
      return {
        ack: async () => [],
        postpone: async () => "settled",
        bury: async () => "settled",
        standing: async () => undefined,
        pause: () => undefined,
        resume: () => undefined,
        close: async (isAtRest) => void calls.push(isAtRest ? "closed at rest" : "closed"),
      };
    },
  };
  let isAway = false;
  const fences = {
    async claim(group: string, slots: readonly number[]) {
      calls.push(`claim ${group} ${slots.join()}`);
      await claiming?.promise;
    },
    async release(group: string, slots: readonly number[], withinMs?: number) {
      const bound = withinMs === undefined ? "" : ` within ${withinMs} ms`;
      calls.push(`release ${group} ${slots.join()}${bound}`);
      if (isAway) throw new ShopError("STORAGE_FAULT", "the database is away", "later");
    },
  };
  return {
    calls,
    goAway: () => void (isAway = true),
    holdClaims: () => (claiming = Promise.withResolvers<void>()),
    join: async (options: Partial<SubscribeOptions> = {}) => {
      const subscription = await withFences(broker, fences).subscribe({ ...OPTIONS, ...options });
      const { onAssigned, onRevoking, onRevoked } = given ?? OPTIONS;
      return {
        subscription,
        assigned: async (topic: string, slots: readonly number[]) => onAssigned?.(topic, slots),
        revoking: async (topic: string, slots: readonly number[]) => onRevoking?.(topic, slots),
        revoked: (topic: string, slots: readonly number[]) => onRevoked?.(topic, slots),
      };
    },
  };
}

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
      "release order 1",
      "release order 2,3",
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
    for (let turns = 0; turns < 20; turns++) await Promise.resolve();
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
      "release order 1",
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
    expect(world.calls).toEqual(["claim order 1", "claim order 2", "release order 2"]);
  });

  test("releases a slot of which it got every topic back and ended well", async () => {
    const member = await world.join({ onRevoking: async () => true });
    await member.assigned("payments", [1]);
    await member.assigned("inventory", [1]);
    member.revoked("payments", [1]);
    await member.assigned("payments", [1]);
    for (const topic of ["payments", "inventory"]) await member.revoking(topic, [1]);
    expect(world.calls).toEqual(["claim order 1", "release order 1"]);
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
    expect(world.calls).toEqual(["claim order 1", "release order 1", "claim order 1"]);
  });
});

describe("a slot that comes back while its loss is still being waited for", () => {
  /** It is revoked before those above let go of it, and assigned again. */
  async function returned() {
    const ends: PromiseWithResolvers<boolean>[] = [];
    const member = await world.join({
      onRevoking() {
        ends.push(Promise.withResolvers<boolean>());
        return ends.at(-1)?.promise ?? Promise.resolve(true);
      },
    });
    await member.assigned("payments", [1, 2]);
    const ending = member.revoking("payments", [1, 2]);
    member.revoked("payments", [1, 2]);
    await member.assigned("payments", [1]);
    return { member, ends, ending };
  }

  test("is not released by it", async () => {
    const { ends, ending } = await returned();
    ends[0]?.resolve(true);
    await ending;
    expect(world.calls.filter((call) => call.startsWith("release order 1"))).toEqual([]);
  });

  test("is released by the loss of its own, and is at rest though the older was not", async () => {
    const { member, ends, ending } = await returned();
    ends[0]?.resolve(false);
    await ending;
    const again = member.revoking("payments", [1]);
    ends[1]?.resolve(true);
    await again;
    expect(world.calls).toEqual(["claim order 1,2", "claim order 1", "release order 1"]);
  });

  test("is not given back by an older claim of it that fails", async () => {
    const member = await world.join();
    const older = world.holdClaims();
    const assigned = member.assigned("payments", [1]);
    member.revoked("payments", [1]);
    world.holdClaims().resolve();
    await member.assigned("payments", [1]);
    older.reject(new ShopError("FENCED", "too late", "never"));
    await expect(assigned).rejects.toMatchObject({ code: "FENCED" });
    expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
  });
});

describe("a slot of which one topic was cut off", () => {
  /** `rests`: whether work of payments has ended, whenever that is asked. */
  async function cutOff() {
    const rests = { payments: false };
    const asked: string[] = [];
    const member = await world.join({
      async onRevoking(topic, slots) {
        asked.push(`${topic} ${slots.join()}`);
        return topic === "inventory" || rests.payments;
      },
    });
    await member.assigned("payments", [1, 2, 3]);
    await member.assigned("inventory", [1, 2, 3]);
    member.revoked("payments", [1, 2]);
    return { member, rests, asked };
  }

  test("is released with the last of the others once its work has ended", async () => {
    const { member, rests, asked } = await cutOff();
    rests.payments = true;
    await member.revoking("inventory", [1, 3]);
    expect(asked).toEqual(["inventory 1,3", "payments 1"]);
    expect(world.calls.slice(1)).toEqual(["release order 1"]);
  });

  test("stays claimed while its work may be under way", async () => {
    const { member, asked } = await cutOff();
    await member.revoking("inventory", [1]);
    expect(asked).toEqual(["inventory 1", "payments 1"]);
    expect(world.calls.slice(1)).toEqual([]);
  });

  test("stays claimed by a subscriber that cannot tell", async () => {
    const member = await world.join();
    await member.assigned("payments", [1]);
    await member.assigned("inventory", [1]);
    member.revoked("payments", [1]);
    await member.revoking("inventory", [1]);
    expect(world.calls).toEqual(["claim order 1"]);
  });

  test("is asked nothing of what is the member's own again", async () => {
    const { member, asked } = await cutOff();
    await member.assigned("payments", [1]);
    await member.revoking("inventory", [1]);
    expect(asked).toEqual(["inventory 1"]);
    expect(world.calls.slice(1)).toEqual([]);
  });

  test("is released once what was waited for has ended, though it was lost meanwhile", async () => {
    const ended = Promise.withResolvers<boolean>();
    const member = await world.join({ onRevoking: () => ended.promise });
    await member.assigned("payments", [1]);
    const ending = member.revoking("payments", [1]);
    member.revoked("payments", [1]);
    ended.resolve(true);
    await ending;
    expect(world.calls).toEqual(["claim order 1", "release order 1"]);
  });
});
