/**
 * What becomes of units when the server or the connection dies under them.
 *
 * Whatever happens: what was answered `committed` is stored, what was refused as a fault is not,
 * nothing is stored twice, and nobody waits for ever. Only for tests; the server is one of its own.
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";

import type { Sql } from "postgres";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { ConnectionState } from "../../brokers/broker.ts";
import type { UnitOfWork } from "../unit-of-work.ts";
import type { Postgres } from "./postgres-connection.ts";
import type { PostgresSettings } from "./postgres-options.ts";
import type { PostgresStore } from "./postgres-store.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { isShopError } from "../../../runtime/errors.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { idAt, rowOf, STORE_SLOTS, STORE_TOPICS, storeFrame } from "../store.suite.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import { batchParameters, COMMIT_UNITS } from "./batch-parameters.ts";
import { planBatch } from "./batch-plan.ts";
import { run } from "./batch-state.ts";
import { BatchWriter } from "./batch-writer.ts";
import { openPostgres } from "./postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "./postgres-options.ts";
import { createPostgresStore } from "./postgres-store.ts";
import { ServerLink } from "./server-link.ts";

const missing = whyMissing("postgres");
const LANES = 64;
const LOOKS_MAX = 200_000;
/** Of who must not give up an answer because the machine is busy. */
const PATIENCE_MS = 30_000;

let server: TestServer;
let schemas = 0;
const opened: Postgres[] = [];

interface Rig {
  readonly postgres: Postgres;
  readonly store: PostgresStore;
  readonly sql: Sql;
  readonly told: number[];
  readonly states: ConnectionState[];
  uncertain: number;
}

/** A store on a schema of its own. */
async function open(overrides: Partial<PostgresSettings> = {}): Promise<Rig> {
  const states: ConnectionState[] = [];
  const settings = { ...POSTGRES_DEFAULTS, url: server.url, ...overrides };
  const postgres = await openPostgres(
    { ...settings, schema: `crash_${++schemas}` },
    { environment, slots: STORE_SLOTS, onConnection: (state) => void states.push(state) },
  );
  opened.push(postgres);
  const told: number[] = [];
  const store = createPostgresStore({
    postgres,
    topics: STORE_TOPICS,
    slots: STORE_SLOTS,
    onOutgoing: (frames) => void told.push(...frames.map(({ id }) => id)),
    onUncertain: () => void rig.uncertain++,
  });
  const rig: Rig = { postgres, store, sql: postgres.client(2), told, states, uncertain: 0 };
  return rig;
}

/** One mark, one new row, one row that all of its lane write, one frame. */
function unitAt(number: number, lane: number, version: number): UnitOfWork {
  return {
    ...EMPTY_UNIT,
    inbox: [{ group: "g", messageId: idAt(number) }],
    rows: [rowOf(`k${number}`, 0), rowOf(`lane${lane}`, version)],
    outgoing: [{ topic: "orders", frame: storeFrame("x", number % STORE_SLOTS) }],
  };
}

interface History {
  readonly committed: Set<number>;
  readonly refused: Set<number>;
  readonly open: Set<number>;
}

/** Commits from many lanes until told to stop; every unit once, whatever its answer. */
function startTraffic({ store }: Rig): { history: History; stop: () => Promise<History> } {
  const history: History = { committed: new Set(), refused: new Set(), open: new Set() };
  let next = 0;
  let isOver = false;
  async function runLane(lane: number): Promise<void> {
    let version = 0;
    while (!isOver) {
      const number = next++;
      try {
        const result = await store.commit(unitAt(number, lane, version), []);
        if (result.kind === "committed") {
          history.committed.add(number);
          version++;
        } else {
          history.refused.add(number);
          if (result.kind === "conflict") version = result.version;
        }
      } catch (error) {
        if (!isShopError(error)) throw error;
        (error.code === "INDETERMINATE" ? history.open : history.refused).add(number);
        await new Promise<void>((resolve) => void environment.startTimer(20, resolve));
      }
    }
  }
  const lanes = Array.from({ length: LANES }, (_, lane) => runLane(lane));
  const stop = async (): Promise<History> => {
    isOver = true;
    await Promise.all(lanes);
    return history;
  };
  return { history, stop };
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let looks = 0; !(await isSo()); looks++) {
    expect(looks).toBeLessThan(LOOKS_MAX);
    await new Promise<void>((resolve) => void environment.startTimer(2, resolve));
  }
}

