/**
 * What every store must do with units of work, and what its readers must see.
 *
 * Run on the memory store, the embedded journal and PostgreSQL; only for tests. The memory store
 * is also the judge: the same random units must get the same answers and leave the same rows
 * everywhere. Crashes are the business of each store's own tests.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type {
  CommitResult,
  OrderReads,
  RowWrite,
  Store,
  Table,
  TimerStart,
  UnitOfWork,
} from "./unit-of-work.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createMemoryStore } from "./memory-store.ts";
import { DEAD_LETTERS, EMPTY_UNIT } from "./unit-of-work.ts";

export const STORE_SLOTS = 4;
export const STORE_TOPICS = ["orders", "payments"];

/** A store under test, empty. */
export interface StoreBench {
  readonly store: Store;
  readonly reads: OrderReads;
  /** Another writer to the same data, where there can be one. */
  readonly other: Store;
  /** Everything that was committed to be published, in order; fired timers included. */
  outgoing(): Promise<readonly Uint8Array[]>;
  /** Publishes the frames of all timers that are due at this time. */
  fireTimers(nowMs: number): Promise<void>;
  /** Puts a letter among the dead; its id. */
  bury(frame: Uint8Array): Promise<number>;
  hasLetter(id: number): Promise<boolean>;
}

const COMMITTED: CommitResult = { kind: "committed" };
const RANDOM_UNITS = 400;
const RANDOM_TURN_MAX = 24;
const WRITERS = 4;
const INCREMENTS = 25;

let bench: StoreBench;

