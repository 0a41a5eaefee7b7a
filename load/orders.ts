/**
 * `bun load/orders.ts`: posts orders, lets them finish, and verifies every single one.
 *
 * Without `--url` it starts the shop itself on an empty temporary directory, or with `--config` on
 * the servers that the file and the environment name. 100 rounds of 100 orders at once by default
 * (closed model); `--rate` sends at a fixed rate for `--seconds` instead (open model). Ends with 1
 * on any violation, or when more than `--errors-max` of the tries failed; with 2 on a flag it does
 * not know.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describeError, isShopError, ShopError } from "../runtime/errors.ts";
import { describeRun } from "./report-text.ts";
import { parseFlags } from "./flags.ts";
import { dataOf, startOwnShop } from "./own-shop.ts";
import { runOrders } from "./order-run.ts";
import type { OrderRunReport } from "./order-run.ts";
import type { Flags } from "./flags.ts";
import type { OwnShop } from "./own-shop.ts";

const SPECS = {
  url: { kind: "text", initial: "", help: "a running shop; without it one is started" },
  rounds: { kind: "number", initial: 100, low: 1, high: 100_000, help: "closed: rounds" },
  batch: { kind: "number", initial: 100, low: 1, high: 5_000, help: "closed: orders at once" },
  rate: { kind: "number", initial: 0, low: 0, high: 100_000, help: "open: orders per second" },
  seconds: { kind: "number", initial: 10, low: 1, high: 86_400, help: "open: how long" },
  connections: { kind: "number", initial: 100, low: 1, high: 5_000, help: "sockets at most" },
  config: {
    kind: "text",
    initial: "",
    help: "configuration file of the shop that is started; SHOPSTREAM_… count with it",
  },
  shards: { kind: "text", initial: "auto", help: "of the shop that is started" },
  "twin-every": {
    kind: "number",
    initial: 100,
    low: 0,
    high: 1e9,
    help: "every n-th order is sent twice at once under one key; 0: none",
  },
  "rest-s": { kind: "number", initial: 60, low: 1, high: 3_600, help: "wait for the last order" },
  "errors-max": { kind: "number", initial: 0.01, low: 0, high: 1, help: "share of failed tries" },
  seed: { kind: "number", initial: 1, low: 0, high: 0xffff_ffff, help: "of the orders" },
  json: { kind: "text", initial: "", help: "file for the report" },
} as const;

async function main(flags: Flags<typeof SPECS>): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "shopstream-orders-"));
  let shop: OwnShop | undefined;
  try {
    if (flags.url === "") shop = await startOwnShop({ ...flags, directory });
    const url = new URL(shop?.url ?? flags.url);
    const report = await runOrders({
      host: url.hostname,
      port: Number(url.port || "80"),
      ...(shop === undefined ? {} : { pid: shop.pid, dataDirectory: dataOf(directory) }),
      arrivals:
        flags.rate > 0
          ? { model: "open", ratePerSecond: flags.rate, seconds: flags.seconds }
          : { model: "closed", rounds: flags.rounds, batch: flags.batch },
      seed: flags.seed,
      runId: Date.now().toString(36),
      connectionsMax: flags.connections,
      twinEvery: flags["twin-every"],
      restDeadlineMs: flags["rest-s"] * 1_000,
    });
    console.log(describeRun(report));
    const exitCode = shop === undefined ? 0 : await shop.stopInOrder();
    if (exitCode !== 0) console.log(`the shop did not stop in order: ${String(exitCode)}`);
    const passed = exitCode === 0 && isPassed(report, flags["errors-max"]);
    const json = JSON.stringify({ script: "orders", passed, exitCode, ...report });
    if (flags.json === "") console.log(json);
    else await Bun.write(flags.json, `${json}\n`);
    return passed ? 0 : 1;
  } catch (error) {
    console.error(describeError(error));
    if (shop !== undefined) console.error(await shop.logTail());
    return 1;
  } finally {
    await shop?.kill();
    await rm(directory, { recursive: true, force: true });
  }
}

function isPassed(report: OrderRunReport, errorsMax: number): boolean {
  return report.verdict.ok && report.figures.errorShare <= errorsMax;
}

function readFlags(): Flags<typeof SPECS> {
  const flags = parseFlags(SPECS, process.argv.slice(2));
  if (flags.url === "" || flags.config === "") return flags;
  const problem = "--config is of a shop that is started, and --url names one that runs";
  throw new ShopError("BAD_CONFIGURATION", problem, "never");
}

try {
  process.exitCode = await main(readFlags());
} catch (error) {
  if (!isShopError(error, "BAD_CONFIGURATION")) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
