/**
 * One claimed partition: when it owns, what it acknowledges and how, and burials that were cut
 * short.
 *
 * The channel is a fake that keeps what it is told; the member is the real one, time is virtual.
 */

import { expect, test } from "bun:test";

import type { ClaimPlace, PartitionClaim } from "./partition-claim.ts";

import { createMember, createRig } from "./partition-claim.fixture.ts";
import { ANSWER_TIMEOUT_MS } from "./rabbit-settings.ts";

test("what is settled up to a point is told at once, what is above one by one", async () => {
  const { environment, channel, remote, deliveries, open, sequences } = createRig();
  await open();
  for (let tag = 1; tag <= 6; tag++) channel.send(tag);
  await environment.settle();
  expect(sequences()).toEqual([1, 2, 3, 4, 5, 6]);
  const settle = async (...tags: number[]): Promise<void> => {
    for (const each of deliveries) if (tags.includes(each.sequence)) remote.settle(each);
    await environment.settle();
  };
  await settle(2, 5);
  await settle(1);
  await settle(3, 4);
  // 2 and 5 were told before, and a tag that was told must not be named again.
  expect(channel.told.slice(1)).toEqual(["only 2", "only 5", "through 1", "through 4"]);
});

test("what nobody waits for is told in a while; much, or who waits, hurries it", async () => {
  const { environment, channel, claim, remote, deliveries, open } = createRig({ ackGatherMs: 50 });
  await open();
  for (let tag = 1; tag <= 9; tag++) channel.send(tag);
  await environment.settle();
  const settle = async (...tags: number[]): Promise<void> => {
    for (const each of deliveries) if (tags.includes(each.sequence)) remote.settle(each);
    await environment.settle();
  };
  await settle(1);
  await settle(2);
  expect(channel.told.slice(1)).toEqual([]);
  await environment.advance(50);
  expect(channel.told.slice(1)).toEqual(["through 2"]);
  await settle(3);
  expect(await claim.barrier()).toBe(true);
  expect(channel.told.slice(2)).toEqual(["through 3"]);
  await settle(4, 5, 6);
  expect(channel.told.slice(3)).toEqual(["through 6"]);
  await settle(7);
  await claim.end();
  expect(channel.told.slice(4)).toEqual(["through 7", "close"]);
});

test("what is in hand is known with its copy until it is settled, and then forgotten", async () => {
  const { environment, channel, claim, remote, deliveries, forgotten, open } = createRig();
  await open();
  channel.send(1, 0, 7);
  channel.send(2, 3, 8);
  await environment.settle();
  const text = new TextDecoder();
  const known = (): (readonly [string, string] | undefined)[] =>
    [1, 2].map((tag) => {
      const message = claim.message(tag);
      return message === undefined ? undefined : [text.decode(message.bytes), message.copy];
    });
  const [first, second] = [["frame 7", "copy-7"] as const, ["frame 8", "copy-8"] as const];
  expect(known()).toEqual([first, second]);
  remote.settleAll(deliveries.slice(1));
  expect([known(), forgotten]).toEqual([[first, undefined], ["copy-8"]]);
  remote.settleAll(deliveries);
  expect([known(), forgotten]).toEqual([
    [undefined, undefined],
    ["copy-8", "copy-7"],
  ]);
});

test("of a frame that comes and goes without a fault nothing but the bytes is read", async () => {
  const { environment, channel, remote, deliveries, forgotten, open } = createRig();
  await open();
  channel.send(1);
  channel.send(2, 1);
  channel.send(3);
  await environment.settle();
  remote.settleAll(deliveries);
  await environment.settle();
  // Of the first and the last nobody can remember anything.
  expect([[...channel.decoded], forgotten]).toEqual([[2], ["copy-2"]]);
  expect(channel.told.slice(1)).toEqual(["through 3"]);
});

test("nothing is known any more of what was in hand when the claim ends", async () => {
  const { environment, channel, claim, open } = createRig();
  await open();
  channel.send(1);
  await environment.settle();
  await claim.end();
  expect(claim.message(1)).toBeUndefined();
});

test("a frame that comes for the first time needs no look at the memory", async () => {
  const { environment, channel, deliveries, open, reads } = createRig();
  await open();
  channel.send(1);
  await environment.settle();
  expect([reads(), deliveries[0]?.attempt, deliveries[0]?.notBeforeMs]).toEqual([0, 1, 0]);
  channel.send(2, 1);
  channel.send(3, 8);
  await environment.settle();
  expect(reads()).toBe(1);
  expect(deliveries.map(({ attempt }) => attempt)).toEqual([1, 4, 9]);
  expect(deliveries[1]?.notBeforeMs).toBe(99);
});

test("a burial cut short after its letter was written is not handed out again", async () => {
  const { environment, channel, open, sequences } = createRig({
    burying: ["copy-1"],
    isBuried: true,
  });
  await open();
  channel.send(1, 1);
  channel.send(2, 1);
  await environment.settle();
  expect(sequences()).toEqual([2]);
  expect(channel.told).toContain("only 1");
});

