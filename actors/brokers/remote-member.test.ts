/** What a member of a remote group keeps: order, credit, books, leases; on a clock of the test. */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { Delivery, SubscribeOptions } from "./broker.ts";
import type { RemoteMemberOptions } from "./remote-member.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { RemoteMember } from "./remote-member.ts";

const TOPIC = "t";
const LEASE_MS = 8_000;
const FRESH = { position: 0, settledAbove: [], postponed: new Map() };

function createRig(
  overrides: Partial<SubscribeOptions> = {},
  hooks: Partial<RemoteMemberOptions> = {},
) {
  const environment = createVirtualEnvironment();
  const deliveries: Delivery[] = [];
  const revoked: number[] = [];
  const settled: number[] = [];
  const member = new RemoteMember({
    environment,
    subscribe: {
      group: "g",
      topics: [TOPIC],
      from: "earliest",
      creditFrames: 100,
      creditBytes: 1_000_000,
      leaseMs: LEASE_MS,
      onDeliveries: (batch) => void deliveries.push(...batch),
      onRevoked: (_topic, partitions) => void revoked.push(...partitions),
      ...overrides,
    },
    onSettled: (_topic, _partition, sequences) => void settled.push(...sequences),
    ...hooks,
  });
  const receive = async (partition: number, ...sequences: readonly number[]): Promise<void> => {
    member.received(
      TOPIC,
      partition,
      sequences.map((sequence) => ({ sequence, bytes: new Uint8Array(10) })),
    );
    await environment.settle();
  };
  const sequences = (): readonly number[] => deliveries.map(({ sequence }) => sequence);
  const of = (sequence: number): Delivery => {
    const found = deliveries.findLast((each) => each.sequence === sequence);
    if (found === undefined) throw new Error(`${sequence} was not delivered`);
    return found;
  };
  return { environment, member, deliveries, revoked, settled, receive, sequences, of };
}