/** Acknowledged ⊆ stored ⊆ attempted, and each unit is stored whole and once. */
async function check(rig: Rig, { committed, refused, open: unknown }: History): Promise<void> {
  const { sql } = rig;
  const rows = await sql<{ key: string; version: number }[]>`
    SELECT key, version::int FROM stock WHERE key LIKE 'k%'`;
  const stored = new Set(rows.map(({ key }) => Number(key.slice(1))));
  expect([...committed].filter((number) => !stored.has(number))).toEqual([]);
  expect([...refused].filter((number) => stored.has(number))).toEqual([]);
  expect([...stored].filter((number) => !committed.has(number) && !unknown.has(number))).toEqual(
    [],
  );
  expect(rows.every(({ version }) => version === 1)).toBe(true);
  const [counts] = await sql<{ marks: number; lanes: number }[]>`
    SELECT (SELECT count(*)::int FROM inbox) AS marks,
      (SELECT coalesce(sum(version), 0)::int FROM stock WHERE key LIKE 'lane%') AS lanes`;
  expect(counts).toEqual({ marks: stored.size, lanes: stored.size });
  const outbox = await sql<{ id: number }[]>`SELECT id::int FROM outbox ORDER BY id`;
  expect(outbox).toHaveLength(stored.size);
  // Who was told of a frame was told the truth, once, and in order.
  const ids = outbox.map(({ id }) => id);
  const known = new Set(ids);
  expect(rig.told.filter((id) => !known.has(id))).toEqual([]);
  expect(rig.told).toEqual([...new Set(rig.told)].sort((left, right) => left - right));
  if (rig.uncertain === 0) expect(rig.told).toEqual(ids);
}

