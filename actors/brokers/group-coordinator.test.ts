/**
 * The coordinator of a group over a log in memory, on a virtual clock. The brokers that use it run
 * the conformance suite.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import type { Delivery } from "./broker.ts";
import type { Member, MemberOptions } from "./group-crew.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { GroupCoordinator } from "./group-coordinator.ts";

const TOPIC = "orders";
const LEASE_MS = 1_000;
const HEARD = 1;
const UNHEARD = 2;

/** A group over an in-memory log, and everything its members were handed. */
function createGroup(partitions = 1, types?: readonly number[], backlog: readonly number[] = []) {
  const environment = createVirtualEnvironment();
  const frame = (type: number): Uint8Array => {
    const payload = new Uint8Array(8);
    const fields = { id: environment.newId(), timeMs: 0, slot: 0, key: "k" };
    return encodeFrame({ ...fields, type, payload });
  };
  const logs = Array.from({ length: partitions }, (): Uint8Array[] => backlog.map(frame));
  const coordinator = new GroupCoordinator({
    environment,
    group: "payment",
    topics: [TOPIC],
    partitions,
    firstEpoch: 100,
    ...(types === undefined ? {} : { types }),
    stored: () => ({
      position: 0,
      settledAbove: [],
      postponed: new Map(),
      tail: backlog.length,
    }),
    read: (_topic, partition, after, framesMax) =>
      (logs[partition] ?? [])
        .slice(after, after + framesMax)
        .map((bytes, index) => ({ sequence: after + index + 1, bytes })),
  });
  return {
    environment,
    coordinator,
    publish(partition = 0, count = 1, type?: number) {
      for (let made = 0; made < count; made++) {
        const bytes = type === undefined ? new Uint8Array(100) : frame(type);
        logs[partition]?.push(bytes);
        const sequence = logs[partition]?.length ?? 0;
        coordinator.appended(TOPIC, partition, { sequence, bytes });
      }
      coordinator.flush();
    },
    join(options: Partial<MemberOptions> = {}) {
      const received: Delivery[] = [];
      const revoked: number[] = [];
      const member = coordinator.join({
        topics: [TOPIC],
        creditFrames: 1_000,
        creditBytes: 1_000_000,
        leaseMs: LEASE_MS,
        ...(types === undefined ? {} : { types }),
        deliver: (deliveries) => received.push(...deliveries),
        revoked: (_topic, lost) => revoked.push(...lost),
        ...options,
      });
      coordinator.flush();
      return { member, received, revoked };
    },
  };
}

const sequences = (deliveries: readonly Delivery[]): readonly number[] =>
  deliveries.map(({ sequence }) => sequence);

/** The delivery at `index`; the test fails when there is none. */
function at(deliveries: readonly Delivery[], index: number): Delivery {
  const delivery = deliveries.at(index);
  if (delivery === undefined) throw new Error(`there is no delivery ${index}`);
  return delivery;
}

test("a member gets what was stored before it joined, then what is stored after, in order", () => {
  const group = createGroup();
  group.publish(0, 3);
  const { received } = group.join();
  group.publish(0, 2);
  expect(sequences(received)).toEqual([1, 2, 3, 4, 5]);
  expect(received.every(({ attempt, epoch }) => attempt === 1 && epoch > 100)).toBe(true);
});

test("a member never holds more than its credit of frames", () => {
  const group = createGroup();
  const { received } = group.join({ creditFrames: 2 });
  group.publish(0, 5);
  expect(sequences(received)).toEqual([1, 2]);
  group.coordinator.settle(at(received, 1));
  group.coordinator.flush();
  expect(sequences(received)).toEqual([1, 2, 3]);
});

test("a member holds one delivery however little its credit of bytes is", () => {
  const group = createGroup();
  const { received } = group.join({ creditBytes: 1 });
  group.publish(0, 2);
  expect(sequences(received)).toEqual([1]);
});

test("a paused member gets nothing until it resumes", () => {
  const group = createGroup();
  const { member, received } = group.join();
  group.coordinator.setPaused(member, true);
  group.publish(0, 2);
  expect(received).toEqual([]);
  group.coordinator.setPaused(member, false);
  group.coordinator.flush();
  expect(sequences(received)).toEqual([1, 2]);
});

test("settling twice is a repeat, and under an old epoch stale", () => {
  const group = createGroup();
  const { member, received } = group.join();
  group.publish();
  const delivery = at(received, 0);
  expect(group.coordinator.probe(delivery)).toBe("settled");
  expect(group.coordinator.settle(delivery)).toBe("settled");
  expect(group.coordinator.settle(delivery)).toBe("repeat");
  group.coordinator.leave(member);
  expect(group.coordinator.settle(delivery)).toBe("stale");
});

test("what a lost member held goes to the next, one attempt older, and settled does not", () => {
  const group = createGroup();
  const first = group.join();
  group.publish(0, 3);
  group.coordinator.settle(at(first.received, 1));
  group.coordinator.leave(first.member);
  const second = group.join();
  expect(sequences(second.received)).toEqual([1, 3]);
  expect(second.received.map(({ attempt }) => attempt)).toEqual([2, 2]);
});

