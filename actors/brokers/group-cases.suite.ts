/**
 * Conformance: groups, members, credit, leases and settling (B09, B12 to B17, B28).
 *
 * These cases work on the bare port, without a consumer: what the adapter itself must hold.
 */

import { expect } from "bun:test";

import type { Bench, BrokerCase, Probe } from "./broker-bench.suite.ts";

import { idOf, idsOf, sorted } from "./broker-bench.suite.ts";

const BURIAL = { reason: "test", attempts: 1, firstError: "first", lastError: "last" };
const LEASE_MS = 400;
/** A round trip and a look at what came must fit into a lease, on a busy machine too. */
const REMOTE_LEASE_MS = 1_000;

export const GROUP_CASES: readonly BrokerCase[] = [
  {
    name: "B09: each group gets every frame, and no two of its members the same",
    run: async (bench) => {
      await bench.start();
      const groups = await Promise.all(
        ["g1", "g1", "g2", "g2"].map((group) => bench.probe({ group, acks: true })),
      );
      const ids: string[] = [];
      // Over a network who has joined may be given its share a moment later: until each has had
      // something. In this process it has it at once.
      const isShared = (): boolean =>
        !bench.isRemote || groups.every((probe) => probe.deliveries.length > 0);
      await bench.eventuallyAfter("each member has its share", isShared, async () => {
        const more = idsOf(ids.length, 50);
        ids.push(...more);
        await bench.publish(more);
        await bench.eventually("both have all", () => bench.delivered.length >= 2 * ids.length);
      });
      const [a, b, c, d] = groups.map((probe) => probe.ids());
      expect(sorted([...(a ?? []), ...(b ?? [])])).toEqual(sorted(ids));
      expect(sorted([...(c ?? []), ...(d ?? [])])).toEqual(sorted(ids));
      expect(groups.every((probe) => probe.deliveries.length > 0)).toBe(true);
    },
  },
  {
    name: "B09: a member that names its partitions gets these and no others",
    run: async (bench) => {
      await bench.start({ partitions: 8 });
      const low = await bench.probe({ partitions: [0, 1, 2, 3], acks: true });
      const high = await bench.probe({ partitions: [4, 5, 6, 7], acks: true });
      await bench.publish(idsOf(1, 200));
      await bench.drained();
      expect(low.deliveries.length).toBeGreaterThan(0);
      expect(low.deliveries.every(({ partition }) => partition < 4)).toBe(true);
      expect(high.deliveries.every(({ partition }) => partition >= 4)).toBe(true);
      expect(low.deliveries.length + high.deliveries.length).toBe(200);
    },
  },
  {
    name: "B09: sequences of a partition start at 1, without gaps, in order",
    run: async (bench) => {
      await bench.start();
      const probe = await bench.probe({ acks: true });
      await bench.publish(idsOf(1, 200));
      await bench.drained();
      const next = new Map<number, number>();
      for (const { partition, sequence } of probe.deliveries) {
        expect(sequence).toBe(next.get(partition) ?? 1);
        next.set(partition, sequence + 1);
      }
    },
  },
  { name: "B12: with credit for one, the second comes after the first settled", run: credit },
  { name: "B12: credit in bytes holds, and lets one through that is larger", run: creditBytes },
  { name: "B12: a paused member gets nothing new and can settle what it has", run: pauseResume },
  { name: "B13: what three members took and gave back, the fourth gets whole", run: giveBack },
  {
    name: "B14: a delivery held past its lease goes to another, and the late ack is stale",
    needs: ["leasesMove"],
    run: lease,
  },
  { name: "B14: with no other member, it comes back to the same one", run: leaseOfTheOnlyMember },
  { name: "B14: a postponed delivery keeps its lease until it is due", run: leaseOfPostponed },
  { name: "B15: a second settlement is a repeat and changes nothing", run: doubleSettle },
  {
    name: "B16: of a member that died, exactly what it had not acknowledged comes back",
    needs: ["crashMember"],
    run: memberDies,
  },
  {
    name: "B17: a member that wakes after its lease settles nothing of what others got",
    run: zombie,
  },
  {
    name: "B28: nothing is passed over: gaps between acknowledged deliveries come back",
    needs: ["crashMember"],
    run: (bench) =>
      gaps(bench, async (probe) => bench.hooks.crashMember?.(bench.broker, probe.subscription)),
  },
  {
    name: "B28: gaps between acknowledged deliveries come back after a kill of the broker",
    needs: ["persistent", "restart"],
    run: (bench) => gaps(bench, () => bench.restart("kill")),
  },
];