/** Without a watch. */
function linkTo(postgres: Postgres, answerMs: number): ServerLink {
  return new ServerLink({
    environment,
    watch: { succeeded: () => {}, failed: () => {} },
    connect: () => postgres.client(1),
    answerMs,
  });
}

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))("units", () => {
  beforeAll(async () => {
    server = await startTestServer("postgres", { settings: { log_min_messages: "error" } });
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((postgres) => postgres.close()));
  });
  afterAll(async () => server.dispose());

  test("that were acknowledged survive the killing of the server", async () => {
    const rig = await open();
    const { history, stop } = startTraffic(rig);
    for (let round = 1; round <= 3; round++) {
      const before = history.committed.size;
      await until(() => history.committed.size > before + 500);
      await server.kill();
      await until(() => rig.states.at(-1)?.isUp === false);
      await server.start();
    }
    const healed = history.committed.size;
    await until(() => history.committed.size > healed + 200);
    await check(rig, await stop());
    expect(rig.states.at(-1)).toEqual({ isUp: true, detail: "" });
    expect(rig.states[0]?.isUp).toBe(false);
  });

  test("are all committed, once, while their connection is cut again and again", async () => {
    const rig = await open();
    const { history, stop } = startTraffic(rig);
    for (let cuts = 0; cuts < 20; cuts++) {
      const before = history.committed.size;
      await until(() => history.committed.size > before + 50);
      await rig.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND query LIKE '%commit_units%'`;
    }
    await stop();
    expect([history.refused.size, history.open.size]).toEqual([0, 0]);
    expect(history.committed.size).toBeGreaterThan(1_000);
    await check(rig, history);
  });

  test("of a server that stands still are answered in time", async () => {
    const rig = await open({ statementTimeoutMs: 500, connectTimeoutMs: 500, commitWaitMs: 500 });
    const { history, stop } = startTraffic(rig);
    await until(() => history.committed.size > 200);
    // So that it has a connection. With this little patience a busy machine may refuse a read.
    const canRead = (): Promise<boolean> => {
      return rig.store.load("stock", ["k1"]).then(
        () => true,
        () => false,
      );
    };
    await until(canRead);
    server.pause();
    await until(() => history.refused.size + history.open.size >= LANES);
    const asked = await Promise.allSettled([rig.store.load("stock", ["k1"])]);
    server.resume();
    const before = history.committed.size;
    await until(() => history.committed.size > before + 200);
    await check(rig, await stop());
    expect(asked[0]).toMatchObject({ status: "rejected", reason: { code: "STORAGE_FAULT" } });
  });

  test("of a store that is closed while the server stands still are all answered", async () => {
    const { store } = await open();
    await store.commit(unitAt(1, 0, 0), []);
    server.pause();
    const sent = store.commit(unitAt(2, 0, 1), []);
    await new Promise<void>((resolve) => environment.defer(resolve));
    const waiting = store.commit(unitAt(3, 0, 2), []);
    const closing = store.close();
    const answers = await Promise.allSettled([sent, waiting]);
    await closing;
    server.resume();
    expect(answers).toMatchObject([
      { status: "rejected", reason: { code: "INDETERMINATE" } },
      { status: "rejected", reason: { code: "CLOSED" } },
    ]);
  });

  test("whose answer was lost on the way are found out: written, or never to be", async () => {
    const { postgres, sql } = await open();
    const [blocker, watcher] = [postgres.client(1), postgres.client(1)];
    const link = linkTo(postgres, 300);
    const writer = new BatchWriter({ environment, link, writerId: idAt(1), commitWaitMs: 60_000 });
    const unit = (version: number) => ({ ...unitAt(version, 0, version), inbox: [] });
    await writer.write([unit(0)]);
    const isBlocked = async (): Promise<boolean> => {
      const rows = await watcher`SELECT 1 FROM pg_locks WHERE NOT granted AND locktype <> 'tuple'`;
      return rows.length > 0;
    };
    // The server goes on with what its client has given up, once it can.
    let written: ReturnType<BatchWriter["write"]> | undefined;
    await blocker.begin(async (tx) => {
      await tx`SELECT 1 FROM stock WHERE key = 'lane0' FOR UPDATE`;
      written = writer.write([unit(1)]);
      await until(isBlocked);
      // Past the time in which the writer waits for an answer: it asks, and waits again.
      await until(async () => {
        const rows =
          await watcher`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO writers%'
          AND wait_event_type = 'Lock'`;
        return rows.length > 0;
      });
    });
    const result = await written;
    expect(result).toEqual({ results: [{ kind: "committed" }], outgoing: "unknown" });
    // A copy of it that comes later still finds its number used up.
    const identity = { writerId: idAt(1), batch: 2, relayId: undefined, nowMs: 1 };
    const late = run(sql, COMMIT_UNITS, batchParameters(planBatch([unit(2)]), identity));
    expect(late).rejects.toMatchObject({ code: "SS003" });
    // A writer that was forgotten while it was idle makes itself known again.
    await sql`DELETE FROM writers`;
    expect((await writer.write([unit(2)])).results).toEqual([{ kind: "committed" }]);
    const [row] = await sql<{ version: number }[]>`
      SELECT version::int FROM stock WHERE key = 'lane0'`;
    expect(row?.version).toBe(3);
    expect(await sql`SELECT 1 FROM outbox`).toHaveLength(3);
    await link.close();
  });

  test("that were refused for lack of an answer are not written later either", async () => {
    const { postgres, sql } = await open();
    const link = linkTo(postgres, PATIENCE_MS);
    let isCut = false;
    const writer = new BatchWriter({
      environment,
      link: {
        // Its statement is still on its way to the server when the connection is given up.
        within: (work) => (isCut ? cutOff() : link.within(work)),
        drop: () => link.drop(),
        pause: (deadlineMs) => link.pause(deadlineMs),
      },
      writerId: idAt(1),
      commitWaitMs: 0,
    });
    async function cutOff(): Promise<never> {
      isCut = false;
      throw Object.assign(new Error("cut off"), { code: "CONNECTION_CLOSED" });
    }
    await writer.write([unitAt(0, 0, 0)]);
    isCut = true;
    const { results } = await writer.write([unitAt(1, 0, 1)]);
    expect(results).toMatchObject([{ code: "STORAGE_FAULT" }]);
    const identity = { writerId: idAt(1), batch: 2, relayId: undefined, nowMs: 1 };
    const late = run(sql, COMMIT_UNITS, batchParameters(planBatch([unitAt(1, 0, 1)]), identity));
    expect(late).rejects.toMatchObject({ code: "SS003" });
    expect((await writer.write([unitAt(2, 0, 1)])).results).toEqual([{ kind: "committed" }]);
    await link.close();
  });
});
