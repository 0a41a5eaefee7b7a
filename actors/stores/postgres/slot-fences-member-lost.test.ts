/**
 * What becomes of slots that a member lost, or loses, with work of them perhaps under way.
 *
 * They stay claimed for as long as that may be so, and no longer; who ends an old tenure ends no
 * newer one.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { AtRest } from "../../brokers/broker.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { handedOver, setUp, turns } from "./slot-fences-member.fixture.ts";

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
    ends.at(-1)?.resolve(true);
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

/** Work of payments that is under way until `end`; of inventory there is none. */
function work() {
  const asked: string[] = [];
  let isOver = false;
  const over = Promise.withResolvers<void>();
  const onRevoking = async (topic: string, slots: readonly number[]): Promise<AtRest> => {
    asked.push(`${topic} ${slots.join()}`);
    return topic === "inventory" || isOver || { again: over.promise };
  };
  const end = async (): Promise<void> => {
    isOver = true;
    over.resolve();
    await turns();
  };
  return { asked, onRevoking, end };
}

describe("slots that a member lost without warning", () => {
  test("are released together and at once when nothing of them is under way", async () => {
    const { asked, onRevoking, end } = work();
    await end();
    const member = await world.join({ onRevoking });
    await member.assigned("payments", [1, 2]);
    await member.assigned("inventory", [1]);
    member.revoked("inventory", [1]);
    for (const slot of [1, 2]) member.revoked("payments", [slot]);
    await turns();
    expect(asked).toEqual(["inventory 1", "payments 1", "payments 2"]);
    expect(world.calls.slice(1)).toEqual([handedOver("1,2")]);
  });

  test("are asked for once those above know that they are lost", async () => {
    const told: string[] = [];
    const member = await world.join({
      onRevoking: async () => told.push("asked") > 0,
      onRevoked: () => void told.push("revoked"),
    });
    await member.assigned("inventory", [1]);
    member.revoked("inventory", [1]);
    await turns();
    expect(told).toEqual(["revoked", "asked"]);
  });

  test("are released once the last topic has come to rest", async () => {
    const { onRevoking, end } = work();
    const member = await world.join({ onRevoking });
    for (const topic of ["payments", "inventory"]) await member.assigned(topic, [1]);
    for (const topic of ["payments", "inventory"]) member.revoked(topic, [1]);
    await turns();
    expect(world.calls.slice(1)).toEqual([]);
    await end();
    expect(world.calls.slice(1)).toEqual([handedOver("1")]);
  });

  test("wait for nobody but their own work", async () => {
    const hangs = new Promise<void>(() => undefined);
    const onRevoking = async (_: string, [slot]: readonly number[]): Promise<AtRest> =>
      slot === 2 || { again: hangs };
    const member = await world.join({ onRevoking });
    await member.assigned("payments", [1, 2]);
    member.revoked("payments", [1, 2]);
    await turns();
    expect(world.calls.slice(1)).toEqual([handedOver("2")]);
  });

  test("stay claimed when nobody can tell, or it is not told", async () => {
    const answers = [async () => false, () => Promise.reject(new Error("not now")), undefined];
    for (const onRevoking of answers) {
      world = setUp();
      const member = await world.join(onRevoking === undefined ? {} : { onRevoking });
      await member.assigned("payments", [1]);
      member.revoked("payments", [1]);
      await turns();
      expect(world.calls).toEqual(["claim order 1"]);
    }
  });

  test("are none when they come back at once", async () => {
    const { asked, onRevoking } = work();
    const member = await world.join({ onRevoking });
    await member.assigned("inventory", [1]);
    member.revoked("inventory", [1]);
    await member.assigned("inventory", [1]);
    await turns();
    expect(asked).toEqual([]);
    expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
  });

  test("are left alone by what ends when they are back, and lost again", async () => {
    const { asked, onRevoking, end } = work();
    const ended: Promise<AtRest>[] = [];
    const member = await world.join({
      onRevoking(topic, slots) {
        ended.push(onRevoking(topic, slots));
        return ended.length === 1 ? ended[0]! : new Promise(() => undefined); // `!`: just pushed
      },
    });
    await member.assigned("payments", [1]);
    member.revoked("payments", [1]);
    await turns();
    await member.assigned("payments", [1]);
    member.revoked("payments", [1]);
    await end();
    expect(asked).toEqual(["payments 1", "payments 1"]);
    expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
  });

  test("are left to the next owner once the member has closed at work", async () => {
    const { asked, onRevoking, end } = work();
    const member = await world.join({ onRevoking });
    await member.assigned("payments", [1]);
    member.revoked("payments", [1]);
    await turns();
    await member.subscription.close(false);
    await end();
    expect(asked).toEqual(["payments 1"]);
    expect(world.calls.slice(1)).toEqual(["closed"]);
  });
});

