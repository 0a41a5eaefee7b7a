/**
 * Views beside a real shop: each record of the log exactly once in effect, whoever dies, and no
 * order that waits for a view.
 */

import type { Subprocess } from "bun";

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { View } from "../actors/contracts/topics.ts";

import { TOPICS, VIEWS } from "../actors/contracts/topics.ts";
import { openJournal } from "../actors/stores/journal/journal.ts";
import { SABOTAGES } from "../actors/sabotage.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { COUNTING_VIEWS, countingConfig } from "./counting-shop.fixture.ts";
import { configureLog } from "./log.ts";
import { startShop } from "./shop.ts";

const PATIENCE_MS = 40_000;
const TEST_TIMEOUT_MS = 60_000;
const BOTH: readonly View[] = ["audit", "analytics"];
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "shopstream-views-"));
  closers.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function openShop(data: string, views: readonly View[]) {
  const shop = await startShop({
    config: countingConfig(data, views, { SHOPSTREAM_SABOTAGE: "true" }),
    environment: systemEnvironment,
    cores: 3,
    log: configureLog("fatal", "text"),
    viewsEntry: COUNTING_VIEWS,
    onGiveUp: () => undefined,
  });
  closers.push(() => shop.stop());
  return shop;
}

async function post(url: string, path: string, body: unknown): Promise<Response> {
  return await fetch(`${url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

const ORDER = {
  customerId: "ada",
  items: [{ productId: "espresso-cup", quantity: 1, price: 4.99 }],
};

/** Ids of the orders that were acknowledged; the others were cut off. */
async function placeOrders(url: string, count: number): Promise<readonly string[]> {
  const placed = await Promise.allSettled(
    Array.from({ length: count }, async () => {
      const answer = await post(url, "/v1/orders", ORDER);
      expect(answer.status).toBe(201);
      return ((await answer.json()) as { id: string }).id; // the documented body of 201
    }),
  );
  return placed.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain until ${what}`);
    await Bun.sleep(20);
  }
}

async function untilDelivered(url: string, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await until(async () => {
      const answer = await fetch(`${url}/v1/orders/${id}`);
      return ((await answer.json()) as { status: string }).status === "delivered";
    }, `order ${id} is delivered`);
  }
}

interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
}

const nameOf = ({ topic, partition, sequence }: Place): string =>
  `${topic}/${partition}/${sequence}`;

function query<Row>(path: string, sql: string): readonly Row[] {
  const handle = new Database(path, { readonly: true });
  const rows = handle.prepare<Row, []>(sql).all();
  handle.close(true);
  return rows;
}

/** What the log has of a view's topics; nothing of it is old enough to go. */
function logged(data: string, view: View): readonly string[] {
  const topics: readonly string[] = VIEWS[view];
  return query<{ part: number; sequence: number }>(
    join(data, "journal.db"),
    "SELECT part, sequence FROM log",
  )
    .map(({ part, sequence }) => ({
      topic: TOPICS[Math.floor(part / 64)] ?? "",
      partition: part % 64,
      sequence,
    }))
    .filter(({ topic }) => topics.includes(topic))
    .map(nameOf)
    .toSorted();
}

function seen(data: string, view: View): readonly (Place & { readonly times: number })[] {
  const path = join(data, `${view}-seen.db`);
  return existsSync(path) ? query(path, "SELECT topic, partition, sequence, times FROM seen") : [];
}

function expectEachOnce(data: string, view: View): void {
  const rows = seen(data, view);
  expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
  expect(rows.map(nameOf).toSorted()).toEqual([...logged(data, view)]);
}

for (const how of SABOTAGES.filter((name) => name !== "spin")) {
  test(
    `a views' thread that should ${how} is replaced, each record counts once, and orders go on`,
    async () => {
      const data = await temporaryDirectory();
      const shop = await openShop(data, BOTH);
      const ids: string[] = [];
      for (let round = 0; round < 3; round++) {
        ids.push(...(await placeOrders(shop.url, 10)));
        expect((await post(shop.url, "/admin/sabotage", { shard: "views", how })).status).toBe(202);
        ids.push(...(await placeOrders(shop.url, 10)));
        await until(async () => {
          const metrics = await (await fetch(`${shop.url}/metrics`)).text();
          return metrics.includes(`shopstream_thread_restarts_total ${round + 1}`);
        }, "the thread was replaced");
      }
      expect(ids).toHaveLength(60);
      await untilDelivered(shop.url, ids);
      expect(await shop.stop()).toEqual([]);
      for (const view of BOTH) expectEachOnce(data, view);
      expect(seen(data, "audit").length).toBeGreaterThan(60 * 7);
    },
    TEST_TIMEOUT_MS,
  );
}

