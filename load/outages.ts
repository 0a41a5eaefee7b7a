/**
 * `bun load/outages.ts`: the shop on real servers, of which one after the other goes away and comes
 * back under load, and then a verdict over every order.
 *
 * Starts servers, shop and payment provider itself. A server is killed, or it falls silent; the
 * shop's own process is killed as well, and now and then a shard is broken while something is away.
 * What comes when is drawn from the seed. Ends with 1 on any broken promise, on health that does
 * not come back, and if the shop does not stop in order; with 2 on a flag it does not know. On
 * failure logs and ledger are kept and named.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startTestServer } from "../deploy/services/test-server.ts";
import { describeError, isShopError, ShopError } from "../runtime/errors.ts";
import { describeFailures, describeLatency, describeVerdict } from "./report-text.ts";
import { injectOutages, OUTAGE_SERVERS, planOutages, VICTIMS } from "./outage-faults.ts";
import { parseFlags } from "./flags.ts";
import { runChaos } from "./chaos-run.ts";
import { summarize } from "./latency-summary.ts";
import type { ChaosReport } from "./chaos-run.ts";
import type { Flags } from "./flags.ts";
import type { OutageRecord, ServerOf, Victim } from "./outage-faults.ts";

const SPECS = {
  outages: { kind: "number", initial: 30, low: 1, high: 10_000, help: "how many, one at a time" },
  of: { kind: "text", initial: "all", help: "victims with commas: all, or of those it names" },
  rate: { kind: "number", initial: 15, low: 1, high: 10_000, help: "orders per second" },
  "pause-ms": { kind: "number", initial: 2_000, low: 20, high: 600_000, help: "before, at most" },
  "away-ms": { kind: "number", initial: 6_000, low: 0, high: 20_000, help: "away, at most" },
  shards: { kind: "number", initial: 2, low: 1, high: 64, help: "worker threads of the shop" },
  "rest-s": { kind: "number", initial: 120, low: 1, high: 3_600, help: "wait for the last order" },
  seed: { kind: "number", initial: 1, low: 0, high: 0xffff_ffff, help: "of moments and orders" },
  json: { kind: "text", initial: "", help: "file for the report" },
} as const;

/** What one recovery is taken to last when guessing how many orders a run will send. */
const RECOVERY_GUESS_MS = 10_000;
const DELIVERY_MS = 500;
/** Topics and queues of fresh servers are made within this time as well. */
const READY_DEADLINE_MS = 120_000;
const PROVIDER = { declineRate: 0.02, failureRate: 0.02, hangRate: 0.002 };

async function main(flags: Flags<typeof SPECS>): Promise<number> {
  const victims = victimsOf(flags.of);
  const directory = await mkdtemp(join(tmpdir(), "shopstream-outages-"));
  const started: ServerOf[] = [];
  try {
    const starting = OUTAGE_SERVERS.map(async (name) => {
      started.push({ name, server: await startTestServer(name) });
    });
    const failure = (await Promise.allSettled(starting)).find(
      ({ status }) => status !== "fulfilled",
    );
    if (failure?.status === "rejected") throw failure.reason;
    const report = await run(flags, victims, directory, started);
    console.log(describe(report));
    const passed = report.verdict.ok && report.exitCode === 0;
    const json = JSON.stringify({ script: "outages", seed: flags.seed, passed, ...report });
    if (flags.json === "") console.log(json);
    else await Bun.write(flags.json, `${json}\n`);
    if (passed) await rm(directory, { recursive: true, force: true });
    else console.log(`logs and ledger are kept in ${directory}`);
    return passed ? 0 : 1;
  } catch (error) {
    console.error(`${describeError(error)}\nlogs and ledger are kept in ${directory}`);
    return 1;
  } finally {
    await Promise.all(started.map(({ server }) => server.dispose()));
  }
}

/** Throws `BAD_CONFIGURATION`. */
function victimsOf(text: string): readonly Victim[] {
  if (text === "all") return VICTIMS;
  const names = text.split(",").map((name) => name.trim());
  const victims = VICTIMS.filter((victim) => names.includes(victim));
  if (victims.length === new Set(names).size) return victims;
  const allowed = `all, or some of ${VICTIMS.join(", ")}`;
  throw new ShopError("BAD_CONFIGURATION", `--of: ${text}: allowed: ${allowed}`, "never");
}

function run(
  flags: Flags<typeof SPECS>,
  victims: readonly Victim[],
  directory: string,
  servers: readonly ServerOf[],
): Promise<ChaosReport<readonly OutageRecord[]>> {
  const { seed, rate, shards, outages: count } = flags;
  const plan = planOutages({
    seed,
    count,
    victims,
    pauseMsMax: flags["pause-ms"],
    awayMsMax: flags["away-ms"],
  });
  const runMs = plan.reduce((sum, { afterMs, awayMs }) => sum + afterMs + awayMs, 0);
  return runChaos(
    {
      shopCommand: [process.execPath, "gateway/main.ts", "--config", "deploy/real-systems.toml"],
      shopEnvironment: {
        ...Object.assign({}, ...servers.map(({ server }) => server.variables)),
        SHOPSTREAM_SHARDS: String(shards),
        SHOPSTREAM_DEMO_STOCK: "false",
        SHOPSTREAM_SABOTAGE: "on",
        SHOPSTREAM_SHIPPING_DELIVERY_MS: String(DELIVERY_MS),
      },
      directory,
      seed,
      runId: Date.now().toString(36),
      ratePerSecond: rate,
      ...PROVIDER,
      readyDeadlineMs: READY_DEADLINE_MS,
      restDeadlineMs: flags["rest-s"] * 1_000,
    },
    Math.ceil((rate * (runMs + count * RECOVERY_GUESS_MS)) / 1_000),
    (context) =>
      injectOutages(context, { servers, plan, shards, log: (line) => console.log(line) }),
  );
}

function describe({
  faults,
  figures,
  askedAgain,
  exitCode,
  verdict,
}: ChaosReport<readonly OutageRecord[]>): string {
  const healthy = VICTIMS.flatMap((victim) => {
    const times = faults.filter((fault) => fault.victim === victim).map((fault) => fault.healthyMs);
    return times.length === 0 ? [] : [`${victim.padEnd(14)}${describeLatency(summarize(times))}`];
  });
  return [
    "from its return until all is healthy:",
    ...healthy,
    `accepted      ${figures.accepted.perSecond}/s, ${describeLatency(figures.accepted.latency)}`,
    `asked         again by the judge: ${describeFailures(askedAgain)}`,
    `stop          exit code ${String(exitCode)}`,
    describeVerdict(verdict),
  ].join("\n");
}

try {
  process.exitCode = await main(parseFlags(SPECS, process.argv.slice(2)));
} catch (error) {
  if (!isShopError(error, "BAD_CONFIGURATION")) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
