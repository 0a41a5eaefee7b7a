/** In which order slots are taken and given back. The rows answer when they are told to. */

import { describe, expect, test } from "bun:test";

import type { ShardLease } from "./shard-lease.ts";
import type { SlotRows } from "./slot-fences-rows.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { setUp as setUpMembers } from "./slot-fences-member.fixture.ts";
import { createSlotFences, FENCE_SETTINGS } from "./slot-fences.ts";

/** The shortest that a broker lets a hand-over last. */
const HAND_OVER_MS = 10_000;

function setUp() {
  const calls: string[] = [];
  let releasing: PromiseWithResolvers<void> | undefined;
  let asking: PromiseWithResolvers<boolean> | undefined;
  let looking: PromiseWithResolvers<number> | undefined;
  let deciding: PromiseWithResolvers<boolean> | undefined;
  const claiming = Promise.withResolvers<readonly string[]>();
  const rows: SlotRows = {
    async claim(_relayId, group, slots) {
      calls.push(`claim ${group} ${slots.join()}`);
      return await claiming.promise;
    },
    async release(_relayId, group, slots) {
      calls.push(`release ${group} ${slots.join()}`);
      await releasing?.promise;
    },
    lastOutgoing: () => looking?.promise ?? Promise.resolve(0),
    hasOutgoing: () => asking?.promise ?? Promise.resolve(false),
  };
  const lease: ShardLease = {
    relayId: "me",
    fence: async (relayIds) => void calls.push(`fence ${relayIds.join()}`),
    beat: async () => undefined,
    close: async () => undefined,
  };
  const environment = createVirtualEnvironment();
  return {
    calls,
    claiming,
    holdReleases: () => (releasing = Promise.withResolvers<void>()),
    holdDecisions: () => (deciding = Promise.withResolvers<boolean>()),
    holdLooks: () => (looking = Promise.withResolvers<number>()),
    holdOutgoing: () => (asking = Promise.withResolvers<boolean>()),
    environment,
    fences: createSlotFences({
      environment,
      rows,
      lease,
      topics: ["orders"],
      areDecided: () => deciding?.promise ?? Promise.resolve(true),
    }),
  };
}

describe("a release", () => {
  test("waits for what its group is taking, so that nothing is taken after it", async () => {
    const { fences, calls, claiming, environment } = setUp();
    const claimed = fences.claim("order", [1]);
    const released = fences.release("order", [1]);
    await environment.settle();
    expect(calls).toEqual(["claim order 1"]);
    claiming.resolve([]);
    await Promise.all([claimed, released]);
    expect(calls).toEqual(["claim order 1", "release order 1"]);
  });

  test("goes on when that fails, and waits for no other group", async () => {
    const { fences, calls, claiming, environment } = setUp();
    const claimed = fences.claim("order", [1]);
    await fences.release("payment", [1]);
    expect(calls).toEqual(["claim order 1", "release payment 1"]);
    const released = fences.release("order", [1]);
    claiming.reject(new Error("refused"));
    await expect(claimed).rejects.toThrow("refused");
    await released;
    await environment.settle();
    expect(calls.at(-1)).toBe("release order 1");
  });

  test("waits for a claim that has some of its slots, and for no other of its group", async () => {
    const { fences, calls, claiming, environment } = setUp();
    const claimed = fences.claim("order", [1, 2]);
    await fences.release("order", [3]);
    expect(calls).toEqual(["claim order 1,2", "release order 3"]);
    const released = fences.release("order", [2, 3]);
    await environment.settle();
    expect(calls).toHaveLength(2);
    claiming.resolve([]);
    await Promise.all([claimed, released]);
    expect(calls.at(-1)).toBe("release order 2,3");
  });

  test("waits until it is known what became of the shard's commits", async () => {
    const { fences, calls, environment, holdDecisions } = setUp();
    const deciding = holdDecisions();
    const released = fences.release("order", [1]);
    await environment.settle();
    expect(calls).toEqual([]);
    deciding.resolve(true);
    await released;
    expect(calls).toEqual(["release order 1"]);
  });

  test("is refused when that cannot be found out: whoever comes next fences", async () => {
    const { fences, calls, holdDecisions } = setUp();
    holdDecisions().resolve(false);
    const refusal = { code: "STORAGE_FAULT", retry: "later" };
    await expect(fences.release("order", [1], 1_000)).rejects.toMatchObject(refusal);
    expect(calls).toEqual([]);
  });

  const held = ["a claim", "a commit", "the statement"];
  test.each(held)("ends in time while %s is not over", async (what) => {
    const { fences, claiming, holdDecisions, holdReleases, environment } = setUp();
    const releasing = holdReleases();
    const deciding = what === "a commit" ? holdDecisions() : undefined;
    const claimed = what === "a claim" ? fences.claim("order", [1]) : undefined;
    const refusal = fences.release("order", [1], 1_000).catch((error: unknown) => error);
    await environment.advance(1_000);
    expect(await refusal).toMatchObject({ code: "STORAGE_FAULT", retry: "later" });
    claiming.resolve([]);
    deciding?.resolve(true);
    releasing.resolve();
    await claimed;
    expect(environment.pendingTimers()).toBe(0);
  });

  test("that is done in time leaves no timer behind", async () => {
    const { fences, environment } = setUp();
    await fences.release("order", [1], 1_000);
    expect(environment.pendingTimers()).toBe(0);
  });
});