test(
  "each record counts once through kill -9 of the process, wherever it hits",
  async () => {
    const data = await temporaryDirectory();
    const entry = new URL("./counting-shop.fixture.ts", import.meta.url).pathname;
    const ids: string[] = [];
    for (let round = 0; round < 4; round++) {
      const child = Bun.spawn([process.execPath, entry, data], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      });
      closers.push(async () => {
        child.kill("SIGKILL");
        await child.exited;
      });
      const url = await urlOf(child);
      ids.push(...(await placeOrders(url, 15)));
      const before = seen(data, "audit").length;
      const cutOff = placeOrders(url, 30);
      await until(async () => seen(data, "audit").length > before, "the view has seen some of it");
      child.kill("SIGKILL");
      await child.exited;
      await cutOff;
      for (const view of BOTH) {
        expect(seen(data, view).filter(({ times }) => times !== 1)).toEqual([]);
      }
    }
    const shop = await openShop(data, BOTH);
    await untilDelivered(shop.url, ids);
    await shop.stop();
    for (const view of BOTH) expectEachOnce(data, view);
  },
  TEST_TIMEOUT_MS,
);

test(
  "a view that breaks again and again holds up neither orders nor the other view, and catches up",
  async () => {
    const data = await temporaryDirectory();
    await writeFile(join(data, "break-analytics"), "");
    const shop = await openShop(data, BOTH);
    const ids = await placeOrders(shop.url, 20);
    await untilDelivered(shop.url, ids);
    await until(async () => seen(data, "audit").length >= 20 * 7, "audit has all");
    const metricsOf = async () => await (await fetch(`${shop.url}/metrics`)).text();
    const failing = 'shopstream_view_failing{view="analytics"} 1';
    await until(async () => (await metricsOf()).includes(failing), "analytics has failed");
    const metrics = await metricsOf();
    expect(metrics).toContain('shopstream_view_failing{view="audit"} 0');
    expect(metrics).toContain("shopstream_thread_restarts_total 0");
    expect(seen(data, "analytics")).toEqual([]);
    await rm(join(data, "break-analytics"));
    await until(async () => seen(data, "analytics").length > 0, "analytics works again");
    await shop.stop();
    for (const view of BOTH) expectEachOnce(data, view);
  },
  TEST_TIMEOUT_MS,
);

test(
  "a view that is switched off holds the log no longer, and goes on when it is back",
  async () => {
    const data = await temporaryDirectory();
    const held = (): readonly string[] =>
      query<{ consumer: string }>(
        join(data, "journal.db"),
        "SELECT DISTINCT consumer FROM position WHERE consumer LIKE 'view.%' ORDER BY consumer",
      ).map(({ consumer }) => consumer);
    for (const views of [BOTH, ["audit"], [], BOTH] as const) {
      const shop = await openShop(data, views);
      await untilDelivered(shop.url, await placeOrders(shop.url, 5));
      await shop.stop();
      expect(held()).toEqual(views.map((view) => `view.${view}`).toSorted());
      for (const view of views) expect(unreleased(data, view)).toBe(0);
    }
    for (const view of BOTH) expectEachOnce(data, view);
  },
  TEST_TIMEOUT_MS,
);

/** Records that the journal still keeps for a view, after a stop in good order. */
function unreleased(directory: string, view: View): number {
  const far = Number.MAX_SAFE_INTEGER;
  const journal = openJournal({
    directory,
    slots: 64,
    topics: TOPICS,
    environment: systemEnvironment,
    retention: {
      logAgeMs: far,
      logBytesMax: far,
      inboxAgeMs: far,
      idempotencyAgeMs: far,
      fraudAgeMs: far,
      deadLettersMax: far,
    },
  });
  const positions = journal.positions(`view.${view}`);
  journal.close();
  expect(positions).toHaveLength(VIEWS[view].length * 64);
  return positions.reduce((sum, { position, last }) => sum + last - position, 0);
}

async function urlOf(child: Subprocess<"ignore", "pipe", "inherit">): Promise<string> {
  const decoder = new TextDecoder();
  let printed = "";
  for await (const chunk of child.stdout) {
    printed += decoder.decode(chunk, { stream: true });
    const found = /ready (http:\S+)\n/.exec(printed)?.[1];
    if (found !== undefined) return found;
  }
  throw new Error(`no address was printed: ${printed}`);
}
