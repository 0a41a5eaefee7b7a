/**
 * The queue in front of the writer: what goes together, what waits, and that nobody is forgotten.
 * What the writer does with it is not its business.
 */

import { describe, expect, test } from "bun:test";

import type { UnitOfWork } from "../unit-of-work.ts";
import type { UnitResult, WrittenBatch } from "./batch-writer.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { rowOf } from "../store.suite.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import { UnitQueue } from "./unit-queue.ts";
import type { UnitQueueBounds } from "./unit-queue.ts";

const BOUNDS = {
  gatherMs: 0,
  batchUnitsMax: 3,
  batchBytesMax: 2_000,
  queueUnitsMax: 5,
  queueBytesMax: 8_000,
};
const ROOMY = {
  gatherMs: 10,
  batchUnitsMax: 512,
  batchBytesMax: 100_000,
  queueUnitsMax: 1_000,
  queueBytesMax: 1_000_000,
};

function setUp(bounds: UnitQueueBounds = BOUNDS) {
  const environment = createVirtualEnvironment();
  const batches: (readonly string[])[] = [];
  const answers: ((written: WrittenBatch | Error) => void)[] = [];
  const told: unknown[] = [];
  const counted: unknown[] = [];
  const queue = new UnitQueue({
    ...bounds,
    environment,
    write: (units) => {
      batches.push(units.map(({ rows }) => rows[0]?.key ?? ""));
      return new Promise((resolve, reject) => {
        answers.push((written) => (written instanceof Error ? reject(written) : resolve(written)));
      });
    },
    onOutgoing: (outgoing) => void told.push(outgoing),
    onBatch: (batch) => void counted.push(batch),
  });
  const unit = (key: string, bytes = 1): UnitOfWork => {
    return { ...EMPTY_UNIT, rows: [rowOf(key, 0, "x".repeat(bytes))] };
  };
  const add = (key: string, bytes?: number) => {
    const settled = { as: "" };
    queue.add(unit(key, bytes)).then(
      ({ kind }) => void (settled.as = kind),
      (error: unknown) => void (settled.as = error instanceof ShopError ? error.code : "bug"),
    );
    return settled;
  };
  const answer = async (written: WrittenBatch | Error): Promise<void> => {
    answers.shift()?.(written);
    await environment.settle();
  };
  return { environment, batches, told, counted, queue, add, answer };
}

const committed = (count: number): WrittenBatch => {
  return { results: Array.from({ length: count }, () => ({ kind: "committed" })), outgoing: [] };
};

