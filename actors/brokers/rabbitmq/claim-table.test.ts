/**
 * The partitions of one member: what is theirs to keep from others, how those of a slot go, and
 * who is asked when one comes back.
 *
 * Claims are real, their channels fakes; time is virtual.
 */

import { expect, test } from "bun:test";

import type { ChannelModel } from "amqplib";

import type { SubscribeOptions } from "../broker.ts";

import { ClaimTable } from "./claim-table.ts";
import { createMember, createRig } from "./partition-claim.fixture.ts";

type ClaimRig = ReturnType<typeof createRig>;

/** A member of these topics that has partition 0 of each, and what its channels are told. */
async function createTable(topics: readonly string[], subscribe: Partial<SubscribeOptions> = {}) {
  const told: string[] = [];
  const member = createMember({ topics, ...subscribe });
  const rigs: ClaimRig[] = [];
  let share: readonly number[] = [0];
  const table: ClaimTable = new ClaimTable({
    environment: member.environment,
    topics,
    share: () => share,
    newClaim: (place) => {
      const rig = createRig({ member, told, place, onLost: (claim) => table.forget(claim) });
      rigs.push(rig);
      return rig.claim;
    },
    onChange: () => undefined,
  });
  table.attach({} as ChannelModel); // handed on to the link
  table.reconcile();
  await member.environment.settle();
  const shareOut = (partitions: readonly number[]): void => {
    share = partitions;
    table.reconcile();
  };
  return { ...member, table, rigs, told, shareOut };
}

test("a partition is its member's until it has been handed over", async () => {
  const leaving = Promise.withResolvers<boolean>();
  const { environment, table, rigs, told, shareOut } = await createTable(["t"], {
    onRevoking: () => leaving.promise,
  });
  rigs[0]?.channel.send(1);
  await environment.settle();
  expect([table.held(), table.isSettled()]).toEqual([{ t: [0] }, true]);
  shareOut([]);
  await environment.settle();
  expect([table.held(), table.isSettled()]).toEqual([{ t: [0] }, false]);
  leaving.resolve(true);
  await environment.settle();
  expect([table.held(), table.isSettled()]).toEqual([{}, true]);
  expect(told).toEqual(["consume", "close"]);
});

test("no topic of a slot goes before all of its topics can", async () => {
  const slow = Promise.withResolvers<boolean>();
  const { environment, table, rigs, told, shareOut } = await createTable(["quick", "slow"], {
    onRevoking: (topic) => (topic === "slow" ? slow.promise : Promise.resolve(true)),
  });
  for (const { channel } of rigs) channel.send(1);
  await environment.settle();
  shareOut([]);
  await environment.settle();
  expect(told).toEqual(["consume", "consume"]);
  expect(table.held()).toEqual({ quick: [0], slow: [0] });
  slow.resolve(true);
  await environment.settle();
  expect(told.slice(2)).toEqual(["close", "close"]);
  expect(table.all).toEqual([]);
});

test("a slot does not wait for another", async () => {
  const slow = Promise.withResolvers<boolean>();
  const { environment, table, shareOut } = await createTable(["t"], {
    onRevoking: (_topic, [partition]) => (partition === 1 ? slow.promise : Promise.resolve(true)),
  });
  shareOut([0, 1]);
  expect(table.held()).toEqual({ t: [0] });
  await environment.settle();
  expect(table.held()).toEqual({ t: [0, 1] });
  for (const claim of table.all) claim.own();
  await environment.settle();
  shareOut([]);
  await environment.settle();
  expect(table.held()).toEqual({ t: [1] });
});

test("what is being taken on is let go of before its partition goes", async () => {
  const taking = Promise.withResolvers<void>();
  const asked: string[] = [];
  const { environment, rigs, table, told, shareOut } = await createTable(["t"], {
    onAssigned: () => taking.promise,
    onRevoking: async () => asked.push("revoking") > 0,
    onRevoked: () => void asked.push("revoked"),
  });
  rigs[0]?.channel.send(1);
  await environment.settle();
  shareOut([]);
  await environment.settle();
  expect([table.held(), told]).toEqual([{ t: [0] }, ["consume"]]);
  taking.resolve();
  await environment.settle();
  expect([table.held(), told]).toEqual([{}, ["consume", "close"]]);
  expect(asked).toEqual(["revoking", "revoked"]);
});

test("a topic that cannot be taken on does not go before the others of its slot", async () => {
  const takings = new Map(["fails", "slow"].map((each) => [each, Promise.withResolvers<void>()]));
  const { environment, rigs, table, told, shareOut } = await createTable(["fails", "slow"], {
    onAssigned: (topic) => takings.get(topic)?.promise ?? Promise.resolve(),
  });
  for (const { channel } of rigs) channel.send(1);
  await environment.settle();
  shareOut([]);
  takings.get("fails")?.reject(new Error("no"));
  await environment.settle();
  expect(told).toEqual(["consume", "consume"]);
  expect(table.held()).toEqual({ fails: [0], slow: [0] });
  takings.get("slow")?.resolve();
  await environment.settle();
  expect(told.slice(2)).toEqual(["close", "close"]);
  expect([table.all, ...rigs.map(({ lost }) => lost)]).toEqual([[], [], []]);
});

test("who never takes a partition on keeps it from others no longer than it may", async () => {
  const { environment, rigs, table, told, shareOut } = await createTable(["t"], {
    onAssigned: () => Promise.withResolvers<void>().promise,
  });
  rigs[0]?.channel.send(1);
  await environment.settle();
  shareOut([]);
  await environment.advance(999);
  expect([table.held(), told]).toEqual([{ t: [0] }, ["consume"]]);
  await environment.advance(1);
  expect([table.held(), told]).toEqual([{}, ["consume", "close"]]);
});

test("what is taken on for a claim that is over is left to the next one here", async () => {
  const takings: PromiseWithResolvers<void>[] = [];
  const asked: string[] = [];
  const { environment, deliveries, rigs } = await createTable(["t"], {
    async onAssigned() {
      const taking = Promise.withResolvers<void>();
      takings.push(taking);
      asked.push("assigned");
      await taking.promise;
    },
    onRevoking: async () => asked.push("revoking") > 0,
    onRevoked: () => void asked.push("revoked"),
  });
  rigs[0]?.channel.send(1);
  await environment.settle();
  rigs[0]?.channel.lose?.(new Error("the channel is gone"));
  await environment.advance(250);
  rigs[1]?.channel.send(1, 1);
  await environment.settle();
  for (const { resolve } of takings) resolve();
  await environment.settle();
  expect(asked).toEqual(["assigned", "assigned"]);
  expect(deliveries.map(({ sequence }) => sequence)).toEqual([1]);
});

test("it is let go of when the next one has not begun", async () => {
  const taking = Promise.withResolvers<void>();
  const asked: string[] = [];
  const { environment, rigs } = await createTable(["t"], {
    onAssigned: () => taking.promise,
    onRevoking: async () => asked.push("revoking") > 0,
    onRevoked: () => void asked.push("revoked"),
  });
  rigs[0]?.channel.send(1);
  await environment.settle();
  rigs[0]?.channel.lose?.(new Error("the channel is gone"));
  await environment.advance(250);
  expect(rigs).toHaveLength(2);
  taking.resolve();
  await environment.settle();
  expect(asked).toEqual(["revoking", "revoked"]);
});