describe("a member of a remote group", () => {
  test("hands out what it receives, in order and in a later turn", async () => {
    const { member, environment, sequences } = createRig();
    member.assign(TOPIC, 0, FRESH);
    member.received(
      TOPIC,
      0,
      [1, 2, 3].map((sequence) => ({ sequence, bytes: new Uint8Array() })),
    );
    expect(sequences()).toEqual([]);
    await environment.settle();
    expect(sequences()).toEqual([1, 2, 3]);
  });

  test("drops what belongs to a partition that it does not hold", async () => {
    const { receive, sequences } = createRig();
    await receive(3, 1, 2);
    expect(sequences()).toEqual([]);
  });

  test("hands out no more than its credit, and says when there is room again", async () => {
    const rooms: number[] = [];
    const rig = createRig(
      { creditFrames: 2, creditBytes: 60 },
      { onRoom: (_topic, partition) => void rooms.push(partition) },
    );
    rig.member.assign(TOPIC, 0, FRESH);
    await rig.receive(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
    expect(rig.sequences()).toEqual([1, 2]);
    expect(rig.member.hasRoom(TOPIC, 0)).toBe(false);
    for (const sequence of [1, 2]) rig.member.settle(rig.of(sequence));
    await rig.environment.settle();
    expect(rig.sequences()).toEqual([1, 2, 3, 4]);
    expect(rooms).toEqual([0]);
  });

  test("says that there is room when another partition has made it", async () => {
    const rooms: number[] = [];
    const rig = createRig(
      { creditFrames: 1, creditBytes: 50 },
      { onRoom: (_topic, partition) => void rooms.push(partition) },
    );
    rig.member.assign(TOPIC, 0, FRESH);
    rig.member.assign(TOPIC, 1, FRESH);
    await rig.receive(1, 1, 2, 3, 4, 5, 6);
    await rig.receive(0, 1);
    expect(rig.member.hasRoom(TOPIC, 0)).toBe(false);
    // The one frame of partition 0 goes first, while those of partition 1 still fill the buffer.
    for (let settled = 0; settled < 5; settled++) {
      const next = rig.deliveries[settled];
      if (next !== undefined) rig.member.settle(next);
      await rig.environment.settle();
    }
    expect(rooms).toContain(0);
    expect(rig.member.hasRoom(TOPIC, 0)).toBe(true);
  });

  test("settles once; what is settled again is a repeat, under an old epoch stale", async () => {
    const rig = createRig();
    rig.member.assign(TOPIC, 0, FRESH);
    await rig.receive(0, 1, 2);
    const [first, second] = [rig.of(1), rig.of(2)];
    expect(rig.member.settle(first)).toBe("settled");
    expect(rig.member.settle(first)).toBe("repeat");
    rig.member.assign(TOPIC, 0, FRESH);
    expect(rig.revoked).toEqual([0]);
    expect(rig.member.settle(second)).toBe("stale");
    expect(rig.settled).toEqual([1]);
  });

  test("settles many: each has its own answer, and of each run is told once", async () => {
    const told: (readonly [number, readonly number[]])[] = [];
    const rig = createRig({}, { onSettled: (_topic, at, sequences) => told.push([at, sequences]) });
    // Two partitions may be in the same epoch, by the server's count.
    for (const partition of [0, 1]) rig.member.assign(TOPIC, partition, FRESH, 7);
    await rig.receive(0, 1, 2, 3);
    await rig.receive(1, 1, 2);
    const [first, second, third, other, another] = rig.deliveries as [
      Delivery,
      Delivery,
      Delivery,
      Delivery,
      Delivery,
    ];
    const early = { ...third, epoch: third.epoch - 1 };
    const unknown = { ...third, topic: "elsewhere" };
    expect(
      rig.member.settleAll([second, first, second, other, early, third, unknown, another]),
    ).toEqual(["settled", "settled", "repeat", "settled", "stale", "settled", "stale", "settled"]);
    expect(told).toEqual([
      [0, [2, 1]],
      [1, [1]],
      [0, [3]],
      [1, [2]],
    ]);
    expect(rig.member.settleAll([first, other])).toEqual(["repeat", "repeat"]);
    expect(told).toHaveLength(4);
    const standing = rig.member.standing().map(({ acked, settled, inHand }) => {
      return [acked, settled, inHand];
    });
    expect(standing).toEqual([
      [3, 3, 0],
      [2, 2, 0],
    ]);
  });

  test("has its credit back when many are settled at once", async () => {
    for (const credit of [{ creditFrames: 3 }, { creditBytes: 25 }]) {
      const rig = createRig(credit);
      rig.member.assign(TOPIC, 0, FRESH);
      await rig.receive(0, 1, 2, 3, 4, 5, 6, 7, 8);
      expect(rig.sequences()).toEqual([1, 2, 3]);
      rig.member.settleAll([rig.of(1), rig.of(2), rig.of(2), rig.of(3)]);
      await rig.environment.settle();
      expect(rig.sequences()).toEqual([1, 2, 3, 4, 5, 6]);
    }
  });

  test("hands out nothing twice that it receives twice", async () => {
    const rig = createRig({ creditFrames: 2 });
    rig.member.assign(TOPIC, 0, FRESH);
    await rig.receive(0, 1, 2, 3);
    await rig.receive(0, 2, 3, 4);
    rig.member.settleAll([rig.of(1), rig.of(2)]);
    await rig.environment.settle();
    expect(rig.sequences()).toEqual([1, 2, 3, 4]);
    expect(rig.member.standing()).toMatchObject([{ published: 4, passedBy: 0, waiting: 0 }]);
  });

  test("leaves out what was settled before it came, and what is not there", async () => {
    const rig = createRig();
    rig.member.assign(TOPIC, 0, { ...FRESH, position: 4, settledAbove: [6, 7] });
    await rig.receive(0, 3, 4, 5, 6, 7, 10);
    expect(rig.sequences()).toEqual([5, 10]);
    rig.member.settle(rig.of(5));
    expect(rig.member.position(TOPIC, 0)?.settled.position).toBe(9);
    rig.member.settle(rig.of(10));
    expect(rig.member.position(TOPIC, 0)?.settled.position).toBe(10);
  });

  test("passes by what does not concern the group, and hands out what it cannot read", async () => {
    const rig = createRig({ types: [1] });
    const frame = (type: number): Uint8Array =>
      encodeFrame({
        type,
        slot: 0,
        key: "k",
        payload: new Uint8Array(),
        id: rig.environment.newId(),
        timeMs: rig.environment.nowMs(),
      });
    rig.member.assign(TOPIC, 0, FRESH);
    rig.member.received(TOPIC, 0, [
      { sequence: 1, bytes: frame(2) },
      { sequence: 2, bytes: frame(1) },
      { sequence: 3, bytes: new Uint8Array(4) },
    ]);
    await rig.environment.settle();
    expect(rig.sequences()).toEqual([2, 3]);
    expect(rig.settled).toEqual([1]);
    expect(rig.member.standing()).toMatchObject([{ passedBy: 1, inHand: 2, published: 3 }]);
  });

  test("counts attempts on from what the server or a postponement says", async () => {
    const rig = createRig();
    const postponed = new Map([[2, { attempt: 4, notBeforeMs: 77, error: "later" }]]);
    rig.member.assign(TOPIC, 0, { ...FRESH, postponed });
    rig.member.received(TOPIC, 0, [
      { sequence: 1, bytes: new Uint8Array(), attempt: 3 },
      { sequence: 2, bytes: new Uint8Array() },
      { sequence: 3, bytes: new Uint8Array() },
    ]);
    await rig.environment.settle();
    expect(rig.deliveries.map(({ attempt }) => attempt)).toEqual([3, 4, 1]);
    expect(rig.of(2).notBeforeMs).toBe(77);
  });

  test("takes a partition away once a delivery is held past its lease, and tells", async () => {
    const expired: number[] = [];
    const rig = createRig({}, { onLeaseExpired: (_topic, at) => void expired.push(at) });
    rig.member.assign(TOPIC, 0, FRESH);
    rig.member.assign(TOPIC, 1, FRESH);
    await rig.receive(0, 1);
    await rig.environment.advance(LEASE_MS * 0.9);
    await rig.receive(1, 1);
    await rig.environment.advance(LEASE_MS * 0.3);
    expect([rig.revoked, expired]).toEqual([[0], [0]]);
    expect(rig.member.isAssigned(TOPIC, 1)).toBe(true);
  });

  test("does not run a lease while a delivery waits for its retry", async () => {
    const rig = createRig();
    rig.member.assign(TOPIC, 0, FRESH);
    await rig.receive(0, 1);
    const notBeforeMs = rig.environment.nowMs() + 3 * LEASE_MS;
    rig.member.postpone(rig.of(1), { attempt: 2, notBeforeMs, error: "later" });
    await rig.environment.advance(3 * LEASE_MS);
    expect(rig.revoked).toEqual([]);
    await rig.environment.advance(2 * LEASE_MS);
    expect(rig.revoked).toEqual([0]);
  });

  test("hands out nothing of what it is about to lose, and settles what is in hand", async () => {
    const rig = createRig({ creditFrames: 1 });
    rig.member.assign(TOPIC, 0, FRESH);
    await rig.receive(0, 1, 2);
    rig.member.endDelivering(TOPIC, [0]);
    expect(rig.member.settle(rig.of(1))).toBe("settled");
    await rig.environment.settle();
    expect(rig.sequences()).toEqual([1]);
  });

  test("is silent once it is closed", async () => {
    const rig = createRig();
    rig.member.assign(TOPIC, 0, FRESH);
    rig.member.received(TOPIC, 0, [{ sequence: 1, bytes: new Uint8Array() }]);
    rig.member.close();
    await rig.environment.settle();
    expect(rig.sequences()).toEqual([]);
    expect(rig.environment.pendingTimers()).toBe(0);
  });

  test("its books balance and its credit holds, whatever happens in whatever order", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("receive" as const), count: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant("settle" as const), at: fc.nat(20) }),
      fc.record({ kind: fc.constant("again" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const rig = createRig({ creditFrames: 5 });
        rig.member.assign(TOPIC, 0, FRESH);
        let next = 1;
        for (const each of steps) {
          if (each.kind === "receive") {
            const run = Array.from({ length: each.count }, () => next++);
            await rig.receive(0, ...run);
          } else if (each.kind === "settle") {
            const delivery = rig.deliveries[each.at];
            if (delivery !== undefined) rig.member.settle(delivery);
            await rig.environment.settle();
          } else {
            const settled = rig.member.position(TOPIC, 0)?.settled.position ?? 0;
            rig.member.assign(TOPIC, 0, { ...FRESH, position: settled });
            next = settled + 1;
          }
          expect(rig.member.inHand(TOPIC, 0)).toBeLessThanOrEqual(5);
          for (const row of rig.member.standing()) {
            const { published, acked, dead, passedBy, inHand, waiting } = row;
            expect(published).toBe(acked + dead + passedBy + inHand + waiting);
          }
        }
      }),
    );
  });
});