async function credit(bench: Bench): Promise<void> {
  await bench.start();
  const slow = await bench.probe({ creditFrames: 1 });
  const witness = await bench.probe({ group: "witness", acks: true });
  await bench.publish(["first", "second"], { key: "k" });
  await bench.eventually("the witness has both", () => witness.deliveries.length === 2);
  await bench.eventually("the first is here", () => slow.deliveries.length > 0);
  // Another round trip through the broker: what it would send by mistake has had its chance.
  await bench.publish(["third"], { key: "k" });
  await bench.eventually("the witness has all", () => witness.deliveries.length === 3);
  expect(slow.ids()).toEqual(["first"]);
  await slow.ack("first");
  await bench.eventually("the second came", () => slow.deliveries.length === 2, 5_000);
  await slow.ack("second");
  await bench.eventually("the third came", () => slow.deliveries.length === 3, 5_000);
  expect(slow.ids()).toEqual(["first", "second", "third"]);
}

async function creditBytes(bench: Bench): Promise<void> {
  await bench.start();
  const payload = new Uint8Array(1_000);
  const slow = await bench.probe({ creditBytes: 2_500 });
  const witness = await bench.probe({ group: "witness", acks: true });
  const options = { key: "k", payload };
  for (const id of ["1", "2", "3", "4"]) await bench.broker.publish([bench.frame(id, options)]);
  await bench.broker.publish([bench.frame("5", { key: "k", payload: new Uint8Array(5_000) })]);
  await bench.eventually("the witness has all", () => witness.deliveries.length === 5);
  await bench.eventually("the first came", () => slow.deliveries.length > 0);
  let unsettled = slow.deliveries.length;
  for (let settled = 0; settled < 5; settled++) {
    expect(unsettled - settled).toBeLessThanOrEqual(3);
    const oldest = slow.deliveries[settled];
    if (oldest !== undefined) await bench.within(slow.subscription.ack([oldest]));
    await bench.eventually(
      "more came",
      () => slow.deliveries.length > settled + 1 || settled === 4,
    );
    unsettled = slow.deliveries.length;
  }
  expect(slow.deliveries.map(({ bytes }) => bytes.byteLength)).toHaveLength(5);
}

async function pauseResume(bench: Bench): Promise<void> {
  await bench.start();
  const probe = await bench.probe();
  const witness = await bench.probe({ group: "witness", acks: true });
  await bench.publish(["held"], { key: "k" });
  await bench.eventually("it is here", () => probe.deliveries.length === 1);
  probe.subscription.pause();
  expect(await probe.ack("held")).toEqual(["settled"]);
  await bench.publish(["late"], { key: "k" });
  await bench.eventually("the witness has it", () => witness.deliveries.length === 2);
  expect(probe.ids()).toEqual(["held"]);
  probe.subscription.resume();
  await bench.eventually("it came after all", () => probe.deliveries.length === 2);
  expect(probe.find("late").attempt).toBe(1);
}