test("a partition changes hands only when nothing is in hand, and nothing comes twice", () => {
  const group = createGroup(2);
  const first = group.join();
  group.publish(1, 2);
  const second = group.join();
  expect(second.received).toEqual([]);
  for (const delivery of first.received) group.coordinator.settle(delivery);
  group.publish(1, 1);
  expect(first.revoked).toEqual([1]);
  expect(sequences(second.received)).toEqual([3]);
});

test("a delivery held past its lease takes the partition with it to another member", async () => {
  const group = createGroup();
  const slow = group.join();
  group.publish();
  const other = group.join();
  await group.environment.advance(LEASE_MS + 1);
  group.coordinator.expireLeases();
  group.coordinator.flush();
  expect(slow.revoked).toEqual([0]);
  expect(other.received.map(({ attempt }) => attempt)).toEqual([2]);
  expect(group.coordinator.settle(at(slow.received, 0))).toBe("stale");
  expect(group.coordinator.settle(at(other.received, 0))).toBe("settled");
});

test("a postponed delivery stays in hand until its time and a lease have passed", async () => {
  const group = createGroup();
  const { received } = group.join();
  group.publish();
  const notBeforeMs = group.environment.nowMs() + 10 * LEASE_MS;
  const postponement = { attempt: 2, notBeforeMs, error: "later" };
  expect(group.coordinator.postpone(at(received, 0), postponement)).toBe("settled");
  await group.environment.advance(10 * LEASE_MS);
  group.coordinator.expireLeases();
  group.coordinator.flush();
  expect(received).toHaveLength(1);
  await group.environment.advance(LEASE_MS + 1);
  group.coordinator.expireLeases();
  group.coordinator.flush();
  expect(received.map(({ attempt }) => attempt)).toEqual([1, 3]);
});

test("a jump of the wall clock takes no delivery away", () => {
  const group = createGroup();
  const { received, revoked } = group.join();
  group.publish();
  group.environment.jumpWallClock(3_600_000);
  group.coordinator.expireLeases();
  group.environment.jumpWallClock(-7_200_000);
  group.coordinator.expireLeases();
  expect(revoked).toEqual([]);
  expect(received).toHaveLength(1);
});

test("members that name partitions get exactly those", () => {
  const group = createGroup(4);
  const even = group.join({ partitions: [0, 2] });
  const odd = group.join({ partitions: [1, 3] });
  for (let partition = 0; partition < 4; partition++) group.publish(partition);
  expect(even.received.map(({ partition }) => partition)).toEqual([0, 2]);
  expect(odd.received.map(({ partition }) => partition)).toEqual([1, 3]);
});

test("a log that cannot be read for once delays its member, and loses nothing", () => {
  const environment = createVirtualEnvironment();
  let reads = 0;
  const coordinator = new GroupCoordinator({
    environment,
    group: "payment",
    topics: [TOPIC],
    partitions: 1,
    firstEpoch: 100,
    stored: () => ({ position: 0, settledAbove: [], postponed: new Map(), tail: 1 }),
    read() {
      if (reads++ === 0) throw new Error("not now");
      return [{ sequence: 1, bytes: new Uint8Array(1) }];
    },
  });
  const received: Delivery[] = [];
  coordinator.join({
    topics: [TOPIC],
    creditFrames: 10,
    creditBytes: 1_000,
    leaseMs: LEASE_MS,
    deliver: (deliveries) => received.push(...deliveries),
    revoked: () => undefined,
  });
  expect(() => coordinator.flush()).toThrow("not now");
  coordinator.flush();
  expect(sequences(received)).toEqual([1]);
});

test("depth counts what is in hand and what waits", () => {
  const group = createGroup();
  group.join({ creditFrames: 2 });
  group.publish(0, 5);
  expect(group.coordinator.depth()).toEqual({ inHand: 2, waiting: 3 });
});

test("what does not concern the group is passed by, in ranges that are told once", () => {
  const group = createGroup(1, [HEARD]);
  const { received } = group.join();
  group.publish(0, 3, UNHEARD);
  group.publish(0, 1, HEARD);
  group.publish(0, 2, UNHEARD);
  expect(sequences(received)).toEqual([4]);
  const where = { group: "payment", topic: TOPIC, partition: 0 };
  expect(group.coordinator.takePassed()).toEqual([
    { ...where, first: 1, last: 3 },
    { ...where, first: 5, last: 6 },
  ]);
  expect(group.coordinator.takePassed()).toEqual([]);
  group.coordinator.keepPassed({ ...where, first: 5, last: 6 });
  expect(group.coordinator.takePassed()).toEqual([{ ...where, first: 5, last: 6 }]);
});