describe("units", () => {
  test("are counted by batch, with how long it took and what storage refused", async () => {
    const { environment, counted, add, answer } = setUp();
    for (const key of ["a", "b", "c"]) add(key);
    await environment.settle();
    await environment.advance(7);
    const failure = new ShopError("STORAGE_FAULT", "the disk is gone", "later");
    const results: UnitResult[] = [
      { kind: "committed" },
      { kind: "conflict", table: "orders", key: "b", version: 2 },
      failure,
    ];
    await answer({ results, outgoing: [] });
    expect(counted).toEqual([{ units: 3, refused: 1, durationMs: 7 }]);
  });

  test("of one turn go together, and those that come meanwhile in the next batch", async () => {
    const { environment, batches, add, answer } = setUp();
    const [first, second] = [add("a"), add("b")];
    await environment.settle();
    const third = add("c");
    await environment.settle();
    expect(batches).toEqual([["a", "b"]]);
    await answer(committed(2));
    expect(batches).toEqual([["a", "b"], ["c"]]);
    expect([first.as, second.as, third.as]).toEqual(["committed", "committed", ""]);
  });

  test("beyond a batch's bounds wait, one of any size always goes", async () => {
    const { environment, batches, add, answer } = setUp();
    for (const key of "abcd") add(key);
    await environment.settle();
    add("big", 3_000);
    add("e");
    await answer(committed(3));
    await answer(committed(1));
    await answer(committed(1));
    expect(batches).toEqual([["a", "b", "c"], ["d"], ["big"], ["e"]]);
  });

  test("beyond the queue's bounds are refused at once", async () => {
    const { environment, add } = setUp();
    const many = Array.from("abcdef", (key) => add(key));
    await environment.settle();
    expect(many.map(({ as }) => as)).toEqual(["", "", "", "", "", "SATURATED"]);
    const { environment: other, add: addMore } = setUp();
    const [one, two] = [addMore("a", 5_000), addMore("b", 5_000)];
    await other.settle();
    expect([one.as, two.as]).toEqual(["", "SATURATED"]);
  });

  test("are answered each with its own result", async () => {
    const { environment, add, answer, told } = setUp();
    const units = [add("a"), add("b"), add("c")];
    await environment.settle();
    const results: UnitResult[] = [
      { kind: "committed" },
      new ShopError("BAD_MESSAGE", "bad", "never"),
      { kind: "duplicate", messageIds: [] },
    ];
    const frame = { id: 1, topic: "t", slot: 0, frame: new Uint8Array(1) };
    await answer({ results, outgoing: [frame] });
    expect(units.map(({ as }) => as)).toEqual(["committed", "BAD_MESSAGE", "duplicate"]);
    expect(told).toEqual([[frame]]);
  });

  test("that meet a bug are told of it, and the next batch is written", async () => {
    const { environment, batches, add, answer } = setUp();
    const first = add("a");
    await environment.settle();
    const second = add("b");
    await answer(new TypeError("a bug"));
    expect([first.as, batches.length]).toEqual(["bug", 2]);
    await answer({ results: [{ kind: "committed" }], outgoing: "unknown" });
    expect(second.as).toBe("committed");
  });

  test("that wait while the server is gone hear of it all at once", async () => {
    const { environment, batches, add, answer } = setUp();
    const first = add("a");
    await environment.settle();
    const waiting = [add("b"), add("c")];
    const outage = new ShopError("STORAGE_FAULT", "nobody answers", "later");
    const failure = new ShopError("INDETERMINATE", "who knows", "later");
    await answer({ results: [failure], outgoing: [], outage });
    expect(first.as).toBe("INDETERMINATE");
    expect(waiting.map(({ as }) => as)).toEqual(["STORAGE_FAULT", "STORAGE_FAULT"]);
    add("d");
    await environment.settle();
    expect(batches).toEqual([["a"], ["d"]]);
  });

  test("that wait when it closes are refused; what is being written is answered", async () => {
    const { environment, add, answer, queue } = setUp();
    const first = add("a");
    await environment.settle();
    const second = add("b");
    let isClosed = false;
    void queue.close().then(() => (isClosed = true));
    await environment.settle();
    expect([first.as, second.as, isClosed]).toEqual(["", "CLOSED", false]);
    await answer(committed(1));
    expect([first.as, add("c").as, isClosed]).toEqual(["committed", "", true]);
    await environment.settle();
    expect(queue.length).toBe(0);
  });
});

