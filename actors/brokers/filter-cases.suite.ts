/**
 * Conformance: types that concern a group, and how its partitions stand (B41 and B42).
 *
 * What is passed by must not be seen, hold nothing back, and never hide a frame that is damaged.
 */

import { expect } from "bun:test";

import type { PartitionStanding } from "./broker.ts";
import type { Bench, BrokerCase, Probe } from "./broker-bench.suite.ts";

import { idsOf, sorted } from "./broker-bench.suite.ts";

const HEARD = 1;
const UNHEARD = 2;
const BURIAL = { reason: "test", attempts: 1, firstError: "first", lastError: "last" };

export const FILTER_CASES: readonly BrokerCase[] = [
  {
    name: "B41: types that a group did not name are not delivered to it, and are to others",
    needs: ["filtersTypes"],
    run: filters,
  },
  {
    name: "B41: bytes that are no sound frame are delivered whatever type they show",
    needs: ["filtersTypes"],
    run: damaged,
  },
  {
    name: "B41: a backlog from before the group is filtered too",
    needs: ["filtersTypes", "replay"],
    run: backlog,
  },
  {
    name: "B41: what was passed by stays passed over a kill of the broker",
    needs: ["filtersTypes", "persistent", "restart"],
    run: restarted,
  },
  {
    name: "B41: members of one group name the same types, or are refused",
    needs: ["filtersTypes"],
    run: disagreement,
  },
  { name: "B42: a member's standing has every record in one place", run: standing },
  {
    name: "B42: it speaks of all deliveries before it, and starts anew with an epoch",
    run: marker,
  },
  { name: "B42: a closed subscription has no standing", run: closedStanding },
];

async function publish(bench: Bench, ids: readonly string[], type: number): Promise<void> {
  await bench.publish(ids, { key: "k", type });
}

async function filters(bench: Bench): Promise<void> {
  await bench.start();
  const choosy = await bench.probe({ group: "choosy", types: [HEARD], acks: true });
  const witness = await bench.probe({ group: "witness", acks: true });
  for (let round = 1; round <= 20; round++) {
    await publish(bench, idsOf(`heard${round}`, 2), HEARD);
    await publish(bench, idsOf(`unheard${round}`, 3), UNHEARD);
  }
  await publish(bench, ["last"], HEARD);
  await bench.eventually("the last came", () => choosy.ids().includes("last"));
  await bench.eventually("the witness has all", () => witness.deliveries.length === 101);
  expect(choosy.deliveries).toHaveLength(41);
  expect(choosy.ids().some((id) => id.startsWith("punheard"))).toBe(false);
  const sequences = choosy.deliveries.map(({ sequence }) => sequence);
  expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
  expect(sequences.at(-1)).toBe(101);
}

async function damaged(bench: Bench): Promise<void> {
  await bench.start();
  const choosy = await bench.probe({ types: [HEARD], acks: true });
  const { topic, frame } = bench.frame("hit", { key: "k", type: UNHEARD });
  frame[frame.length - 1] = frame.at(-1)! ^ 1; // `!`: a frame has bytes
  await bench.within(bench.broker.publish([{ topic, frame }]));
  await bench.eventually("it came", () => choosy.deliveries.length === 1);
  expect(choosy.deliveries[0]?.bytes).toEqual(frame);
}

async function backlog(bench: Bench): Promise<void> {
  await bench.start();
  await publish(bench, idsOf("unheard", 300), UNHEARD);
  await publish(bench, idsOf("heard", 3), HEARD);
  await publish(bench, idsOf("more", 300), UNHEARD);
  await publish(bench, ["last"], HEARD);
  const choosy = await bench.probe({ types: [HEARD], creditFrames: 2 });
  await bench.eventually("the first two came", () => choosy.deliveries.length === 2);
  await choosy.ack(...choosy.ids());
  await bench.eventually("the others came", () => choosy.deliveries.length === 4);
  expect(choosy.ids()).toEqual([...idsOf("heard", 3), "last"]);
}

async function restarted(bench: Bench): Promise<void> {
  await bench.start();
  const before = await bench.probe({ types: [HEARD] });
  await publish(bench, ["a"], HEARD);
  await publish(bench, idsOf("unheard", 10), UNHEARD);
  await publish(bench, ["b", "c"], HEARD);
  await bench.eventually("they came", () => before.deliveries.length === 3);
  await before.ack("a", "c");
  await bench.restart("kill");
  const after = await bench.probe({ types: [HEARD], acks: true });
  await publish(bench, ["marker"], HEARD);
  await bench.eventually("the marker came", () => after.ids().includes("marker"));
  expect(after.ids()).toEqual(["b", "marker"]);
}

