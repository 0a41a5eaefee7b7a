/**
 * What becomes of slots that a member lost, or loses, with work of them perhaps under way.
 *
 * They stay claimed for as long as that may be so; who ends an old tenure ends no newer one.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import { ShopError } from "../../../runtime/errors.ts";
import { handedOver, setUp } from "./slot-fences-member.fixture.ts";

let world: ReturnType<typeof setUp>;
beforeEach(() => {
  world = setUp();
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
    expect(world.calls).toEqual(["claim order 1,2", "claim order 1", handedOver("1")]);
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
    expect(world.calls.slice(1)).toEqual([handedOver("1")]);
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
    expect(world.calls).toEqual(["claim order 1", handedOver("1")]);
  });
});

describe("a slot that was lost with work under way, and whose next claim fails", () => {
  async function refused() {
    const rests = { payments: false };
    const member = await world.join({
      onRevoking: async (topic) => topic !== "payments" || rests.payments,
    });
    await member.assigned("payments", [1]);
    await member.revoking("payments", [1]);
    member.revoked("payments", [1]);
    const claiming = world.holdClaims();
    const assigned = member.assigned("payments", [1]).catch((error: unknown) => error);
    return { member, rests, claiming, assigned };
  }
  const fault = new ShopError("STORAGE_FAULT", "the database is away", "later");

  test("stays claimed, also when it was lost before that failed", async () => {
    for (const isLost of [false, true]) {
      world = setUp();
      const { member, claiming, assigned } = await refused();
      if (isLost) member.revoked("payments", [1]);
      claiming.reject(fault);
      expect(await assigned).toBe(fault);
      expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
    }
  });

  test("is released by another topic once that work has ended", async () => {
    const { member, rests, claiming, assigned } = await refused();
    claiming.reject(fault);
    await assigned;
    world.holdClaims().resolve();
    await member.assigned("inventory", [1]);
    rests.payments = true;
    await member.revoking("inventory", [1]);
    expect(world.calls.slice(2)).toEqual(["claim order 1", handedOver("1")]);
  });

  test("is released by the loss of a newer claim of it that did not fail", async () => {
    const { member, rests, claiming, assigned } = await refused();
    member.revoked("payments", [1]);
    world.holdClaims().resolve();
    await member.assigned("payments", [1]);
    claiming.reject(fault);
    await assigned;
    rests.payments = true;
    await member.revoking("payments", [1]);
    expect(world.calls.slice(2)).toEqual(["claim order 1", handedOver("1")]);
  });
});
