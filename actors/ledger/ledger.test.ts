/**
 * The comparison of the ledger, as a table: what balances, and each way in which it may not.
 */

import { describe, expect, test } from "bun:test";

import type { PartitionStanding } from "../brokers/broker.ts";
import type { PartitionStats } from "../delivery/in-hand.ts";
import type { PartitionBook } from "../delivery/member-books.ts";
import type { Carried } from "./ledger.ts";

import { balance, rowOf } from "./ledger.ts";

const EPOCH = 7;
const HANG_ROUNDS = 3;

const STANDING: PartitionStanding = {
  topic: "orders",
  partition: 3,
  epoch: EPOCH,
  published: 20,
  passedBy: 5,
  acked: 8,
  dead: 1,
  inHand: 4,
  waiting: 2,
  unread: 2,
  sent: 13,
  settled: 9,
};

const STATS: PartitionStats = {
  topic: "orders",
  partition: 3,
  received: 13,
  acked: 8,
  buried: 1,
  returned: 0,
  redriven: 1,
  epoch: EPOCH,
  epochReceived: 13,
  epochSettled: 9,
  inFlight: 1,
  parked: 3,
  doubtful: 0,
};

const TAKEN_AWAY: PartitionStats = { ...STATS, epoch: 0, epochReceived: 0, epochSettled: 0 };

const BOOK: PartitionBook = {
  topic: "orders",
  partition: 3,
  standing: STANDING,
  asked: STATS,
  arrived: STATS,
};

function bookOf(
  standing: Partial<PartitionStanding>,
  asked: Partial<PartitionStats> = {},
  arrived: Partial<PartitionStats> = asked,
): PartitionBook {
  return {
    ...BOOK,
    standing: { ...STANDING, ...standing },
    asked: { ...STATS, ...asked },
    arrived: { ...STATS, ...arrived },
  };
}

function carriedOf(settled: number, epoch = EPOCH): Carried {
  return { epoch, settled, oldest: { settled, rounds: 0 } };
}

describe("balances", () => {
  test.each<readonly [string, PartitionBook, Carried | undefined]>([
    ["when both ends agree", BOOK, undefined],
    [
      "when answers were on their way as it asked",
      bookOf({}, { epochSettled: 6, acked: 5, inFlight: 4 }),
      carriedOf(6),
    ],
    [
      "when what is under way may account for what was settled",
      bookOf({}, { epochSettled: 6, acked: 5, inFlight: 4, doubtful: 3 }),
      carriedOf(9),
    ],
    ["when an answer belongs to an epoch that is over", BOOK, carriedOf(99, EPOCH - 1)],
    [
      "when nothing of the present epoch has come",
      bookOf({ sent: 0, settled: 0 }, { epoch: 6 }),
      undefined,
    ],
    ["when the broker has nothing to say", { topic: "orders", partition: 3 }, undefined],
    [
      "when the partition was taken away",
      { topic: "orders", partition: 3, asked: STATS, arrived: TAKEN_AWAY },
      undefined,
    ],
  ])("%s", (_name, book, carried) => {
    expect(balance(book, carried, 1, HANG_ROUNDS).imbalance).toBeUndefined();
  });
});

describe("does not balance", () => {
  test.each<readonly [string, PartitionBook, Carried | undefined, string]>([
    [
      "when a record is nowhere",
      bookOf({ published: 21 }),
      undefined,
      "21 published, but 8 acked + 1 dead + 5 passed by + 4 in flight + 2 waiting = 20",
    ],
    [
      "when a burial was not counted",
      bookOf({ dead: 0 }),
      undefined,
      "20 published, but 8 acked + 0 dead + 5 passed by + 4 in flight + 2 waiting = 19",
    ],
    [
      "when a record was stepped over",
      bookOf({ unread: 1 }),
      undefined,
      "2 waiting, but 1 still to be read",
    ],
    [
      "when a delivery was dropped on the way",
      bookOf({}, {}, { received: 12, epochReceived: 12, parked: 2 }),
      undefined,
      "13 sent, but 12 received",
    ],
    [
      "when a delivery came twice",
      bookOf({}, {}, { received: 14, epochReceived: 14, parked: 4 }),
      undefined,
      "13 sent, but 14 received",
    ],
    [
      "when a delivery came from a partition of others",
      { topic: "orders", partition: 3, arrived: { ...STATS, epochReceived: 1 } },
      undefined,
      "0 sent, but 1 received",
    ],
    [
      "when an acknowledgement was skipped",
      bookOf({ settled: 8, acked: 7, inHand: 5 }),
      undefined,
      "9 settled by the group, but 8 at the broker",
    ],
    [
      "when an answer was lost",
      bookOf({}, { epochSettled: 8, acked: 7, inFlight: 2 }),
      carriedOf(9),
      "9 settled at the broker, but 8 by the group",
    ],
    [
      "when the member lost one itself",
      bookOf({}, {}, { parked: 2 }),
      undefined,
      "13 received, but 8 acked + 1 buried + 0 returned + 1 in flight + 2 parked = 12",
    ],
  ])("%s", (_name, book, carried, imbalance) => {
    expect(balance(book, carried, 1, HANG_ROUNDS).imbalance).toBe(imbalance);
  });
});

test("what was settled and stays under way is an imbalance in the end, and not before", () => {
  const book = bookOf({}, { epochSettled: 8, acked: 7, inFlight: 2, doubtful: 1 });
  let carried: Carried | undefined;
  const found: boolean[] = [];
  for (let round = 0; round <= HANG_ROUNDS + 1; round++) {
    const result = balance(book, carried, 1, HANG_ROUNDS);
    carried = result.carried;
    found.push(result.imbalance !== undefined);
  }
  expect(found).toEqual([false, false, false, false, true]);
});

test("questions between two intervals do not make anything look older", () => {
  const book = bookOf({}, { epochSettled: 8, acked: 7, inFlight: 2, doubtful: 1 });
  let carried: Carried | undefined;
  for (let question = 0; question < 100; question++) {
    const result = balance(book, carried, 0, HANG_ROUNDS);
    expect(result.imbalance).toBeUndefined();
    carried = result.carried;
  }
});

test("slow work that is always finished in time never counts as hung", () => {
  let carried: Carried | undefined;
  for (let round = 0; round < 50; round++) {
    const settled = 10 * round;
    const heardOf = Math.max(0, settled - 20); // two questions behind
    const counts = { epochSettled: heardOf, epochReceived: settled, doubtful: settled - heardOf };
    const book = bookOf({ sent: settled, settled }, counts);
    const result = balance(book, carried, 1, HANG_ROUNDS);
    expect(result.imbalance).toBeUndefined();
    carried = result.carried;
  }
});

test("a row speaks of what concerns the group, and has both ends' figures", () => {
  expect(rowOf("payment", BOOK, undefined)).toEqual({
    group: "payment",
    topic: "orders",
    partition: 3,
    published: 15,
    acked: 8,
    dead: 1,
    inFlight: 4,
    parked: 3,
    waiting: 2,
    redriven: 1,
  });
  expect(rowOf("payment", { topic: "orders", partition: 3, arrived: STATS }, undefined)).toBe(
    undefined,
  );
  expect(rowOf("payment", { topic: "orders", partition: 3 }, "x")).toMatchObject({
    imbalance: "x",
  });
});