test("a frame that comes for the first time is not looked for among the letters", async () => {
  const { environment, channel, open, sequences } = createRig({
    burying: ["copy-1"],
    isBuried: true,
  });
  await open();
  channel.send(1);
  await environment.settle();
  expect(sequences()).toEqual([1]);
});

test("a burial cut short before its letter was written is handed out again", async () => {
  const { environment, channel, open, sequences } = createRig({ burying: ["copy-1"] });
  await open();
  channel.send(1, 1);
  await environment.settle();
  expect(sequences()).toEqual([1]);
  expect(channel.told).toEqual(["consume"]);
});

test("what waited for the letters when its channel was lost is not the next claim's", async () => {
  const member = createMember();
  const { environment, deliveries } = member;
  const letters = [Promise.withResolvers<boolean>(), Promise.withResolvers<boolean>()] as const;
  const burying = ["copy-4"];
  const first = createRig({ member, burying, isBuried: letters[0].promise });
  await first.open();
  for (let tag = 1; tag <= 3; tag++) first.channel.send(tag);
  await environment.settle();
  first.channel.send(4, 1);
  first.channel.send(5, 1);
  await environment.settle();
  first.channel.lose?.(new Error("the channel is gone"));
  const second = createRig({ member, burying, isBuried: letters[1].promise });
  await second.open();
  for (let tag = 1; tag <= 5; tag++) second.channel.send(tag, 2, tag + 3);
  await environment.settle();
  letters[0].resolve(false);
  await environment.settle();
  letters[1].resolve(false);
  await environment.settle();
  const text = new TextDecoder();
  const given = deliveries.map(({ bytes, sequence }) => `${text.decode(bytes)} as ${sequence}`);
  expect(given.slice(0, 3)).toEqual(["frame 1 as 1", "frame 2 as 2", "frame 3 as 3"]);
  const again = ["frame 4 as 1", "frame 5 as 2", "frame 6 as 3", "frame 7 as 4", "frame 8 as 5"];
  expect(given.slice(3)).toEqual(again);
  expect(second.channel.told).toEqual(["consume"]);
});

test("a claim that cannot read on gives back all that its channel has", async () => {
  const letter = Promise.withResolvers<boolean>();
  const burying = ["copy-2"];
  const rigging = { burying, isBuried: letter.promise, ackGatherMs: 200 };
  const { environment, channel, deliveries, lost, open, remote } = createRig(rigging);
  await open();
  channel.send(1);
  await environment.settle();
  channel.send(2, 1);
  await environment.settle();
  remote.settleAll(deliveries);
  const reason = new Error("the letters cannot be read");
  letter.reject(reason);
  await environment.settle();
  // But for what was settled, which the server is told before.
  expect([channel.told, lost]).toEqual([["consume", "through 1", "close"], [reason]]);
});

test("a claim whose consumer the server ends gives back all that its channel has", async () => {
  const { environment, channel, lost, open } = createRig();
  await open();
  channel.send(1);
  await environment.settle();
  channel.consumer?.(null);
  await environment.settle();
  expect([channel.told, lost.length]).toEqual([["consume", "close"], 1]);
});

test("nothing is delivered before the subscriber has taken the partition on", async () => {
  const taking = Promise.withResolvers<void>();
  const { environment, channel, open, sequences } = createRig({
    subscribe: { onAssigned: () => taking.promise },
  });
  await open();
  channel.send(1);
  await environment.settle();
  expect(sequences()).toEqual([]);
  taking.resolve();
  await environment.settle();
  expect(sequences()).toEqual([1]);
});

test("a subscriber that refuses a partition lets go of it and gives it back", async () => {
  const asked: (string | undefined)[] = [];
  const { environment, channel, lost, open, sequences } = createRig({
    subscribe: {
      onAssigned: () => Promise.reject(new Error("no")),
      onRevoking: async () => asked.push("revoking", channel.told.at(-1)) > 0,
      onRevoked: () => void asked.push("revoked"),
    },
  });
  await open();
  channel.send(1);
  await environment.settle();
  expect(sequences()).toEqual([]);
  expect(asked).toEqual(["revoking", "consume", "revoked"]);
  expect(channel.told.at(-1)).toBe("close");
  expect(lost).toHaveLength(1);
});

test("a claim given up before it had a channel consumes nothing", async () => {
  const there = Promise.withResolvers<void>();
  const { environment, channel, claim, open } = createRig({ channelIsThere: there.promise });
  const opening = open();
  await claim.end();
  there.resolve();
  await opening;
  await environment.settle();
  expect(channel.told).toEqual(["close"]);
});

