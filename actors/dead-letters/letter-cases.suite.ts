/**
 * What every keeper of dead letters must do: show them, and take them out with a unit or not at
 * all.
 *
 * Run on the memory log and on a journal in a directory; only for tests.
 */

import { describe, expect, test } from "bun:test";

import type { DeadLetterReads, LetterFilter } from "./letter-port.ts";
import type { LetterCommand } from "./letter-unit.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { CommandReply } from "../contracts/order-state.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { decodeEvent } from "../delivery/decode-message.ts";
import { REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { createLetterService } from "./letter-service.ts";

export const LETTER_SLOTS = 4;
export const LETTER_TOPICS = ["orders", "payments", "operations"];
export const LETTER_GROUPS = ["order", "payment"];

export interface Buried {
  readonly topic: string;
  readonly group: string;
  readonly reason: string;
  readonly bytes: Uint8Array;
}

/** A keeper under test. */
export interface LetterBench {
  readonly letters: DeadLetterReads;
  readonly store: Store;
  /** Publishes and buries `one` at the time `atMs`; the letter's id. */
  bury(one: Buried, atMs: number): Promise<number>;
  /** What was published to `topic`, apart from what was buried. */
  published(topic: string): Promise<readonly Uint8Array[]>;
}

const environment = createVirtualEnvironment();

export function frameFor(key: string, payload = Uint8Array.of(0x80)): Uint8Array {
  return encodeFrame({
    type: 1,
    slot: slotOf(key, LETTER_SLOTS),
    key,
    payload,
    id: environment.newId(),
    timeMs: 5,
    attempt: 3,
    deadlineMs: 9,
    headers: { correlationid: "c-1" },
  });
}

const BASE = { topic: "orders", group: "payment", reason: "poison" } as const;

export function testDeadLetters(name: string, open: () => LetterBench): void {
  describe(`${name}: reading`, () => readingCases(open));
  describe(`${name}: acting`, () => actingCases(open));
}

function readingCases(open: () => LetterBench): void {
  test("each filter picks its letters, and all of them together what fits each", async () => {
    const bench = open();
    const one = (parts: Partial<Buried>, key: string, atMs: number): Promise<number> =>
      bench.bury({ ...BASE, bytes: frameFor(key), ...parts }, atMs);
    const first = await one({}, "a", 100);
    const second = await one({ topic: "payments", group: "order" }, "b", 200);
    const third = await one({ reason: "expired" }, "a", 300);
    const fourth = await one({}, "b", 400);
    const cases: readonly (readonly [LetterFilter, readonly number[]])[] = [
      [{}, [first, second, third, fourth]],
      [{ topic: "payments" }, [second]],
      [{ group: "payment" }, [first, third, fourth]],
      [{ reason: "expired" }, [third]],
      [{ key: "b" }, [second, fourth]],
      [{ key: "b", topic: "orders" }, [fourth]],
      [{ key: "" }, []],
      [{ buriedFromMs: 200 }, [second, third, fourth]],
      [{ buriedBeforeMs: 300 }, [first, second]],
      [{ buriedFromMs: 200, buriedBeforeMs: 400, group: "payment" }, [third]],
      [{ topic: "nowhere" }, []],
    ];
    for (const [filter, ids] of cases) {
      const page = await bench.letters.page(filter, { afterId: 0, limit: 10 });
      expect([filter, page.letters.map(({ id }) => id)]).toEqual([filter, [...ids]]);
      expect(page.isLast).toBe(true);
      expect(await bench.letters.ids(filter, { afterId: 0, limit: 10 })).toEqual([...ids]);
      const extent = { count: ids.length, lastId: ids.at(-1) ?? 0 };
      expect(await bench.letters.extent(filter)).toEqual(extent);
    }
  });

  test("a letter is shown as it was buried, byte by byte, or not at all", async () => {
    const bench = open();
    const bytes = frameFor("a");
    const id = await bench.bury({ ...BASE, bytes }, 100);
    const letter = await bench.letters.letter(id);
    expect(letter).toMatchObject({ id, group: "payment", topic: "orders", buriedAtMs: 100 });
    expect(letter).toMatchObject({ partition: slotOf("a", LETTER_SLOTS), sequence: 1 });
    expect(letter?.burial).toEqual({
      reason: "poison",
      attempts: 5,
      firstError: "first",
      lastError: "last",
    });
    expect(Buffer.from(letter?.bytes ?? [])).toEqual(Buffer.from(bytes));
    expect(letter?.damage).toBeUndefined();
    expect(await bench.letters.letter(id + 1)).toBeUndefined();
  });

  test("pages follow each other without a gap, and say which is the last", async () => {
    const bench = open();
    const ids: number[] = [];
    for (let count = 0; count < 5; count++) {
      ids.push(await bench.bury({ ...BASE, bytes: frameFor("a") }, 100));
    }
    const seen: (readonly [readonly number[], boolean])[] = [];
    for (let afterId = 0; seen.length < 3;) {
      const { letters, isLast } = await bench.letters.page({}, { afterId, limit: 2 });
      seen.push([letters.map(({ id }) => id), isLast]);
      afterId = letters.at(-1)?.id ?? 0;
    }
    expect(seen).toEqual([
      [ids.slice(0, 2), false],
      [ids.slice(2, 4), false],
      [ids.slice(4), true],
    ]);
    const throughId = ids[2] ?? 0;
    const range = { afterId: ids[0] ?? 0, throughId, limit: 10 };
    expect(await bench.letters.ids({}, range)).toEqual(ids.slice(1, 3));
  });

  test("a page of large letters ends before it is too large, and has one at least", async () => {
    const bench = open();
    const bytes = frameFor("a", new Uint8Array(900_000));
    for (let count = 0; count < 6; count++) await bench.bury({ ...BASE, bytes }, 100);
    const page = await bench.letters.page({}, { afterId: 0, limit: 6 });
    expect([page.letters.length, page.isLast]).toEqual([4, false]);
  });

  test("the summary counts by topic, group and reason, the most frequent first", async () => {
    const bench = open();
    for (const [reason, atMs] of [
      ["poison", 100],
      ["expired", 200],
      ["poison", 300],
    ] as const) {
      await bench.bury({ ...BASE, reason, bytes: frameFor("a") }, atMs);
    }
    const where = { topic: "orders", group: "payment" };
    expect(await bench.letters.summary()).toEqual([
      { ...where, reason: "poison", count: 2, oldestBuriedAtMs: 100, newestBuriedAtMs: 300 },
      { ...where, reason: "expired", count: 1, oldestBuriedAtMs: 200, newestBuriedAtMs: 200 },
    ]);
  });

  test("a page of none, or of more than allowed, is a mistake of the caller", async () => {
    const { letters } = open();
    for (const limit of [0, 201, 1.5]) {
      expect(letters.page({}, { afterId: 0, limit })).rejects.toThrow(`${limit} letters`);
    }
    expect(letters.ids({}, { afterId: 0, limit: 1_001 })).rejects.toThrow("1001 letters");
  });
}

function actingCases(open: () => LetterBench): void {
  const act = (bench: LetterBench, command: LetterCommand): Promise<CommandReply> =>
    createLetterService({ ...bench, environment, slots: LETTER_SLOTS }).command(command, {
      cause: { correlationId: "request-7", causationId: "m", traceId: "0".repeat(32) },
      deadlineMs: 0,
    });
  const redrive = (bench: LetterBench, ...ids: number[]): Promise<CommandReply> =>
    act(bench, { type: "deadletter.redrive", letterKey: "k", ids });

  test("a letter that is gone makes its unit a conflict that writes nothing", async () => {
    const bench = open();
    const id = await bench.bury({ ...BASE, bytes: frameFor("a") }, 100);
    const row = { table: "stock", key: "p", expectedVersion: 0, data: Uint8Array.of(1) } as const;
    const unit = {
      ...EMPTY_UNIT,
      inbox: [{ group: "order", messageId: environment.newId() }],
      rows: [row],
      outgoing: [{ topic: "payments", frame: frameFor("a") }],
    };
    const gone = { kind: "conflict", table: "dead_letters", key: `${id + 1}`, version: 0 };
    expect(await bench.store.commit({ ...unit, deadLettersRemoved: [id, id + 1] }, [])).toEqual(
      gone as never,
    );
    expect(await bench.store.load("stock", ["p"])).toEqual([undefined]);
    expect(await bench.published("payments")).toEqual([]);
    expect(await bench.letters.letter(id)).toBeDefined();
    // The mark was not made either: the same unit without the missing letter is no duplicate.
    const result = await bench.store.commit({ ...unit, deadLettersRemoved: [id] }, []);
    expect(result).toEqual({ kind: "committed" });
    expect(await bench.letters.letter(id)).toBeUndefined();
    expect(await bench.published("payments")).toHaveLength(1);
  });

  test("a unit whose row has moved takes no letter out", async () => {
    const bench = open();
    const id = await bench.bury({ ...BASE, bytes: frameFor("a") }, 100);
    const row = { table: "stock", key: "p", expectedVersion: 7, data: Uint8Array.of(1) } as const;
    const unit = { ...EMPTY_UNIT, rows: [row], deadLettersRemoved: [id] };
    expect(await bench.store.commit(unit, [])).toMatchObject({ kind: "conflict", key: "p" });
    expect(await bench.letters.letter(id)).toBeDefined();
  });

  test("redriving takes the letter out, publishes its frame anew and tells the audit", async () => {
    const bench = open();
    const bytes = frameFor("a");
    const id = await bench.bury({ ...BASE, bytes }, 100);
    expect(await redrive(bench, id)).toEqual({
      kind: "letters",
      results: [{ id, result: "redriven" }],
    });
    expect(await bench.letters.letter(id)).toBeUndefined();
    const [back, ...none] = (await bench.published("orders")).map(decodeFrame);
    expect(none).toEqual([]);
    const before = decodeFrame(bytes);
    expect(back).toMatchObject({ id: before.id, key: "a", attempt: 0, deadlineMs: 0 });
    expect(back?.headers[REDRIVEN_HEADER]).toBe(`payment/orders/${before.slot}/1`);
    const [audited] = (await bench.published("operations")).map(decodeFrame);
    expect(audited?.headers["correlationid"]).toBe("request-7");
    expect(audited && decodeEvent(audited)).toEqual({
      type: "deadletter.redriven",
      letterKey: `${id}`,
      group: "payment",
      topic: "orders",
      partition: before.slot,
      sequence: 1,
      reason: "poison",
    });
  });

  test("of operators who redrive the same letters at once, each letter has one", async () => {
    const bench = open();
    const ids: number[] = [];
    for (let count = 0; count < 4; count++) {
      ids.push(await bench.bury({ ...BASE, bytes: frameFor(`k-${count}`) }, 100));
    }
    const replies = await Promise.all([
      redrive(bench, ...ids),
      redrive(bench, ...ids.toReversed()),
      redrive(bench, ...ids.slice(1)),
    ]);
    const results = replies.flatMap((reply) => (reply.kind === "letters" ? reply.results : []));
    expect(results).toHaveLength(11);
    const redriven = results.filter(({ result }) => result === "redriven").map(({ id }) => id);
    expect(redriven.toSorted((left, right) => left - right)).toEqual(ids);
    expect(await bench.published("orders")).toHaveLength(4);
    expect(await bench.published("operations")).toHaveLength(4);
  });

  test("a command that is repeated finds nothing, and changes nothing", async () => {
    const bench = open();
    const id = await bench.bury({ ...BASE, bytes: frameFor("a") }, 100);
    await redrive(bench, id);
    expect(await redrive(bench, id)).toEqual({
      kind: "letters",
      results: [{ id, result: "missing" }],
    });
    expect(await bench.published("orders")).toHaveLength(1);
    expect(await bench.published("operations")).toHaveLength(1);
  });

  test("bytes that are no frame are refused and stay, beside those that go", async () => {
    const bench = open();
    const good = await bench.bury({ ...BASE, bytes: frameFor("a") }, 100);
    const broken = frameFor("b");
    broken[broken.length - 1] = 0x81;
    const bad = await bench.bury({ ...BASE, reason: "bad_frame", bytes: broken }, 100);
    const reply = await redrive(bench, bad, good);
    expect(reply).toMatchObject({
      results: [
        { id: bad, result: "refused", detail: expect.stringContaining("BAD_FRAME") },
        { id: good, result: "redriven" },
      ],
    });
    expect(await bench.letters.extent({})).toEqual({ count: 1, lastId: bad });
    const why = "sender was mended";
    const discard: LetterCommand = {
      type: "deadletter.discard",
      letterKey: "k",
      ids: [bad],
      why,
    };
    expect(await act(bench, discard)).toMatchObject({
      results: [{ id: bad, result: "discarded" }],
    });
    expect(await bench.letters.extent({})).toEqual({ count: 0, lastId: 0 });
    const events = (await bench.published("operations")).map((one) =>
      decodeEvent(decodeFrame(one)),
    );
    const told = { type: "deadletter.discarded", letterKey: `${bad}`, reason: "bad_frame", why };
    expect(events.find(({ type }) => type === "deadletter.discarded")).toMatchObject(told);
  });

  test("letters that one unit cannot hold go in several, and all of them go", async () => {
    const bench = open();
    const ids: number[] = [];
    for (let count = 0; count < 4; count++) {
      const bytes = frameFor(`k-${count}`, new Uint8Array(300_000));
      ids.push(await bench.bury({ ...BASE, bytes }, 100));
    }
    let units = 0;
    const store: Store = {
      acknowledges: bench.store.acknowledges,
      load: bench.store.load,
      commit: (unit, deliveries) => {
        units++;
        expect(unit.deadLettersRemoved.length).toBeLessThanOrEqual(1);
        return bench.store.commit(unit, deliveries);
      },
    };
    const reply = await redrive({ ...bench, store }, ...ids);
    expect(reply).toMatchObject({ results: ids.map((id) => ({ id, result: "redriven" })) });
    expect(units).toBe(4);
  });
}