describe("who waits for a turn of the writer", () => {
  function wait(queue: UnitQueue) {
    const turn = { isOver: false };
    void queue.pass().then(() => (turn.isOver = true));
    return turn;
  }

  test("has it at once while nothing is written, and that counts as no batch", async () => {
    const { environment, batches, told, counted, queue, answer } = setUp();
    const turn = wait(queue);
    await environment.settle();
    expect([batches, turn.isOver]).toEqual([[[]], false]);
    await answer({ results: [], outgoing: "unknown" });
    expect([turn.isOver, told, counted]).toEqual([true, ["unknown"], []]);
  });

  test("has the next one, with those who wait, and not the one that has begun", async () => {
    const { environment, batches, queue, add, answer } = setUp();
    add("a");
    await environment.settle();
    const turns = [wait(queue), wait(queue)];
    add("b");
    await environment.settle();
    expect(batches).toEqual([["a"]]);
    await answer(committed(1));
    expect([batches, turns.some(({ isOver }) => isOver)]).toEqual([[["a"], ["b"]], false]);
    await answer(committed(1));
    expect([batches.length, turns.every(({ isOver }) => isOver)]).toEqual([2, true]);
  });

  test("has it also when the server is gone, and those who wait hear of that", async () => {
    const { environment, queue, add, answer } = setUp();
    const turn = wait(queue);
    await environment.settle();
    const waiting = add("a");
    const outage = new ShopError("STORAGE_FAULT", "nobody answers", "later");
    await answer({ results: [], outgoing: [], outage });
    expect([turn.isOver, waiting.as]).toEqual([true, "STORAGE_FAULT"]);
  });

  test("is held up by no queue that closes, and asks nothing of one that has", async () => {
    const { environment, batches, queue, answer } = setUp();
    const turn = wait(queue);
    const closing = queue.close();
    await environment.settle();
    await answer({ results: [], outgoing: [] });
    await closing;
    expect(turn.isOver).toBe(true);
    await queue.pass();
    expect(batches).toEqual([[]]);
  });
});

describe("after a transaction of many, units", () => {
  /** A transaction of eight begins, and takes 2 ms. */
  async function busy(bounds: UnitQueueBounds = ROOMY) {
    const world = setUp(bounds);
    const { environment, add, answer } = world;
    for (let at = 0; at < 8; at++) add(`first-${at}`);
    await environment.settle();
    await environment.advance(2);
    await answer(committed(8));
    return world;
  }

  test("wait for company until the time is over, counted from its begin", async () => {
    const { environment, batches, add } = await busy();
    add("a");
    await environment.advance(7);
    add("b");
    expect(batches).toHaveLength(1);
    await environment.advance(1);
    await environment.settle();
    expect(batches.slice(1)).toEqual([["a", "b"]]);
  });

  test("that came while it was written wait as well", async () => {
    const { environment, batches, add, answer } = setUp(ROOMY);
    for (let at = 0; at < 8; at++) add(`first-${at}`);
    await environment.settle();
    add("meanwhile");
    await answer(committed(8));
    expect(batches).toHaveLength(1);
    await environment.advance(10);
    expect(batches.slice(1)).toEqual([["meanwhile"]]);
  });

  test("do not wait once they are many themselves", async () => {
    const { environment, batches, add } = await busy();
    for (let at = 0; at < 127; at++) add(`${at}`);
    await environment.settle();
    expect(batches).toHaveLength(1);
    add("the last");
    await environment.settle();
    expect(batches[1]).toHaveLength(128);
  });

  test("do not wait once they fill a batch's bytes", async () => {
    const { environment, batches, add } = await busy();
    for (let at = 0; at < 2; at++) add(`${at}`, 60_000);
    await environment.settle();
    expect(batches).toHaveLength(2);
  });

  test("do not wait when the time is over already", async () => {
    const { environment, batches, add } = await busy();
    await environment.advance(8);
    add("late");
    await environment.settle();
    expect(batches.slice(1)).toEqual([["late"]]);
  });

  test("are refused at once when the queue closes while they wait", async () => {
    const { environment, batches, queue, add } = await busy();
    const waiting = add("a");
    await environment.settle();
    await queue.close();
    expect(waiting.as).toBe("CLOSED");
    expect(batches).toHaveLength(1);
  });

  test("follow at once where no time is set", async () => {
    const { environment, batches, add } = await busy({ ...ROOMY, gatherMs: 0 });
    add("a");
    await environment.settle();
    expect(batches.slice(1)).toEqual([["a"]]);
  });
});

test("after a transaction of few, the next unit does not wait", async () => {
  const { environment, batches, add, answer } = setUp(ROOMY);
  for (let at = 0; at < 7; at++) add(`first-${at}`);
  await environment.settle();
  await answer(committed(7));
  add("a");
  await environment.settle();
  expect(batches.slice(1)).toEqual([["a"]]);
});