test("a claim given up before it had a channel does not wait for that one for ever", async () => {
  const there = Promise.withResolvers<void>();
  const { environment, channel, claim, open } = createRig({ channelIsThere: there.promise });
  channel.close = () => Promise.withResolvers<void>().promise;
  let isOver = false;
  void open().then(() => (isOver = true));
  await claim.end();
  there.resolve();
  await environment.advance(ANSWER_TIMEOUT_MS);
  expect(isOver).toBe(true);
});

async function release(claim: PartitionClaim): Promise<void> {
  await claim.handOver();
  await claim.end();
}

test("a release waits for what is in hand, no longer than it may", async () => {
  const { environment, channel, claim, remote, deliveries, open, sequences } = createRig();
  await open();
  channel.send(1);
  await environment.settle();
  const first = deliveries[0];
  let isOver = false;
  void release(claim).then(() => (isOver = true));
  channel.send(2);
  await environment.settle();
  expect([isOver, sequences()]).toEqual([false, [1]]);
  if (first !== undefined) remote.settle(first);
  await environment.settle();
  expect(isOver).toBe(true);
  expect(channel.told).toEqual(["consume", "through 1", "close"]);

  const stuck = createRig();
  await stuck.open();
  stuck.channel.send(1);
  await stuck.environment.settle();
  void release(stuck.claim);
  await stuck.environment.advance(1_001);
  expect(stuck.channel.told).toEqual(["consume", "close"]);
});

test("a release waits for who lets go, also when all that was in hand is settled", async () => {
  const leaving = Promise.withResolvers<boolean>();
  const { environment, channel, claim, remote, deliveries, open } = createRig({
    subscribe: { onRevoking: () => leaving.promise },
  });
  await open();
  channel.send(1);
  await environment.settle();
  void release(claim);
  remote.settleAll(deliveries);
  await environment.settle();
  expect(channel.told).toEqual(["consume", "through 1"]);
  leaving.resolve(true);
  await environment.settle();
  expect(channel.told).toEqual(["consume", "through 1", "close"]);
});

/** A subscriber that takes its time to take a partition on; its claim, and what both are told. */
async function slowlyTaken(place: Partial<ClaimPlace> = {}, onRevoking = async () => true) {
  const told: string[] = [];
  const taking = Promise.withResolvers<void>();
  const member = createMember({
    async onAssigned() {
      told.push("assigned");
      await taking.promise;
    },
    async onRevoking() {
      told.push("revoking");
      return await onRevoking();
    },
    onRevoked: () => void told.push("revoked"),
  });
  const rig = createRig({ member, told, place });
  await rig.open();
  rig.channel.send(1);
  await rig.environment.settle();
  expect(told.splice(0)).toEqual(["consume", "assigned"]);
  return { ...rig, told, taking };
}

test("what a subscriber took on after it was lost is taken from it again", async () => {
  const { environment, channel, told, taking, sequences } = await slowlyTaken();
  channel.lose?.(new Error("the channel is gone"));
  taking.resolve();
  await environment.settle();
  expect(told).toEqual(["revoking", "revoked"]);
  expect(sequences()).toEqual([]);
});

test("it is taken away though the subscriber cannot let go of it", async () => {
  const failing = await slowlyTaken({}, () => Promise.reject(new Error("no")));
  failing.channel.lose?.(new Error("the channel is gone"));
  failing.taking.resolve();
  await failing.environment.settle();
  expect(failing.told).toEqual(["revoking", "revoked"]);

  const hanging = await slowlyTaken({}, () => Promise.withResolvers<boolean>().promise);
  hanging.channel.lose?.(new Error("the channel is gone"));
  hanging.taking.resolve();
  await hanging.environment.advance(999);
  expect(hanging.told).toEqual(["revoking"]);
  await hanging.environment.advance(1);
  expect(hanging.told).toEqual(["revoking", "revoked"]);
});

test("what it lets go of is the next claim's, if there is one by then", async () => {
  let isSucceeded = false;
  const leaving = Promise.withResolvers<boolean>();
  const place = { isSucceeded: () => isSucceeded };
  const { environment, channel, told, taking } = await slowlyTaken(place, () => leaving.promise);
  channel.lose?.(new Error("the channel is gone"));
  taking.resolve();
  await environment.settle();
  isSucceeded = true;
  leaving.resolve(true);
  await environment.settle();
  expect(told).toEqual(["revoking"]);
});

test("what a subscriber is taking on is not another's before it has let go of it", async () => {
  const leaving = Promise.withResolvers<boolean>();
  const { environment, claim, told, taking, sequences } = await slowlyTaken(
    {},
    () => leaving.promise,
  );
  void release(claim);
  await environment.settle();
  expect(told).toEqual([]);
  taking.resolve();
  await environment.settle();
  expect([told, claim.isHolding]).toEqual([["revoking"], true]);
  leaving.resolve(true);
  await environment.settle();
  expect(told).toEqual(["revoking", "revoked", "close"]);
  expect([sequences(), claim.isHolding]).toEqual([[], false]);
});