describe("a slot that is handed over before its work has ended", () => {
  test("is released once it has, though no other topic of it ends any more", async () => {
    const { asked, onRevoking, end } = work();
    const member = await world.join({ onRevoking });
    const topics = ["payments", "inventory"];
    for (const topic of topics) await member.assigned(topic, [1]);
    await Promise.all(topics.map((topic) => member.revoking(topic, [1])));
    for (const topic of topics) member.revoked(topic, [1]);
    await turns();
    expect(world.calls.slice(1)).toEqual([]);
    await end();
    expect(asked).toEqual(["payments 1", "inventory 1", "payments 1", "payments 1"]);
    expect(world.calls.slice(1)).toEqual([handedOver("1")]);
  });

  test("holds up no other slot of the same hand-over", async () => {
    const hangs = new Promise<void>(() => undefined);
    const onRevoking = async (_: string, slots: readonly number[]): Promise<AtRest> =>
      !slots.includes(1) || { again: hangs };
    const member = await world.join({ onRevoking });
    await member.assigned("payments", [1, 2, 3]);
    await member.revoking("payments", [1, 2, 3]);
    await turns();
    expect(world.calls.slice(1)).toEqual([handedOver("2,3")]);
  });
});

describe("a slot of which one topic was cut off", () => {
  async function cutOff() {
    const { asked, onRevoking, end } = work();
    const member = await world.join({ onRevoking });
    await member.assigned("payments", [1, 2, 3]);
    await member.assigned("inventory", [1, 2, 3]);
    member.revoked("payments", [1, 2]);
    await turns();
    return { member, asked, end };
  }

  test("is released with the last of the others once its work has ended", async () => {
    const { member, end } = await cutOff();
    await end();
    expect(world.calls.slice(1)).toEqual([]);
    await member.revoking("inventory", [1, 3]);
    expect(world.calls.slice(1)).toEqual([handedOver("1")]);
  });

  test("stays claimed while its work may be under way, and no longer", async () => {
    const { member, end } = await cutOff();
    await member.revoking("inventory", [1]);
    expect(world.calls.slice(1)).toEqual([]);
    await end();
    expect(world.calls.slice(1)).toEqual([handedOver("1")]);
  });

  test("is asked nothing of what is the member's own again", async () => {
    const { member, asked, end } = await cutOff();
    await member.assigned("payments", [1]);
    await member.revoking("inventory", [1]);
    await end();
    expect(asked).toEqual(["payments 1", "payments 2", "inventory 1", "payments 2"]);
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
    await turns();
    expect(world.calls).toEqual(["claim order 1", handedOver("1")]);
  });
});

describe("a slot that was lost with work under way, and whose next claim fails", () => {
  async function refused() {
    const { asked, onRevoking, end } = work();
    const member = await world.join({ onRevoking });
    await member.assigned("payments", [1]);
    await member.revoking("payments", [1]);
    member.revoked("payments", [1]);
    await turns();
    const claiming = world.holdClaims();
    const assigned = member.assigned("payments", [1]).catch((error: unknown) => error);
    return { member, asked, end, claiming, assigned };
  }
  const fault = new ShopError("STORAGE_FAULT", "the database is away", "later");

  test("stays claimed, also when it was lost before that failed", async () => {
    for (const isLost of [false, true]) {
      world = setUp();
      const { member, claiming, assigned } = await refused();
      if (isLost) member.revoked("payments", [1]);
      claiming.reject(fault);
      expect(await assigned).toBe(fault);
      await turns();
      expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
    }
  });

  test.each(["before", "after"])("is released once it has ended, %s that failed", async (when) => {
    const { asked, end, claiming, assigned } = await refused();
    if (when === "before") await end();
    expect(world.calls.slice(2)).toEqual([]);
    claiming.reject(fault);
    await assigned;
    await end();
    expect(asked).toEqual(["payments 1", "payments 1", "payments 1"]);
    expect(world.calls.slice(2)).toEqual([handedOver("1")]);
  });

  test("stays claimed until it has ended, though it was assigned once more meanwhile", async () => {
    const { member, asked, end, claiming, assigned } = await refused();
    const again = member.assigned("payments", [1]).catch((error: unknown) => error);
    claiming.reject(fault);
    expect(await Promise.all([assigned, again])).toEqual([fault, fault]);
    await turns();
    expect(world.calls).toEqual(["claim order 1", "claim order 1"]);
    await end();
    expect(asked.at(-1)).toBe("payments 1");
    expect(world.calls.slice(2)).toEqual([handedOver("1")]);
  });

  test("is released by the loss of a newer claim of it that did not fail", async () => {
    const { member, end, claiming, assigned } = await refused();
    member.revoked("payments", [1]);
    world.holdClaims().resolve();
    await member.assigned("payments", [1]);
    claiming.reject(fault);
    await assigned;
    await end();
    expect(world.calls.slice(2)).toEqual(["claim order 1"]);
    await member.revoking("payments", [1]);
    expect(world.calls.slice(3)).toEqual([handedOver("1")]);
  });
});