test("a claim waits for a release of the same slots that is under way, and no other", async () => {
  const { fences, calls, claiming, environment, holdReleases } = setUp();
  const releasing = holdReleases();
  claiming.resolve([]);
  const released = fences.release("order", [1]);
  // It may be released all the same, after whoever waited for it has gone on.
  const late = fences.release("order", [3], 1_000).catch(() => undefined);
  await environment.settle();
  await fences.claim("payment", [1]);
  await fences.claim("order", [2]);
  const claimed = [fences.claim("order", [1]), fences.claim("order", [3])];
  await environment.advance(1_000);
  await late;
  const before = ["release order 1", "release order 3", "claim payment 1", "claim order 2"];
  expect(calls).toEqual(before);
  releasing.resolve();
  await Promise.all([released, ...claimed]);
  expect(calls).toEqual([...before, "claim order 1", "claim order 3"]);
});

describe("a claim of a silent database", () => {
  const { takeWaitMs, publishedWaitMs } = FENCE_SETTINGS;

  test("is given up while a release before it is not over, and is not made after it", async () => {
    const { fences, calls, claiming, environment, holdReleases } = setUp();
    const releasing = holdReleases();
    const released = fences.release("order", [1], 1_000).catch((error: unknown) => error);
    const refusal = fences.claim("order", [1]).catch((error: unknown) => error);
    await environment.advance(takeWaitMs);
    expect(await released).toMatchObject({ code: "STORAGE_FAULT" });
    expect(await refusal).toMatchObject({ code: "STORAGE_FAULT", retry: "later" });
    releasing.resolve();
    claiming.resolve([]);
    await environment.settle();
    expect(calls).toEqual(["release order 1"]);
    await fences.claim("order", [1]);
    expect(calls).toEqual(["release order 1", "claim order 1"]);
    expect(environment.pendingTimers()).toBe(0);
  });

  test("is given up, and fences nobody for an answer that comes later", async () => {
    const { fences, calls, claiming, environment } = setUp();
    const refusal = fences.claim("order", [1]).catch((error: unknown) => error);
    await environment.advance(takeWaitMs);
    expect(await refusal).toMatchObject({ code: "STORAGE_FAULT", retry: "later" });
    const released = fences.release("order", [1]);
    claiming.resolve(["other"]);
    await released;
    expect(calls).toEqual(["claim order 1", "release order 1"]);
  });

  test("is given up though only what is unpublished is not told", async () => {
    const { fences, claiming, environment, holdLooks } = setUp();
    holdLooks();
    claiming.resolve([]);
    const refusal = fences.claim("order", [1]).catch((error: unknown) => error);
    await environment.advance(publishedWaitMs + takeWaitMs);
    expect(await refusal).toMatchObject({ code: "STORAGE_FAULT", retry: "later" });
    expect(environment.pendingTimers()).toBe(0);
  });

  test("that refuses connections is told with what it said", async () => {
    const { fences, calls, claiming, environment } = setUp();
    claiming.reject(Object.assign(new Error("nobody there"), { code: "ECONNREFUSED" }));
    const refusal = fences.claim("order", [1]).catch((error: unknown) => error);
    await environment.advance(takeWaitMs);
    expect(await refusal).toMatchObject({
      code: "STORAGE_FAULT",
      message: expect.stringContaining("nobody there"),
    });
    expect(calls.length).toBeGreaterThan(2);
    expect(environment.pendingTimers()).toBe(0);
  });
});

describe("what is unpublished", () => {
  test.each(["how far to look", "whether there is any"])(
    "is not waited for longer than asked when a silent database does not say %s",
    async (what) => {
      const { fences, environment, holdLooks, holdOutgoing } = setUp();
      if (what === "how far to look") holdLooks();
      else holdOutgoing();
      const published = fences.published([1], 1_000);
      await environment.advance(1_000);
      expect(await published).toBe(false);
      expect(environment.pendingTimers()).toBe(0);
    },
  );

  test("leaves no timer behind once it is known", async () => {
    const { fences, environment } = setUp();
    expect(await fences.published([1], 1_000)).toBe(true);
    expect(environment.pendingTimers()).toBe(0);
  });
});

test("a member hands its slots over though the database falls silent after the claim", async () => {
  const { fences, claiming, environment, holdReleases } = setUp();
  claiming.resolve([]);
  holdReleases();
  const member = await setUpMembers(fences).join();
  await member.assigned("payments", [1]);
  const isAtRest = member.revoking("payments", [1]);
  await environment.advance(HAND_OVER_MS);
  expect(await isAtRest).toBe(true);
  expect(environment.pendingTimers()).toBe(0);
});