async function giveBack(bench: Bench): Promise<void> {
  await bench.start();
  await bench.publish(idsOf(1, 50));
  for (const round of [1, 2, 3]) {
    const member = await bench.probe();
    await bench.eventually("it has all", () => member.deliveries.length >= 50);
    expect(member.deliveries.every(({ attempt }) => attempt === round)).toBe(true);
    await bench.within(member.subscription.close(false));
    expect(await bench.within(member.subscription.ack(member.deliveries))).toEqual(
      member.deliveries.map(() => "stale"),
    );
  }
  const last = await bench.probe({ acks: true });
  await bench.eventually("the last has all", () => last.deliveries.length >= 50);
  expect(sorted(last.ids())).toEqual(sorted(idsOf(1, 50)));
}

async function lease(bench: Bench): Promise<void> {
  await bench.start();
  const leaseMs = leaseOf(bench);
  const slow = await bench.probe({ leaseMs });
  await bench.publish(["p1-1"]);
  await bench.eventually("the first has it", () => slow.deliveries.length > 0);
  // Its own lease is long: it must not run out before it has acknowledged.
  const other = await bench.probe();
  await bench.eventually("another has it", () => other.deliveries.length > 0);
  const [again] = other.deliveries;
  const [fromMs = 0, untilMs = 0] = [slow.atMs.at(-1), other.atMs[0]];
  expect(untilMs - fromMs).toBeGreaterThan(leaseMs * 0.8);
  // Over a network it may have gone back and forth on a slow machine; in this process never.
  if (!bench.isRemote) expect(slow.deliveries).toHaveLength(1);
  expect(again?.attempt).toBe(slow.deliveries.length + 1);
  expect(slow.revoked).toContain(again?.partition ?? -1);
  expect(again?.epoch).not.toBe(slow.find("p1-1").epoch);
  expect(await slow.ack("p1-1")).toEqual(["stale"]);
  // The late answer settled nothing: the second holder still can.
  expect(await other.ack("p1-1")).toEqual(["settled"]);
}

async function leaseOfTheOnlyMember(bench: Bench): Promise<void> {
  await bench.start();
  const only = await bench.probe({ leaseMs: LEASE_MS });
  await bench.publish(["p1-1"]);
  await bench.eventually("it came twice", () => only.deliveries.length >= 2);
  const [first, second] = only.deliveries;
  expect(second?.attempt).toBe(2);
  expect(only.revoked.length).toBeGreaterThan(0);
  if (first === undefined) return;
  expect(await bench.within(only.subscription.ack([first]))).toEqual(["stale"]);
  const burying = only.subscription.bury(first, BURIAL);
  expect(await bench.within(burying)).toBe("stale");
  expect(await bench.within(bench.broker.deadLetters(bench.topic, 0, 10))).toEqual([]);
}

async function leaseOfPostponed(bench: Bench): Promise<void> {
  await bench.start();
  const leaseMs = leaseOf(bench);
  const member = await bench.probe({ leaseMs });
  const marker = await bench.probe({ group: "marker", leaseMs: 2 * leaseMs });
  await bench.publish(["p1-1"]);
  await bench.eventually("both have it", () => {
    return [member, marker].every(({ deliveries }) => deliveries.length > 0);
  });
  const notBeforeMs = bench.environment.nowMs() + 8 * leaseMs;
  const postponement = { attempt: 2, notBeforeMs, error: "later" };
  const waiting = member.subscription.postpone(member.find("p1-1"), postponement);
  expect(await bench.within(waiting)).toBe("settled");
  // A lease twice as long runs out elsewhere first, so leases are being looked at.
  await bench.eventually("the marker's lease ran out", () => marker.deliveries.length >= 2);
  expect(member.deliveries).toHaveLength(1);
  expect(await member.ack("p1-1")).toEqual(["settled"]);
}