async function disagreement(bench: Bench): Promise<void> {
  await bench.start();
  await bench.probe({ types: [HEARD, UNHEARD] });
  const join = (types?: readonly number[]): Promise<string> =>
    bench.refusal(() => bench.probe(types === undefined ? {} : { types }));
  expect(await join([HEARD])).toBe("BAD_CONFIGURATION");
  expect(await join()).toBe("BAD_CONFIGURATION");
  expect(await join([UNHEARD, HEARD])).toContain("answered");
}

async function look(bench: Bench, probe: Probe): Promise<readonly PartitionStanding[]> {
  let standings: readonly PartitionStanding[] = [];
  await bench.within(probe.subscription.standing((found) => void (standings = found)));
  return standings;
}

async function standing(bench: Bench): Promise<void> {
  await bench.start();
  const filtersTypes = bench.broker.capabilities.filtersTypes;
  const types = filtersTypes ? { types: [HEARD] } : {};
  const probe = await bench.probe({ ...types, creditFrames: 4 });
  await publish(bench, idsOf("unheard", filtersTypes ? 5 : 0), UNHEARD);
  await publish(bench, idsOf("heard", 7), HEARD);
  await bench.eventually("as many as it may hold", () => probe.deliveries.length === 4);
  await probe.ack("pheard-1");
  await bench.within(probe.subscription.bury(probe.find("pheard-2"), BURIAL));
  await bench.eventually("two more", () => probe.deliveries.length === 6);
  const published = filtersTypes ? 12 : 7;
  const looks: (readonly PartitionStanding[])[] = [];
  // What it may not hold yet may still be on its way; a standing speaks of what was read.
  const isRead = (): boolean => looks.some(([first]) => (first?.published ?? 0) >= published);
  await bench.eventuallyAfter("all is read", isRead, async () => {
    looks.push(await look(bench, probe));
  });
  const [only, ...others] = looks.at(-1) ?? [];
  expect(others).toEqual([]);
  expect(only).toMatchObject({
    topic: bench.topic,
    published,
    passedBy: filtersTypes ? 5 : 0,
    acked: 1,
    dead: 1,
    inHand: 4,
    waiting: 1,
    unread: 1,
    sent: 6,
    settled: 2,
  });
  expect(await look(bench, probe)).toEqual([]);
  await probe.ack("pheard-3");
  expect(await look(bench, probe)).toHaveLength(1);
}

async function marker(bench: Bench): Promise<void> {
  await bench.start();
  const first = await bench.probe();
  const sent: Promise<unknown>[] = [];
  for (let round = 1; round <= 20; round++) {
    sent.push(publish(bench, idsOf(`round${round}`, 5), HEARD));
    sent.push(
      first.subscription.standing((found) => {
        // All are of one partition; without a change it is not in the answer.
        for (const { sent: claimed } of found) expect(claimed).toBe(first.deliveries.length);
      }),
    );
  }
  await bench.within(Promise.all(sent));
  await bench.eventually("all came", () => first.deliveries.length === 100);
  await first.ack(...first.ids().slice(0, 40));
  await bench.within(first.subscription.close(false));
  const second = await bench.probe();
  await bench.eventually("the rest came", () => second.deliveries.length === 60);
  expect(sorted(second.ids())).toEqual(sorted(first.ids().slice(40)));
  const [only, ...others] = await look(bench, second);
  expect(others).toEqual([]);
  // A member that keeps its own books knows nothing of those of the member before.
  const { remoteMembers } = bench.broker.capabilities;
  expect(only).toEqual({
    topic: bench.topic,
    partition: first.find("pround1-1").partition,
    epoch: second.find("pround20-5").epoch,
    published: remoteMembers ? 60 : 100,
    passedBy: 0,
    acked: remoteMembers ? 0 : 40,
    dead: 0,
    inHand: 60,
    waiting: 0,
    unread: 0,
    sent: 60,
    settled: 0,
  });
  expect(only?.epoch).not.toBe(first.deliveries[0]?.epoch);
}

async function closedStanding(bench: Bench): Promise<void> {
  await bench.start();
  const { subscription } = await bench.probe();
  await bench.within(subscription.close(false));
  const asking = (): Promise<void> => subscription.standing(() => expect.unreachable());
  expect(await bench.refusal(asking)).toBe("CLOSED");
}
