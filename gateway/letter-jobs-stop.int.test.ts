/**
 * A real shop that is stopped while a job on dead letters runs: whoever waits for it is answered,
 * and nothing has to be cut off.
 *
 * The letters come from records that are written into the journal while the shop is down.
 */

import { afterEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { encodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { encodeValue } from "../actors/contracts/codec.ts";
import { openJournal } from "../actors/stores/journal/journal.ts";
import { EMPTY_UNIT } from "../actors/stores/unit-of-work.ts";
import { loadConfig } from "./config/load-config.ts";
import { configureLog } from "./log.ts";
import { logTopicsOf } from "./shop-layout.ts";
import { startShop } from "./shop.ts";

const LETTERS = 20;
const TEST_TIMEOUT_MS = 60_000;
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function configOf(data: string) {
  const env = {
    SHOPSTREAM_DATA: data,
    SHOPSTREAM_PORT: "0",
    SHOPSTREAM_LOG_LEVEL: "error",
    SHOPSTREAM_ROLES: "order",
    SHOPSTREAM_DEMO_STOCK: "false",
  };
  return loadConfig({ argv: [], env, cwd: data, readFile: () => undefined }).config;
}

/** Payments that say nothing: the order service gives each of them up at once. */
function writeNonsense(data: string): void {
  const { slots, retention, damage } = configOf(data);
  const journal = openJournal({
    directory: data,
    slots,
    topics: logTopicsOf({ brokers: [] }),
    onDamage: damage,
    environment: systemEnvironment,
    retention: { ...retention, logAgeMs: retention.ageMs },
  });
  const outgoing = Array.from({ length: LETTERS }, () => {
    const about = { id: systemEnvironment.newId(), timeMs: systemEnvironment.nowMs() };
    const payload = encodeValue({ nonsense: true });
    return {
      topic: "payments",
      frame: encodeFrame({ ...about, type: 6, key: "k", slot: 0, payload }),
    };
  });
  journal.commit([{ unit: { ...EMPTY_UNIT, outgoing }, acks: [] }]);
  journal.close();
}

async function openShop(data: string) {
  const shop = await startShop({
    config: configOf(data),
    environment: systemEnvironment,
    cores: 2,
    log: configureLog("fatal", "text"),
    onGiveUp: () => undefined,
  });
  closers.push(() => shop.stop());
  return shop;
}

async function summary(url: string): Promise<string> {
  return await (await fetch(`${url}/admin/dead-letters/summary`)).text();
}

test(
  "a stop answers whoever waits for a job on dead letters, and cuts nothing off",
  async () => {
    const data = await mkdtemp(join(tmpdir(), "shopstream-jobs-"));
    closers.push(() => rm(data, { recursive: true, force: true }));
    writeNonsense(data);
    const shop = await openShop(data);
    while (!(await summary(shop.url)).includes(`"total":${LETTERS}`)) await Bun.sleep(20);
    const before = await summary(shop.url);
    const answering = fetch(`${shop.url}/admin/dead-letters/redrive`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      // Slower than the time that a stop has.
      body: JSON.stringify({ filter: {}, dryRun: false, ratePerSecond: 1 }),
    });
    // The first of them is back, or buried anew: the job runs.
    while ((await summary(shop.url)) === before) await Bun.sleep(20);
    expect(await shop.stop()).toEqual([]);
    const answer = await answering;
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ job: { state: "stopped" } });
  },
  TEST_TIMEOUT_MS,
);