export function testStore(name: string, open: () => Promise<StoreBench>): void {
  describe(`${name}: a unit of work`, () => {
    beforeEach(async () => {
      bench = await open();
    });
    unitCases();
    batchCases();
    sharedCases();
    randomCases();
  });
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

export function storeFrame(text: string, slot = 1): Uint8Array {
  const id = idAt(900_000 + slot);
  return encodeFrame({ type: 1, slot, key: "key", payload: bytesOf(text), id, timeMs: 7 });
}

export function idAt(number: number): string {
  return `01900000-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;
}

export function rowOf(
  key: string,
  expectedVersion: number,
  text = "x",
  table: Exclude<Table, "orders"> = "stock",
): RowWrite {
  return { table, key, expectedVersion, data: bytesOf(text) };
}

export function orderOf(
  key: string,
  expectedVersion: number,
  status = "pending",
  createdAtMs = 1,
  customerId = "ada",
): RowWrite {
  const columns = { customerId, status, createdAtMs };
  return { table: "orders", key, expectedVersion, data: bytesOf(`${key} ${status}`), columns };
}

export function timerOf(id: string, dueAtMs: number, text: string): TimerStart {
  return { id, dueAtMs, outgoing: { topic: "payments", frame: storeFrame(text, 2) } };
}

const out = (text: string, slot = 1) => ({ topic: "orders", frame: storeFrame(text, slot) });
const mark = (number: number, group = "order") => ({ group, messageId: idAt(number) });
const entry = (orderId: string, version: number) => {
  return { orderId, version, type: `order.${version}`, atMs: version, data: bytesOf("entry") };
};

function commit(unit: Partial<UnitOfWork>, store = bench.store): Promise<CommitResult> {
  return store.commit({ ...EMPTY_UNIT, ...unit }, []);
}

async function texts(): Promise<readonly string[]> {
  const frames = await bench.outgoing();
  return frames.map((frame) => new TextDecoder().decode(frame.subarray(-1)));
}

async function versions(table: Table, ...keys: readonly string[]): Promise<readonly number[]> {
  const rows = await bench.store.load(table, keys);
  return rows.map((row) => row?.version ?? 0);
}

function unitCases(): void {
  test("is applied as a whole, at the next version of its rows, and is seen at once", async () => {
    const unit = {
      inbox: [mark(1), mark(1, "payment")],
      rows: [orderOf("o", 0), rowOf("s", 0, "first"), rowOf("f", 0, "x", "fraud")],
      timeline: [entry("o", 1), entry("o", 2)],
      outgoing: [out("1"), out("2")],
    };
    expect(await commit(unit)).toEqual(COMMITTED);
    expect(await commit({ rows: [orderOf("o", 1, "paid")] })).toEqual(COMMITTED);
    const [order, none, again] = await bench.store.load("orders", ["o", "none", "o"]);
    expect([order?.key, order?.version, none, again?.version]).toEqual(["o", 2, undefined, 2]);
    expect(Buffer.from(order?.data ?? []).toString()).toBe("o paid");
    expect((await bench.reads.order("o"))?.version).toBe(2);
    expect(Buffer.from((await bench.reads.stock("s"))?.data ?? []).toString()).toBe("first");
    const timeline = await bench.reads.timeline("o", 0);
    expect(timeline.map(({ version, type, atMs }) => [version, type, atMs])).toEqual([
      [1, "order.1", 1],
      [2, "order.2", 2],
    ]);
    expect((await bench.reads.timeline("o", 1)).map(({ version }) => version)).toEqual([2]);
    expect(await texts()).toEqual(["1", "2"]);
  });

  test("with a row at another version changes nothing and names the stored one", async () => {
    await commit({ rows: [rowOf("a", 0)] });
    const rest = {
      inbox: [mark(1)],
      timeline: [entry("o", 1)],
      outgoing: [out("1")],
      timersStarted: [timerOf("t", 5, "t")],
    };
    const conflict = { kind: "conflict", table: "stock" } as const;
    const first = await commit({ ...rest, rows: [rowOf("b", 0), rowOf("a", 0)] });
    expect(first).toEqual({ ...conflict, key: "a", version: 1 });
    const second = await commit({ ...rest, rows: [rowOf("a", 1), rowOf("c", 3)] });
    expect(second).toEqual({ ...conflict, key: "c", version: 0 });
    expect(await versions("stock", "a", "b", "c")).toEqual([1, 0, 0]);
    expect(await bench.reads.timeline("o", 0)).toEqual([]);
    await bench.fireTimers(100);
    expect(await texts()).toEqual([]);
    // The mark was not kept either.
    expect(await commit({ ...rest, rows: [rowOf("a", 1)] })).toEqual(COMMITTED);
  });

  test("with marks that are there is a duplicate, names them and changes nothing", async () => {
    await commit({ inbox: [mark(1), mark(3)] });
    const again = { inbox: [mark(1), mark(2), mark(3)], rows: [rowOf("a", 0)] };
    expect(await commit(again)).toEqual({ kind: "duplicate", messageIds: [idAt(1), idAt(3)] });
    expect(await versions("stock", "a")).toEqual([0]);
    const others = { inbox: [mark(2), mark(1, "payment")], rows: [rowOf("a", 0)] };
    expect(await commit(others)).toEqual(COMMITTED);
  });

  test("that is a duplicate as well as a conflict is a duplicate", async () => {
    await commit({ inbox: [mark(1)], rows: [rowOf("a", 0)] });
    const again = await commit({ inbox: [mark(1)], rows: [rowOf("a", 0)] });
    expect(again).toEqual({ kind: "duplicate", messageIds: [idAt(1)] });
  });

  test("takes dead letters out with it, or not at all when one is gone", async () => {
    const first = await bench.bury(storeFrame("a"));
    const second = await bench.bury(storeFrame("b"));
    const unit = { rows: [rowOf("a", 0)], deadLettersRemoved: [first] };
    expect(await commit(unit)).toEqual(COMMITTED);
    const again = { rows: [rowOf("b", 0)], deadLettersRemoved: [second, first] };
    const conflict = {
      kind: "conflict",
      table: DEAD_LETTERS,
      key: `${first}`,
      version: 0,
    } as const;
    expect(await commit(again)).toEqual(conflict);
    expect([await bench.hasLetter(first), await bench.hasLetter(second)]).toEqual([false, true]);
    expect(await versions("stock", "a", "b")).toEqual([1, 0]);
  });

  test("starts, replaces and cancels timers, each of which fires once", async () => {
    await commit({ timersStarted: [timerOf("a", 10, "1"), timerOf("b", 10, "2")] });
    await commit({ timersStarted: [timerOf("a", 30, "3"), timerOf("c", 20, "4")] });
    await commit({ timersCancelled: ["b", "none"], timersStarted: [timerOf("d", 20, "5")] });
    await commit({ timersCancelled: ["d"], timersStarted: [timerOf("d", 25, "6")] });
    await bench.fireTimers(19);
    expect(await texts()).toEqual([]);
    await bench.fireTimers(25);
    expect(await texts()).toEqual(["4", "6"]);
    await bench.fireTimers(100);
    expect(await texts()).toEqual(["4", "6", "3"]);
  });

  test("keeps any text and any bytes as they are", async () => {
    const keys = ['quo"te', "back\\slash", "{a,b}", "NULL", "'; --", "ü\u{1f600}", " ", "\n"];
    const all = Uint8Array.from({ length: 256 }, (_, index) => index);
    const rows = keys.map((key): RowWrite => {
      const columns = { customerId: key, status: key, createdAtMs: 1 };
      return { table: "orders", key, expectedVersion: 0, data: all, columns };
    });
    const timeline = keys.map((key) => ({ ...entry(key, 1), type: key, data: all }));
    const inbox = keys.map((group) => ({ group, messageId: idAt(1) }));
    expect(await commit({ rows, timeline, inbox })).toEqual(COMMITTED);
    const found = await bench.store.load("orders", keys);
    expect(found.map((row) => row?.key)).toEqual(keys);
    for (const row of found) expect(Buffer.from(row?.data ?? [])).toEqual(Buffer.from(all));
    for (const key of keys) {
      const [only, ...more] = await bench.reads.orders({ limit: 10, customerId: key, status: key });
      expect([only?.key, more.length]).toEqual([key, 0]);
      const [first] = await bench.reads.timeline(key, 0);
      expect([first?.type, Buffer.from(first?.data ?? [])]).toEqual([key, Buffer.from(all)]);
    }
    const again = await commit({ inbox: [...inbox, { group: "other", messageId: idAt(1) }] });
    expect(again).toEqual({ kind: "duplicate", messageIds: keys.map(() => idAt(1)) });
  });
}

function batchCases(): void {
  test("sees what those before it in the same turn have written, in their order", async () => {
    const results = await Promise.all([
      commit({ rows: [rowOf("a", 0, "1")], timeline: [entry("o", 1)], outgoing: [out("1")] }),
      commit({ rows: [rowOf("a", 1, "2")], timeline: [entry("o", 2)], outgoing: [out("2")] }),
      commit({ rows: [rowOf("a", 2, "3")], timeline: [entry("o", 3)], outgoing: [out("3")] }),
    ]);
    expect(results).toEqual([COMMITTED, COMMITTED, COMMITTED]);
    const [row] = await bench.store.load("stock", ["a"]);
    expect([row?.version, Buffer.from(row?.data ?? []).toString()]).toEqual([3, "3"]);
    expect(await bench.reads.timeline("o", 0)).toHaveLength(3);
    expect(await texts()).toEqual(["1", "2", "3"]);
  });

  test("answers for itself, whatever becomes of those that are committed with it", async () => {
    const letter = await bench.bury(storeFrame("a"));
    await commit({ rows: [rowOf("taken", 0)], inbox: [mark(1)], timeline: [entry("o", 1)] });
    const results = await Promise.all([
      commit({ rows: [rowOf("a", 0)], outgoing: [out("1")], inbox: [mark(2)] }),
      commit({ rows: [rowOf("b", 0), rowOf("taken", 0)], outgoing: [out("2")] }),
      commit({ rows: [rowOf("c", 0)], outgoing: [out("3")], inbox: [mark(1), mark(3)] }),
      commit({ rows: [rowOf("d", 0)], outgoing: [out("4")], inbox: [mark(2)] }),
      commit({ rows: [rowOf("e", 0)], outgoing: [out("5")], deadLettersRemoved: [letter] }),
      commit({ rows: [rowOf("f", 0)], outgoing: [out("6")], deadLettersRemoved: [letter] }),
      commit({ rows: [rowOf("g", 0)], outgoing: [out("7")], inbox: [mark(3)] }),
      commit({ rows: [rowOf("a", 1)], outgoing: [out("8")] }),
    ]);
    expect(results).toEqual([
      COMMITTED,
      { kind: "conflict", table: "stock", key: "taken", version: 1 },
      { kind: "duplicate", messageIds: [idAt(1)] },
      { kind: "duplicate", messageIds: [idAt(2)] },
      COMMITTED,
      { kind: "conflict", table: DEAD_LETTERS, key: `${letter}`, version: 0 },
      COMMITTED,
      COMMITTED,
    ]);
    expect(await versions("stock", ...Array.from("abcdefg"))).toEqual([2, 0, 0, 0, 1, 0, 1]);
    expect(await texts()).toEqual(["1", "5", "7", "8"]);
  });

  test("starts and cancels timers of those before it in the same turn", async () => {
    await Promise.all([
      commit({ timersStarted: [timerOf("a", 10, "1"), timerOf("b", 10, "2")] }),
      commit({ timersCancelled: ["a"], timersStarted: [timerOf("b", 12, "3")] }),
      commit({ timersStarted: [timerOf("c", 14, "4")] }),
    ]);
    await bench.fireTimers(100);
    expect(await texts()).toEqual(["3", "4"]);
  });

  test("of orders is listed newest first, by customer and status, page by page", async () => {
    await commit({
      rows: [
        orderOf("a", 0, "pending", 1),
        orderOf("b", 0, "shipped", 3),
        orderOf("c", 0, "pending", 2, "bob"),
        orderOf("d", 0, "pending", 3),
      ],
    });
    const keys = async (query: Parameters<OrderReads["orders"]>[0]) =>
      (await bench.reads.orders(query)).map((row) => row.key);
    expect(await keys({ limit: 10 })).toEqual(["d", "b", "c", "a"]);
    expect(await keys({ limit: 10, customerId: "ada", status: "pending" })).toEqual(["d", "a"]);
    expect(await keys({ limit: 10, status: "pending" })).toEqual(["d", "c", "a"]);
    expect(await keys({ limit: 2, after: { createdAtMs: 3, key: "d" } })).toEqual(["b", "c"]);
    const after = { createdAtMs: 3, key: "d" };
    expect(await keys({ limit: 2, customerId: "ada", after })).toEqual(["b", "a"]);
    expect(await keys({ limit: 2, after: { createdAtMs: 1, key: "a" } })).toEqual([]);
    await commit({ rows: [orderOf("d", 1, "paid", 3)] });
    expect(await keys({ limit: 10, status: "paid" })).toEqual(["d"]);
    expect(await keys({ limit: 10, status: "pending" })).toEqual(["c", "a"]);
  });
}

function sharedCases(): void {
  test("on rows that many write at once loses no write: stock is conserved", async () => {
    const products = ["p", "q", "r"];
    await commit({ rows: products.map((key) => rowOf(key, 0, "0")) });
    async function write(store: Store, writer: number): Promise<void> {
      for (let done = 0; done < INCREMENTS;) {
        const found = await store.load("stock", products);
        const rows = found.map((row, index) => {
          const count = Number(Buffer.from(row?.data ?? []).toString()) + index;
          return rowOf(products[index] ?? "", row?.version ?? 0, `${count}`);
        });
        // Not everybody names the rows in the same order.
        if (writer % 2 === 1) rows.reverse();
        const result = await commit({ rows, outgoing: [out("x")] }, store);
        if (result.kind === "committed") done++;
      }
    }
    const stores = Array.from({ length: WRITERS }, (_, writer) =>
      writer % 2 === 0 ? bench.store : bench.other,
    );
    await Promise.all(stores.map(write));
    const total = WRITERS * INCREMENTS;
    const rows = await bench.store.load("stock", products);
    expect(rows.map((row) => row?.version)).toEqual([total + 1, total + 1, total + 1]);
    const counts = rows.map((row) => Number(Buffer.from(row?.data ?? []).toString()));
    expect(counts).toEqual([0, total, 2 * total]);
    expect(await bench.outgoing()).toHaveLength(total);
  });

  test("that two writers bring at once is committed by one of them", async () => {
    for (let round = 0; round < 10; round++) {
      const unit = { inbox: [mark(round)], rows: [rowOf(`k${round}`, 0)], outgoing: [out("1")] };
      const results = await Promise.all([commit(unit), commit(unit, bench.other)]);
      expect(results.map(({ kind }) => kind).sort()).toEqual(["committed", "duplicate"]);
    }
    expect(await bench.outgoing()).toHaveLength(10);
  });
}

/** Random units over few keys, so that most of them meet each other. */
function randomUnit(random: () => number, letters: readonly number[]): UnitOfWork {
  const pick = (below: number): number => Math.floor(random() * below);
  const chance = (share: number): boolean => random() < share;
  const tables = ["stock", "payments", "idempotency", "fraud", "notifications"] as const;
  const rows = new Map<string, RowWrite>();
  for (let count = pick(3); count > 0; count--) {
    const table = tables[pick(tables.length)] ?? "stock";
    const key = `k${pick(5)}`;
    rows.set(`${table}/${key}`, rowOf(key, pick(4), `${pick(100)}`, table));
  }
  if (chance(0.4)) rows.set("o", orderOf(`o${pick(4)}`, pick(4), `s${pick(3)}`, pick(5)));
  return {
    inbox: chance(0.5) ? [mark(pick(150)), mark(150 + pick(150), "payment")] : [],
    rows: [...rows.values()],
    timeline: [],
    outgoing: Array.from({ length: pick(3) }, () => out(`${pick(10)}`, pick(STORE_SLOTS))),
    timersStarted: chance(0.3) ? [timerOf(`t${pick(4)}`, 1 + pick(50), `${pick(10)}`)] : [],
    timersCancelled: chance(0.2) ? [`t${pick(4)}`] : [],
    deadLettersRemoved: chance(0.1) ? [letters[pick(letters.length)] ?? 1] : [],
  };
}

function randomCases(): void {
  test("gets the answer of the reference store, and leaves the same behind", async () => {
    const environment = createVirtualEnvironment(11);
    const letters: number[] = [];
    for (let count = 0; count < 12; count++) letters.push(await bench.bury(storeFrame("d")));
    const left = new Set(letters);
    const published: Uint8Array[] = [];
    const judge = createMemoryStore({
      environment,
      deadLetters: {
        hasDeadLetter: (id) => left.has(id),
        removeDeadLetter: (id) => void left.delete(id),
      },
      onOutgoing: ({ frame }) => void published.push(frame),
    });
    const seen = { committed: 0, duplicate: 0, conflict: 0 };
    for (let done = 0; done < RANDOM_UNITS;) {
      const size = 1 + Math.floor(environment.random() * RANDOM_TURN_MAX);
      const units = Array.from({ length: size }, () => randomUnit(environment.random, letters));
      const expected = await Promise.all(units.map((unit) => judge.commit(unit, [])));
      const answers = await Promise.all(units.map((unit) => bench.store.commit(unit, [])));
      expect(answers).toEqual(expected);
      for (const { kind } of answers) seen[kind]++;
      done += size;
    }
    expect(Math.min(seen.committed, seen.duplicate, seen.conflict)).toBeGreaterThan(20);
    for (const table of ["orders", "stock", "payments", "fraud", "idempotency"] as const) {
      const rows = judge.rows(table);
      const found = await bench.store.load(
        table,
        rows.map(({ key }) => key),
      );
      expect(found.map((row) => [row?.version, Buffer.from(row?.data ?? []).toString()])).toEqual(
        rows.map(({ version, data }) => [version, Buffer.from(data).toString()]),
      );
    }
    const frames = await bench.outgoing();
    expect(frames.map((frame) => Buffer.from(frame).toString("hex"))).toEqual(
      published.map((frame) => Buffer.from(frame).toString("hex")),
    );
    for (const id of letters) expect(await bench.hasLetter(id)).toBe(left.has(id));
  });
}
