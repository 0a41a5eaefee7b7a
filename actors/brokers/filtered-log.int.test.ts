/**
 * What a group passes by, as the journal remembers it: in ranges, with other transactions or after
 * a while, and never holding the log back.
 */

import { afterEach, beforeEach, expect, test } from "bun:test";

import type { Delivery, Subscription } from "./broker.ts";
import type { JournalRig } from "./journal-rig.suite.ts";

import { createJournalRig } from "./journal-rig.suite.ts";

const HEARD = 1;
const UNHEARD = 2;
const A_WHILE_MS = 1_200;

let rig: JournalRig;
let received: Delivery[];
beforeEach(() => {
  rig = createJournalRig();
  received = [];
});
afterEach(() => rig.close());

async function join(): Promise<Subscription> {
  const joining = rig.broker.subscribe({
    group: "g",
    topics: ["t"],
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    types: [HEARD],
    onDeliveries: (deliveries) => void received.push(...deliveries),
  });
  await rig.pass(10);
  return joining;
}

/** Position and what is settled above it, of partition 0, as stored. */
function stored(): readonly [number, readonly number[]] {
  const [first] = rig.journal.positions("g");
  return [first?.position ?? -1, first?.settledAbove ?? []];
}

test("a partition that is only passed by does not hold the log back for long", async () => {
  await join();
  for (let count = 0; count < 5; count++) await rig.publish(UNHEARD);
  await rig.pass(A_WHILE_MS);
  expect(stored()).toEqual([5, []]);
  expect(received).toEqual([]);
});

test("nothing is written when nothing was passed by", async () => {
  await join();
  const before = rig.journal.stats().batches;
  await rig.pass(3 * A_WHILE_MS);
  expect(rig.journal.stats().batches).toBe(before);
});

test("it is remembered with the next transaction, around what is still in hand", async () => {
  const subscription = await join();
  await rig.publish(HEARD);
  await rig.publish(UNHEARD);
  await rig.publish(UNHEARD);
  await rig.publish(HEARD);
  const acking = subscription.ack(received.slice(1));
  await rig.pass(10);
  expect(await acking).toEqual(["settled"]);
  expect(stored()).toEqual([0, [2, 3, 4]]);
});

test("a full disk keeps it for later, and it is not lost", async () => {
  await join();
  await rig.publish(UNHEARD);
  rig.fail("SQLITE_FULL");
  await rig.pass(A_WHILE_MS);
  expect(stored()).toEqual([0, []]);
  rig.fail(undefined);
  await rig.pass(A_WHILE_MS);
  expect(stored()).toEqual([1, []]);
});
