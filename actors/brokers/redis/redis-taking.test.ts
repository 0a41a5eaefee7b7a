/**
 * Claims being taken on: who is asked for what, and what becomes of a claim that is lost meanwhile.
 *
 * The server is a table of owners; the subscriber answers when the test has it answer.
 */

import { expect, test } from "bun:test";

import type { Claim } from "./redis-membership.ts";
import type { StoredPlace } from "./redis-position.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RedisRefusal } from "./redis-failure.ts";
import { fenceOf } from "./membership-plan.ts";
import { RedisTaking } from "./redis-taking.ts";

const HAND_OVER_MS = 10_000;
const THIEF = fenceOf("thief", 9);

function claimOf(partition: number): Claim {
  return { partition, epoch: 1, fence: fenceOf("me", 1) };
}

function createRig(topics: readonly string[] = ["t"]) {
  const environment = createVirtualEnvironment();
  const owners = new Map<number, string>();
  const told: string[] = [];
  const answers = new Map<string, PromiseWithResolvers<void>>();
  const troubles: unknown[] = [];
  const faults: { places?: Error; revoking?: Error; silence?: Promise<void> } = {};
  const taking = new RedisTaking({
    environment,
    handOverMs: HAND_OVER_MS,
    subscribe: {
      topics,
      async onAssigned(topic, partitions) {
        told.push(`assigned ${topic} ${partitions.join()}`);
        const answer = Promise.withResolvers<void>();
        answers.set(topic, answer);
        await answer.promise;
      },
      async onRevoking(topic, partitions) {
        told.push(`revoking ${topic} ${partitions.join()}`);
        await faults.silence;
        if (faults.revoking !== undefined) throw faults.revoking;
        return true;
      },
      onRevoked: (topic, partitions) => void told.push(`revoked ${topic} ${partitions.join()}`),
    },
    desk: {
      async places(partition, fence) {
        await Promise.resolve();
        if (faults.places !== undefined) throw faults.places;
        const place: StoredPlace = { position: 0, pending: 0, postponed: new Map() };
        return owners.get(partition) === fence ? topics.map(() => place) : undefined;
      },
    },
    onTaken: ({ partition }) => void told.push(`taken ${partition}`),
    giveBack: async ({ partition }) => void told.push(`given back ${partition}`),
    onGroupGone: async () => void told.push("group gone"),
    onTrouble: (error) => void troubles.push(error),
  });
  /** As after a claim that the server granted. */
  async function take(...partitions: number[]): Promise<void> {
    const claims = partitions.map(claimOf);
    for (const { partition, fence } of claims) {
      if (!owners.has(partition)) owners.set(partition, fence);
    }
    void taking.take(claims).then(() => told.push("over"));
    await environment.settle();
  }
  async function agree(...agreeing: string[]): Promise<void> {
    for (const topic of agreeing) answers.get(topic)?.resolve();
    await environment.settle();
  }
  return { environment, taking, owners, told, answers, troubles, faults, take, agree };
}

test("what is another's already is not asked for", async () => {
  const { owners, told, take, agree } = createRig();
  owners.set(0, THIEF);
  await take(0, 1);
  await agree("t");
  expect(told).toEqual(["assigned t 1", "taken 1", "given back 0", "over"]);
});

test("nobody is asked when nothing is left to ask for", async () => {
  const { owners, told, take } = createRig();
  owners.set(0, THIEF);
  await take(0);
  expect(told).toEqual(["given back 0", "over"]);
});

test("what another took while the subscriber was asked is taken from it again", async () => {
  const { owners, told, take, agree } = createRig();
  await take(0, 1);
  owners.set(0, THIEF);
  await agree("t");
  const lost = ["revoking t 0", "revoked t 0", "given back 0", "over"];
  expect(told).toEqual(["assigned t 0,1", "taken 1", ...lost]);
});

test("so is what was lost here, though nobody else took it", async () => {
  const { taking, told, take, agree } = createRig();
  await take(0, 1);
  expect([...taking.fences.keys()]).toEqual([0, 1]);
  taking.lose([1]);
  expect([...taking.fences.keys()]).toEqual([0]);
  await agree("t");
  const lost = ["revoking t 1", "revoked t 1", "given back 1", "over"];
  expect(told).toEqual(["assigned t 0,1", "taken 0", ...lost]);
  expect(taking.fences.size).toBe(0);
});

test("what was lost before anybody was asked is not asked for", async () => {
  const { environment, taking, owners, told } = createRig();
  owners.set(0, claimOf(0).fence);
  const over = taking.take([claimOf(0)]);
  taking.lose([0]);
  await over;
  await environment.settle();
  expect(told).toEqual(["given back 0"]);
});

test("a refusal waits for the other topics, and is given back after they let go", async () => {
  const { environment, told, answers, troubles, take, agree } = createRig(["t", "u"]);
  await take(0);
  const refusal = new Error("not now");
  answers.get("u")?.reject(refusal);
  await environment.settle();
  expect(told).toEqual(["assigned t 0", "assigned u 0"]);
  await agree("t");
  const ends = ["revoking t 0", "revoking u 0", "revoked t 0", "revoked u 0"];
  expect(told.slice(2)).toEqual([...ends, "given back 0", "over"]);
  expect(troubles).toEqual([refusal]);
});

test("who cannot let go in good order loses it all the same", async () => {
  const { taking, told, troubles, faults, take, agree } = createRig();
  await take(0);
  faults.revoking = new Error("no");
  taking.lose([0]);
  await agree("t");
  expect(told.slice(1)).toEqual(["revoking t 0", "revoked t 0", "given back 0", "over"]);
  expect(troubles).toEqual([faults.revoking]);
});

test("who does not let go in time loses it all the same, and nothing waits for it", async () => {
  const { environment, taking, told, troubles, faults, take, agree } = createRig(["t", "u"]);
  const answer = Promise.withResolvers<void>();
  faults.silence = answer.promise;
  await take(0);
  taking.lose([0]);
  await agree("t", "u");
  await environment.advance(HAND_OVER_MS - 1);
  expect(told.slice(2)).toEqual(["revoking t 0", "revoking u 0"]);
  await environment.advance(1);
  expect(told.slice(4)).toEqual(["revoked t 0", "revoked u 0", "given back 0", "over"]);
  answer.reject(new Error("too late"));
  await environment.settle();
  expect(troubles).toHaveLength(2);
  expect(environment.pendingTimers()).toBe(0);
});

test("who lets go in time leaves no timer behind", async () => {
  const { environment, taking, told, take, agree } = createRig();
  await take(0);
  taking.lose([0]);
  await agree("t");
  expect(told.at(-1)).toBe("over");
  expect(environment.pendingTimers()).toBe(0);
});

test("a server that does not say whose they are has nothing taken on", async () => {
  const before = createRig();
  before.faults.places = new RedisRefusal("NOGROUP No such key");
  await before.take(0);
  expect(before.told).toEqual(["group gone", "given back 0", "over"]);

  const after = createRig();
  await after.take(0);
  after.faults.places = new Error("the connection ended");
  await after.agree("t");
  const ends = ["revoking t 0", "revoked t 0", "given back 0", "over"];
  expect(after.told.slice(1)).toEqual(ends);
});