async function doubleSettle(bench: Bench): Promise<void> {
  await bench.start();
  const probe = await bench.probe();
  const { subscription } = probe;
  await bench.publish(["a", "b", "c"], { key: "k" });
  await bench.eventually("they are here", () => probe.deliveries.length === 3);
  expect(await probe.ack("a")).toEqual(["settled"]);
  expect(await probe.ack("a", "b")).toEqual(["repeat", "settled"]);
  expect(await bench.within(subscription.bury(probe.find("b"), BURIAL))).toBe("repeat");
  const postponement = { attempt: 2, notBeforeMs: bench.environment.nowMs(), error: "x" };
  expect(await bench.within(subscription.postpone(probe.find("b"), postponement))).toBe("repeat");
  expect(await bench.within(subscription.bury(probe.find("c"), BURIAL))).toBe("settled");
  expect(await probe.ack("c")).toEqual(["repeat"]);
  expect(await bench.within(subscription.bury(probe.find("c"), BURIAL))).toBe("repeat");
  const letters = await bench.within(bench.broker.deadLetters(bench.topic, 0, 10));
  expect(letters.map(idOf)).toEqual(["c"]);
  await bench.within(subscription.close(false));
  const next = await bench.probe({ acks: true });
  await bench.publish(["marker"], { key: "k" });
  await bench.eventually("the marker came", () => next.deliveries.length > 0);
  expect(next.ids()).toEqual(["marker"]);
}

async function memberDies(bench: Bench): Promise<void> {
  await bench.start();
  const dying = await bench.probe({ creditFrames: 50 });
  await bench.publish(idsOf(1, 50));
  await bench.eventually("it has all", () => dying.deliveries.length === 50);
  const acked = dying.ids().filter((_, index) => index % 2 === 0);
  await dying.ack(...acked);
  await bench.hooks.crashMember?.(bench.broker, dying.subscription);
  const heir = await bench.probe({ acks: true });
  await bench.eventually("the rest came back", () => heir.deliveries.length >= 25);
  const unsettled = dying.ids().filter((_, index) => index % 2 === 1);
  await bench.publish(["marker"]);
  await bench.eventually("the marker came", () => heir.ids().includes("marker"));
  expect(sorted(heir.ids())).toEqual(sorted([...unsettled, "marker"]));
  const again = heir.deliveries.filter((delivery) => idOf(delivery) !== "marker");
  expect(again.every(({ attempt }) => attempt === 2)).toBe(true);
}

async function zombie(bench: Bench): Promise<void> {
  await bench.start();
  const asleep = await bench.probe({ leaseMs: LEASE_MS });
  await bench.publish(idsOf(1, 20));
  // On a slow machine a lease may run out before the last has come; then it comes again.
  await bench.eventually("it has all", () => new Set(asleep.ids()).size === 20);
  const held = [...asleep.deliveries];
  const awake = await bench.probe({ leaseMs: 60_000 });
  await bench.eventually("the other has all", () => new Set(awake.ids()).size === 20);
  const results = await bench.within(asleep.subscription.ack(held));
  expect(results).toEqual(held.map(() => "stale"));
  expect(await bench.within(awake.subscription.ack(awake.deliveries))).toEqual(
    awake.deliveries.map(() => "settled"),
  );
  expect(sorted(awake.ids())).toEqual(sorted(idsOf(1, 20)));
}

function leaseOf(bench: Bench): number {
  return bench.isRemote ? REMOTE_LEASE_MS : LEASE_MS;
}

async function gaps(bench: Bench, end: (member: Probe) => Promise<void>): Promise<void> {
  await bench.start({ partitions: 4 });
  const member = await bench.probe();
  const ids = idsOf(1, 100);
  await bench.publish(ids, { key: "k" });
  await bench.eventually("it has all", () => member.deliveries.length === 100);
  await member.ack(...ids.slice(0, 60), ...ids.slice(80));
  await end(member);
  const heir = await bench.probe({ acks: true });
  await bench.publish(["marker"], { key: "k" });
  await bench.eventually("the marker came", () => heir.ids().includes("marker"));
  expect(heir.ids()).toEqual([...ids.slice(60, 80), "marker"]);
}
