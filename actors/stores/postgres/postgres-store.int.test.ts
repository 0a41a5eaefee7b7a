/**
 * The PostgreSQL store on a real server: the cases of every store, and its own promises.
 *
 * Its own: several writers on one database, fences, what it refuses, and the keeping of dead
 * letters. What it does when the server or the connection dies is tested beside it.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { Sql } from "postgres";

import type { LetterBench } from "../../dead-letters/letter-cases.suite.ts";
import type { StoreBench } from "../store.suite.ts";
import type { UnitOfWork } from "../unit-of-work.ts";
import type { OutgoingRow } from "./batch-writer.ts";
import type { Postgres } from "./postgres-connection.ts";
import type { NewLetter } from "./postgres-letters.ts";
import type { PostgresStore, PostgresStoreOptions } from "./postgres-store.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { encodeFrame, frameSlot } from "../../../runtime/frames/frame.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import {
  LETTER_SLOTS,
  LETTER_TOPICS,
  testDeadLetters,
} from "../../dead-letters/letter-cases.suite.ts";
import {
  bytesOf,
  idAt,
  orderOf,
  rowOf,
  STORE_SLOTS,
  STORE_TOPICS,
  storeFrame,
  testStore,
  timerOf,
} from "../store.suite.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import { openPostgres } from "./postgres-connection.ts";
import { createPostgresLetters } from "./postgres-letters.ts";
import { POSTGRES_DEFAULTS } from "./postgres-options.ts";
import { createPostgresReads } from "./postgres-reads.ts";
import { retentionSteps } from "./postgres-retention.ts";
import { createPostgresStore } from "./postgres-store.ts";

const missing = whyMissing("postgres");
const TABLES = `orders, payments, stock, reservations, shipments, idempotency, fraud,
  notifications, timeline, inbox, outbox, timers, dead_letters, writers, relays`;

let postgres: Postgres;
let sql: Sql;
let stores: PostgresStore[] = [];

function open(options: Partial<PostgresStoreOptions> = {}): PostgresStore {
  const topics = [...STORE_TOPICS, ...LETTER_TOPICS];
  const store = createPostgresStore({ postgres, topics, slots: STORE_SLOTS, ...options });
  stores.push(store);
  return store;
}

function commit(store: PostgresStore, unit: Partial<UnitOfWork>) {
  return store.commit({ ...EMPTY_UNIT, ...unit }, []);
}

const out = (text: string, slot = 1) => ({ topic: "orders", frame: storeFrame(text, slot) });

function letterOf(sequence: number, overrides: Partial<NewLetter> = {}): NewLetter {
  return {
    group: "order",
    topic: "orders",
    partition: 1,
    sequence,
    bytes: storeFrame("x"),
    burial: { reason: "poison", attempts: 3, firstError: "first\0", lastError: "last" },
    buriedAtMs: 5,
    ...overrides,
  };
}

async function openBench(): Promise<StoreBench> {
  const letters = createPostgresLetters(postgres, STORE_SLOTS);
  let sequence = 0;
  return {
    store: open(),
    other: open(),
    reads: createPostgresReads(postgres),
    async outgoing() {
      const rows = await sql<{ frame: Uint8Array }[]>`SELECT frame FROM outbox ORDER BY id`;
      return rows.map(({ frame }) => frame);
    },
    async fireTimers(nowMs) {
      await sql`WITH due AS (DELETE FROM timers WHERE due_at <= ${nowMs} RETURNING *)
        INSERT INTO outbox (relay, slot, topic, frame)
        SELECT ${idAt(1)}, slot, topic, frame FROM due ORDER BY due_at, id`;
    },
    async bury(bytes) {
      await letters.bury(letterOf(++sequence, { bytes }), true);
      return (await letters.extent({})).lastId;
    },
    hasLetter: async (id) => (await letters.letter(id)) !== undefined,
  };
}

function openLetterBench(): LetterBench {
  const letters = createPostgresLetters(postgres, LETTER_SLOTS);
  const sequences = new Map<string, number>();
  return {
    letters,
    store: open({ slots: LETTER_SLOTS }),
    async bury({ topic, group, reason, bytes }, buriedAtMs) {
      const partition = frameSlot(bytes);
      const name = `${topic}/${partition}`;
      const sequence = (sequences.get(name) ?? 0) + 1;
      sequences.set(name, sequence);
      const burial = { reason, attempts: 5, firstError: "first", lastError: "last" };
      const place = { group, topic, partition, sequence };
      await letters.bury({ ...place, bytes, burial, buriedAtMs }, true);
      return (await letters.extent({})).lastId;
    },
    async published(topic) {
      const rows = await sql<{ frame: Uint8Array }[]>`
        SELECT frame FROM outbox WHERE topic = ${topic} ORDER BY id`;
      return rows.map(({ frame }) => frame);
    },
  };
}

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "postgres",
  () => {
    let stop: () => Promise<void>;
    beforeAll(async () => {
      const server = await startTestServer("postgres");
      const settings = { ...POSTGRES_DEFAULTS, url: server.url };
      postgres = await openPostgres(settings, { environment, slots: STORE_SLOTS });
      sql = postgres.client(1);
      stop = async () => {
        await postgres.close();
        await server.dispose();
      };
    });
    beforeEach(async () => {
      await Promise.all(stores.map((store) => store.close()));
      stores = [];
      await sql.unsafe(`TRUNCATE ${TABLES} RESTART IDENTITY CASCADE`);
    });
    afterAll(async () => stop());

    testStore("PostgreSQL", openBench);
    testDeadLetters("PostgreSQL", openLetterBench);
    describe("frames", frameCases);
    describe("another writer", otherWriterCases);
    describe("a fence", fenceCases);
    describe("what is refused", refusalCases);
    describe("dead letters", letterCases);
    describe("retention", retentionCases);
  },
);

function frameCases(): void {
  test("are told of after their commit and before their unit is answered, in order", async () => {
    const story: string[] = [];
    const told: OutgoingRow[] = [];
    const store = open({
      onOutgoing(frames) {
        story.push(`told ${frames.length}`);
        told.push(...frames);
      },
    });
    const both = [commit(store, { outgoing: [out("1"), out("2", 3)] }), commit(store, {})];
    await Promise.all(both.map((each) => each.then(() => story.push("answered"))));
    await commit(store, { outgoing: [out("3")] });
    expect(story).toEqual(["told 2", "answered", "answered", "told 1"]);
    const rows = await sql<{ id: number; slot: number; topic: string; frame: Uint8Array }[]>`
      SELECT id::int, slot, topic, frame FROM outbox ORDER BY id`;
    const plain = ({ id, slot, topic, frame }: (typeof rows)[number]) => {
      return [id, slot, topic, Buffer.from(frame).toString("hex")];
    };
    expect(told.map(plain)).toEqual(rows.map(plain));
    expect(rows.map(({ slot }) => slot)).toEqual([1, 3, 1]);
  });
}

async function untilWaiting(count: number): Promise<void> {
  for (let waiting = 0; waiting < count;) {
    [{ waiting } = { waiting: 0 }] = await sql<{ waiting: number }[]>`
      SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted`;
  }
}

function otherWriterCases(): void {
  test("that commits the same unit while its rows are read leaves a duplicate", async () => {
    const store = open();
    const messageId = idAt(1);
    await commit(store, { rows: [rowOf("a", 0)] });
    // From now on it reads before it writes, for some batches.
    expect(await commit(store, { rows: [rowOf("a", 0)] })).toMatchObject({ kind: "conflict" });
    const repeated = await postgres.client(1).begin(async (tx) => {
      await tx`UPDATE stock SET version = 2 WHERE key = 'a'`;
      await tx`INSERT INTO inbox (grp, message_id, at) VALUES ('order', ${messageId}, 1)`;
      const inbox = [{ group: "order", messageId }];
      const result = commit(store, { inbox, rows: [rowOf("a", 1)] });
      await untilWaiting(1);
      return { result };
    });
    expect(await repeated.result).toEqual({ kind: "duplicate", messageIds: [messageId] });
  });
}

function fenceCases(): void {
  const relayId = idAt(77);
  const register = () => sql`INSERT INTO relays (id, process, shard) VALUES (${relayId}, 'p', 0)`;

  test("that is down refuses every unit, for ever, and nothing of it is written", async () => {
    await register();
    const store = open({ relayId });
    expect(await commit(store, { outgoing: [out("1")] })).toEqual({ kind: "committed" });
    await sql`UPDATE relays SET fenced = true WHERE id = ${relayId}`;
    for (let round = 0; round < 2; round++) {
      const unit = { rows: [rowOf("a", 0)], inbox: [{ group: "g", messageId: idAt(1) }] };
      const refused = commit(store, { ...unit, outgoing: [out("2")] });
      expect(refused).rejects.toMatchObject({ code: "FENCED", retry: "never" });
    }
    const [left] = await sql<{ relay: string; count: number }[]>`
      SELECT min(relay::text) AS relay, count(*)::int AS count FROM outbox`;
    expect(left).toEqual({ relay: relayId, count: 1 });
    expect(await store.load("stock", ["a"])).toEqual([undefined]);
    expect(await sql`SELECT * FROM inbox`).toHaveLength(0);
  });

  test("of a relay that nobody knows is down", async () => {
    const store = open({ relayId: idAt(78) });
    expect(commit(store, {})).rejects.toMatchObject({ code: "FENCED" });
  });

  test("waits for the commit that is under way", async () => {
    await register();
    await commit(open(), { rows: [rowOf("a", 0)] });
    const store = open({ relayId });
    const order: string[] = [];
    const blocker = postgres.client(1);
    const other = postgres.client(1);
    await blocker.begin(async (tx) => {
      await tx`SELECT 1 FROM stock WHERE key = 'a' FOR UPDATE`;
      const written = commit(store, { rows: [rowOf("a", 1)] }).then(() => order.push("commit"));
      await untilWaiting(1);
      const fenced = other`UPDATE relays SET fenced = true WHERE id = ${relayId}`.then(() =>
        order.push("fence"),
      );
      await untilWaiting(2);
      expect(order).toEqual([]);
      return [written, fenced];
    });
    for (let looks = 0; order.length < 2; looks++) {
      expect(looks).toBeLessThan(100_000);
      await sql`SELECT 1`;
    }
    expect(await store.load("stock", ["a"])).toMatchObject([{ version: 2 }]);
    expect(commit(store, {})).rejects.toMatchObject({ code: "FENCED" });
  });
}

function refusalCases(): void {
  test("is named, and spoils nothing else", async () => {
    const store = open();
    const bad: readonly (readonly [Partial<UnitOfWork>, string])[] = [
      [{ outgoing: [{ topic: "nowhere", frame: storeFrame("x") }] }, "UNKNOWN_TOPIC"],
      [{ outgoing: [out("x", STORE_SLOTS)] }, "BAD_FRAME"],
      [{ outgoing: [{ topic: "orders", frame: new Uint8Array(3) }] }, "BAD_FRAME"],
      [{ timersStarted: [{ id: "t", dueAtMs: 1, outgoing: out("x", 9) }] }, "BAD_FRAME"],
      [{ inbox: [{ group: "g", messageId: "no uuid" }] }, "BAD_MESSAGE"],
      [{ inbox: [{ group: "g\0", messageId: idAt(1) }] }, "BAD_MESSAGE"],
      [{ rows: [rowOf("nul\0", 0)] }, "BAD_MESSAGE"],
      [{ rows: [rowOf("", 0)] }, "BAD_MESSAGE"],
      [{ rows: [rowOf("a", 0), rowOf("a", 1)] }, "BAD_MESSAGE"],
      [{ rows: [{ ...rowOf("a", 0), table: "orders" }] }, "BAD_MESSAGE"],
      [{ rows: [orderOf("a", 0, "status\0")] }, "BAD_MESSAGE"],
      [{ deadLettersRemoved: [1, 1] }, "BAD_MESSAGE"],
      [{ timersStarted: [timerOf("a\0", 1, "x")] }, "BAD_MESSAGE"],
    ];
    for (const [unit, code] of bad) {
      expect(commit(store, unit)).rejects.toMatchObject({ code, retry: "never" });
    }
    expect(await commit(store, { rows: [rowOf("a", 0)] })).toEqual({ kind: "committed" });
  });

  test("by the server alone fails alone, and its neighbours are committed", async () => {
    // Within our bound for keys, and beyond what one page of an index takes.
    const letters = Array.from({ length: 1_000 }, (_, index) =>
      String.fromCodePoint(0x4e00 + ((index * 7_919) % 20_000)),
    );
    const told: number[] = [];
    const store = open({ onOutgoing: (frames) => void told.push(...frames.map(({ id }) => id)) });
    const results = await Promise.allSettled([
      commit(store, { rows: [rowOf("a", 0)], outgoing: [out("1")] }),
      commit(store, { rows: [rowOf(letters.join(""), 0)], outgoing: [out("2")] }),
      commit(store, { rows: [rowOf("a", 1)], outgoing: [out("3")] }),
    ]);
    expect(results).toMatchObject([
      { value: { kind: "committed" } },
      { reason: { code: "BAD_MESSAGE", retry: "never" } },
      { value: { kind: "committed" } },
    ]);
    expect(told).toHaveLength(2);
    const rows = await sql<{ id: number }[]>`SELECT id::int FROM outbox ORDER BY id`;
    expect(rows.map(({ id }) => id)).toEqual(told);
  });

  test("beyond the bound of the queue is refused, the rest is committed", async () => {
    const settings = { ...postgres.settings, queueUnitsMax: 3, batchUnitsMax: 2 };
    const small = { ...postgres, settings, environment, writerLink: () => postgres.writerLink() };
    const store = open({ postgres: Object.assign(Object.create(postgres), small) });
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, (_, index) => commit(store, { rows: [rowOf(`k${index}`, 0)] })),
    );
    const codes = results.map((one) => (one.status === "rejected" ? one.reason.code : "ok"));
    expect(codes).toEqual(["ok", "ok", "ok", "SATURATED", "SATURATED"]);
  });

  test("once it is closed is everything, and what was being written is answered", async () => {
    const store = open();
    const first = commit(store, { rows: [rowOf("a", 0)] });
    // The first is on its way now, and the second waits for the next batch.
    await new Promise<void>((resolve) => environment.defer(resolve));
    const second = commit(store, { rows: [rowOf("b", 0)] });
    const closing = store.close();
    const results = await Promise.allSettled([first, second, commit(store, {})]);
    await closing;
    expect(results).toMatchObject([
      { value: { kind: "committed" } },
      { reason: { code: "CLOSED" } },
      { reason: { code: "CLOSED" } },
    ]);
    expect(store.load("stock", ["a"])).rejects.toMatchObject({ code: "CLOSED" });
  });
}

function letterCases(): void {
  const letters = () => createPostgresLetters(postgres, LETTER_SLOTS);

  test("buried twice are kept once, by position or by message", async () => {
    const kept = letters();
    expect(await kept.bury(letterOf(1), true)).toBe("buried");
    expect(await kept.bury(letterOf(1, { buriedAtMs: 9 }), true)).toBe("repeat");
    expect(await kept.bury(letterOf(2), true)).toBe("buried");
    expect(await kept.bury(letterOf(1, { group: "payment" }), true)).toBe("buried");
    // The position means nothing: the message does.
    expect(await kept.bury(letterOf(7), false)).toBe("buried");
    expect(await kept.bury(letterOf(8), false)).toBe("repeat");
    const payload = bytesOf("x");
    const other = encodeFrame({ type: 1, slot: 1, key: "k", payload, id: idAt(5), timeMs: 1 });
    expect(await kept.bury(letterOf(8, { bytes: other }), false)).toBe("buried");
    const torn = bytesOf("no frame at all");
    expect(await kept.bury(letterOf(9, { bytes: torn }), false)).toBe("buried");
    expect(await kept.bury(letterOf(10, { bytes: torn }), false)).toBe("repeat");
    expect((await kept.totals()).kept).toBe(6);
    const first = await kept.letter(1);
    expect(first?.burial.firstError).toBe("first\u{fffd}");
    expect(first?.buriedAtMs).toBe(5);
  });

  test("that were redriven can be buried again", async () => {
    const kept = letters();
    await kept.bury(letterOf(1), true);
    await commit(open(), { deadLettersRemoved: [1] });
    expect(await kept.bury(letterOf(1), true)).toBe("buried");
    expect(await kept.letter(1)).toBeUndefined();
    expect(await kept.letter(2)).toMatchObject({ sequence: 1 });
  });
}

function retentionCases(): void {
  test("removes by age and number, in steps, and keeps the rest", async () => {
    const hour = 3_600_000;
    const nowMs = environment.nowMs();
    const store = open();
    await commit(store, {
      inbox: [1, 2].map((number) => ({ group: "g", messageId: idAt(number) })),
      rows: [rowOf("old", 0, "x", "idempotency"), rowOf("new", 0, "x", "idempotency")],
    });
    await commit(store, { rows: [rowOf("old", 0, "x", "fraud"), rowOf("new", 0, "x", "fraud")] });
    await sql`UPDATE inbox SET at = ${nowMs - 3 * hour} WHERE message_id = ${idAt(1)}`;
    await sql`UPDATE idempotency SET written_at = ${nowMs - 3 * hour} WHERE key = 'old'`;
    await sql`UPDATE fraud SET written_at = ${nowMs - 49 * hour} WHERE key = 'old'`;
    const kept = createPostgresLetters(postgres, LETTER_SLOTS);
    for (let sequence = 1; sequence <= 5; sequence++) await kept.bury(letterOf(sequence), true);
    const ages = { inboxAgeMs: 2 * hour, idempotencyAgeMs: 2 * hour, fraudAgeMs: 2 * hour };
    const steps = retentionSteps({ ...ages, deadLettersMax: 2 }, environment);
    const removed: number[] = [];
    for (const step of steps) removed.push(await step(sql));
    expect(removed).toEqual([1, 1, 1, 0, 3]);
    for (const step of steps) expect(await step(sql)).toBe(0);
    expect(await store.load("idempotency", ["old", "new"])).toMatchObject([undefined, {}]);
    expect(await store.load("fraud", ["old", "new"])).toMatchObject([undefined, {}]);
    expect(await kept.ids({}, { afterId: 0, limit: 10 })).toEqual([4, 5]);
  });
}