test("it is passed by with no member, without credit, and behind a backlog as well", () => {
  const group = createGroup(1, [HEARD], [UNHEARD, HEARD, UNHEARD]);
  group.publish(0, 2, UNHEARD);
  const { received } = group.join({ creditFrames: 1 });
  group.publish(0, 1, UNHEARD);
  group.publish(0, 1, HEARD);
  expect(sequences(received)).toEqual([2]);
  group.coordinator.settle(at(received, 0));
  group.coordinator.flush();
  expect(sequences(received)).toEqual([2, 7]);
  const passed = group.coordinator.takePassed().flatMap(({ first, last }) => [first, last]);
  expect(passed.toSorted((a, b) => a - b)).toEqual([1, 1, 3, 3, 4, 5, 6, 6]);
  expect(group.coordinator.depth()).toEqual({ inHand: 1, waiting: 0 });
});

test("bytes that are no frame concern everybody", () => {
  const group = createGroup(1, [HEARD]);
  const { received } = group.join();
  group.publish();
  expect(sequences(received)).toEqual([1]);
});

test("a member that names other types is refused", () => {
  const group = createGroup(1, [HEARD]);
  expect(() => group.join({ types: [HEARD, UNHEARD] })).toThrow("with other types");
  expect(createGroup().join({}).received).toEqual([]);
  expect(() => createGroup().join({ types: [HEARD] })).toThrow("with other types");
});

test("a partition whose owner asked is not in the next answer until something changed", () => {
  const group = createGroup(2, [HEARD]);
  const { member, received } = group.join();
  expect(group.coordinator.standing(member)).toEqual([]);
  group.publish(1, 1, UNHEARD);
  const [only] = group.coordinator.standing(member);
  expect(only).toMatchObject({ partition: 1, published: 1, passedBy: 1, sent: 0 });
  expect(group.coordinator.standing(member)).toEqual([]);
  group.publish(1, 1, HEARD);
  expect(group.coordinator.standing(member)).toHaveLength(1);
  group.coordinator.settle(at(received, 0), "dead");
  expect(group.coordinator.standing(member)[0]).toMatchObject({ dead: 1, sent: 1, settled: 1 });
});

const action = fc.oneof(
  fc.record({ kind: fc.constant("publish" as const), partition: fc.nat(2) }),
  fc.record({ kind: fc.constant("unheard" as const), partition: fc.nat(2) }),
  fc.record({ kind: fc.constant("settle" as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant("join" as const), credit: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant("leave" as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant("expire" as const) }),
);

/** Whoever asks may see only what changed, so all members are asked each time. */
function expectBooks(group: ReturnType<typeof createGroup>, crew: readonly { member: Member }[]) {
  for (const { member } of crew) {
    for (const standing of group.coordinator.standing(member)) {
      const { published, acked, dead, passedBy, inHand, waiting, unread } = standing;
      expect(acked + dead + passedBy + inHand + waiting).toBe(published);
      expect(unread).toBe(waiting);
    }
  }
}

test("whatever members do, nothing is lost, skipped, or in two hands at once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
      const group = createGroup(3, [HEARD]);
      const published = [0, 0, 0];
      const settled = new Set<string>();
      const crew: { member: Member; received: Delivery[] }[] = [];
      const nameOf = ({ partition, sequence }: Delivery): string => `${partition}/${sequence}`;
      const held = (): Delivery[] =>
        crew
          .flatMap(({ received }) => received)
          .filter((delivery) => group.coordinator.probe(delivery) === "settled");
      for (const step of actions) {
        if (step.kind === "publish") {
          published[step.partition] = (published[step.partition] ?? 0) + 1;
          group.publish(step.partition, 1, HEARD);
        } else if (step.kind === "unheard") {
          group.publish(step.partition, 1, UNHEARD);
        } else if (step.kind === "join") {
          crew.push(group.join({ creditFrames: step.credit }));
        } else if (step.kind === "leave" && crew.length > 0) {
          const [gone] = crew.splice(step.pick % crew.length, 1);
          if (gone !== undefined) group.coordinator.leave(gone.member);
        } else if (step.kind === "expire") {
          await group.environment.advance(LEASE_MS + 1);
          group.coordinator.expireLeases();
        } else if (step.kind === "settle") {
          const inHand = held();
          const delivery = inHand[step.pick % Math.max(1, inHand.length)];
          if (delivery === undefined) continue;
          expect(group.coordinator.settle(delivery)).toBe("settled");
          expect(settled.has(nameOf(delivery))).toBe(false);
          settled.add(nameOf(delivery));
        }
        group.coordinator.flush();
        expectBooks(group, crew);
        const names = held().map(nameOf);
        expect(new Set(names).size).toBe(names.length);
        for (const name of names) expect(settled.has(name)).toBe(false);
      }
      // A last member with credit for all of it finds exactly what was never settled.
      for (const { member } of crew.splice(0)) group.coordinator.leave(member);
      const last = group.join();
      const expected = published.reduce((sum, count) => sum + count, 0) - settled.size;
      expect(last.received).toHaveLength(expected);
      expect(last.received.some((delivery) => settled.has(nameOf(delivery)))).toBe(false);
    }),
    { numRuns: 200 },
  );
});
