/**
 * One claimed partition: when it owns, what it acknowledges and how, and burials that were cut
 * short.
 *
 * The channel is a fake that keeps what it is told; the member is the real one, time is virtual.
 */

import { expect, test } from "bun:test";

import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";

import type { Delivery, SubscribeOptions } from "../broker.ts";
import type { GroupMemory } from "./group-memory.ts";
import type { RabbitLink } from "./rabbit-link.ts";
import type { VirtualEnvironment } from "../../../runtime/virtual-environment.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RemoteMember } from "../remote-member.ts";
import { AckGather } from "./ack-gather.ts";
import { PartitionClaim } from "./partition-claim.ts";

class FakeChannel {
  readonly told: string[] = [];
  consumer: ((message: ConsumeMessage) => void) | undefined;
  lose: ((error: unknown) => void) | undefined;

  prefetch(): Promise<void> {
    return Promise.resolve();
  }

  consume(_queue: string, consumer: (message: ConsumeMessage) => void): Promise<void> {
    this.told.push("consume");
    this.consumer = consumer;
    return Promise.resolve();
  }

  ack({ fields }: ConsumeMessage, isAllUpTo: boolean): void {
    this.told.push(isAllUpTo ? `through ${fields.deliveryTag}` : `only ${fields.deliveryTag}`);
  }

  checkQueue(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.told.push("close");
    return Promise.resolve();
  }

  /** The next frames, given out before as often as `count` says. `frame`: which one, by number. */
  send(tag: number, count = 0, frame = tag): void {
    const headers = count === 0 ? {} : { "x-delivery-count": count };
    const message = {
      content: Buffer.from(`frame ${frame}`),
      fields: { deliveryTag: tag },
      properties: { headers, correlationId: `copy-${frame}` },
    };
    this.consumer?.(message as unknown as ConsumeMessage); // the claim reads no more of it
  }
}

interface Rigging {
  readonly subscribe?: Partial<SubscribeOptions>;
  /** Copies whose burial has begun. */
  readonly burying?: readonly string[];
  readonly isBuried?: boolean | Promise<boolean>;
  readonly ackGatherMs?: number;
  /** Resolves when the channel may be there. */
  readonly channelIsThere?: Promise<void>;
  /** Whose claim it is; absent: of one that had none before. */
  readonly member?: RigMember;
}

interface RigMember {
  readonly environment: VirtualEnvironment;
  readonly options: SubscribeOptions;
  readonly remote: RemoteMember;
  readonly deliveries: Delivery[];
  /** Its claim now. */
  claim?: PartitionClaim;
  epoch: number;
}

function createMember(subscribe?: Partial<SubscribeOptions>): RigMember {
  const environment = createVirtualEnvironment();
  const deliveries: Delivery[] = [];
  const options = subscribing((batch) => void deliveries.push(...batch), subscribe);
  const remote = new RemoteMember({
    environment,
    subscribe: options,
    onSettled: (_topic, _partition, sequences) => member.claim?.noteSettled(sequences),
  });
  const member: RigMember = { environment, options, remote, deliveries, epoch: 6 };
  return member;
}

function linkTo(channel: FakeChannel, channelIsThere: Promise<void> | undefined): RabbitLink {
  const link: Pick<RabbitLink, "channel"> = {
    channel: async (_model, onLost) => {
      await channelIsThere;
      channel.lose = onLost;
      return channel as unknown as Channel; // the claim uses what the fake has
    },
  };
  return link as RabbitLink; // the claim uses what the fake has
}

function subscribing(
  onDeliveries: SubscribeOptions["onDeliveries"],
  more: Partial<SubscribeOptions> | undefined,
): SubscribeOptions {
  return {
    group: "g",
    topics: ["t"],
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries,
    ...more,
  };
}

function createRig({
  subscribe,
  burying = [],
  isBuried = false,
  ackGatherMs = 0,
  channelIsThere,
  member = createMember(subscribe),
}: Rigging = {}) {
  const { environment, options, remote, deliveries } = member;
  const channel = new FakeChannel();
  const lost: unknown[] = [];
  let readings = 0;
  const memory: Pick<GroupMemory, "catchUp" | "forget" | "isBeingBuried" | "postponement"> = {
    catchUp: () => {
      readings++;
      return Promise.resolve();
    },
    forget: () => undefined,
    isBeingBuried: (copy) => burying.includes(copy),
    postponement: () => ({ attempt: 4, notBeforeMs: 99, error: "later" }),
  };
  const claim = new PartitionClaim({
    environment,
    topic: "t",
    partition: 0,
    queue: "q",
    prefetchFrames: 10,
    handOverMs: 1_000,
    subscribe: options,
    remote,
    memory: memory as GroupMemory, // the claim uses what the fake has
    acks: new AckGather(environment, ackGatherMs),
    newEpoch: () => ++member.epoch,
    link: linkTo(channel, channelIsThere),
    isBuried: () => Promise.resolve(isBuried),
    onLost: (_claim, error) => void lost.push(error),
    onOwned: () => undefined,
    isSucceeded: () => member.claim !== claim && member.claim?.isTaking === true,
  });
  member.claim = claim;
  const open = (): Promise<void> => claim.open({} as ChannelModel); // handed on to the link
  const sequences = (): number[] => deliveries.map(({ sequence }) => sequence);
  return {
    environment,
    channel,
    claim,
    remote,
    deliveries,
    lost,
    open,
    sequences,
    reads: () => readings,
  };
}

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

test("a subscriber that refuses a partition gives it back", async () => {
  const { environment, channel, lost, open, sequences } = createRig({
    subscribe: { onAssigned: () => Promise.reject(new Error("no")) },
  });
  await open();
  channel.send(1);
  await environment.settle();
  expect(sequences()).toEqual([]);
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

test("a release waits for what is in hand, no longer than it may", async () => {
  const { environment, channel, claim, remote, deliveries, open, sequences } = createRig();
  await open();
  channel.send(1);
  await environment.settle();
  const first = deliveries[0];
  let isOver = false;
  void claim.release().then(() => (isOver = true));
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
  void stuck.claim.release();
  await stuck.environment.advance(1_001);
  expect(stuck.channel.told).toEqual(["consume", "close"]);
});

/** A claim that is lost while its subscriber takes its time. */
async function lostWhileTaken() {
  const told: string[] = [];
  const takings: PromiseWithResolvers<void>[] = [];
  const member = createMember({
    async onAssigned() {
      const taking = Promise.withResolvers<void>();
      takings.push(taking);
      told.push("assigned");
      await taking.promise;
    },
    onRevoking: async () => told.push("revoking") > 0,
    onRevoked: () => void told.push("revoked"),
  });
  const { environment, channel, open, sequences } = createRig({ member });
  await open();
  channel.send(1);
  await environment.settle();
  channel.lose?.(new Error("the channel is gone"));
  return { environment, told, takings, member, sequences };
}

test("what a subscriber took on after it was lost is taken from it again", async () => {
  const { environment, told, takings, sequences } = await lostWhileTaken();
  takings[0]?.resolve();
  await environment.settle();
  expect(told).toEqual(["assigned", "revoking", "revoked"]);
  expect(sequences()).toEqual([]);
});

test("what it took on for a claim that is over is left to the next one here", async () => {
  const { environment, told, takings, member } = await lostWhileTaken();
  const { channel, open, sequences } = createRig({ member });
  await open();
  channel.send(1, 1);
  await environment.settle();
  for (const { resolve } of takings) resolve();
  await environment.settle();
  expect(told).toEqual(["assigned", "assigned"]);
  expect(sequences()).toEqual([1]);
});
