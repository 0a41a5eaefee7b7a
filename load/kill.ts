/**
 * `bun load/kill.ts`: breaks the shop under load, again and again, and then verifies every order.
 *
 * `--mode process` (default) kills the whole process with SIGKILL at random moments and starts it
 * again on the same data; `--mode shard-throw|shard-reject|shard-exit|shard-spin` breaks one
 * worker thread instead, through a door that only a shop started for sabotage has. Ends with 1 on
 * any violation or if the shop does not stop in order at the end; with 2 on a flag it does not
 * know. On failure the data and logs are kept and named.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describeError, isShopError } from "../runtime/errors.ts";
import { describeFailures, describeLatency, describeVerdict } from "./report-text.ts";
import { injectKills, injectShardFaults, SHARD_FAULTS } from "./faults.ts";
import { parseFlags } from "./flags.ts";
import { runChaos } from "./chaos-run.ts";
import { summarize } from "./latency-summary.ts";
import type { ChaosContext, ChaosReport } from "./chaos-run.ts";
import type { Flags } from "./flags.ts";
import type { KillRecord, ShardFaultRecord } from "./faults.ts";

const SPECS = {
  mode: {
    kind: "choice",
    initial: "process",
    of: ["process", "shard-throw", "shard-reject", "shard-exit", "shard-spin"],
    help: "what is broken",
  },
  kills: { kind: "number", initial: 50, low: 1, high: 10_000, help: "how often" },
  rate: { kind: "number", initial: 300, low: 1, high: 100_000, help: "orders per second" },
  "pause-ms": { kind: "number", initial: 1_500, low: 20, high: 600_000, help: "between, at most" },
  shards: { kind: "number", initial: 2, low: 1, high: 64, help: "worker threads of the shop" },
  "decline-rate": { kind: "number", initial: 0.02, low: 0, high: 1, help: "of the provider" },
  "failure-rate": { kind: "number", initial: 0.02, low: 0, high: 1, help: "of the provider" },
  "hang-rate": { kind: "number", initial: 0.002, low: 0, high: 1, help: "of the provider" },
  "delivery-ms": { kind: "number", initial: 1_000, low: 0, high: 600_000, help: "of the carrier" },
  "rest-s": { kind: "number", initial: 60, low: 1, high: 3_600, help: "wait for the last order" },
  seed: { kind: "number", initial: 1, low: 0, high: 0xffff_ffff, help: "of moments and orders" },
  shop: { kind: "text", initial: "gateway/main.ts", help: "program and arguments that Bun runs" },
  json: { kind: "text", initial: "", help: "file for the report" },
} as const;

type Report = ChaosReport<readonly (KillRecord | ShardFaultRecord)[]>;

/** What one recovery is taken to last when guessing how many orders a run will send. */
const RECOVERY_GUESS_MS = 1_000;
const READY_DEADLINE_MS = 30_000;

async function main(flags: Flags<typeof SPECS>): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "shopstream-kill-"));
  const runMs = flags.kills * (flags["pause-ms"] / 2 + RECOVERY_GUESS_MS);
  try {
    const report = await runChaos(
      {
        shopCommand: [process.execPath, ...flags.shop.split(" ")],
        shopEnvironment: {
          SHOPSTREAM_SHARDS: String(flags.shards),
          SHOPSTREAM_SHIPPING_DELIVERY_MS: String(flags["delivery-ms"]),
          ...(flags.mode === "process" ? {} : { SHOPSTREAM_SABOTAGE: "on" }),
        },
        directory,
        seed: flags.seed,
        runId: Date.now().toString(36),
        ratePerSecond: flags.rate,
        declineRate: flags["decline-rate"],
        failureRate: flags["failure-rate"],
        hangRate: flags["hang-rate"],
        readyDeadlineMs: READY_DEADLINE_MS,
        restDeadlineMs: flags["rest-s"] * 1_000,
      },
      Math.ceil((flags.rate * runMs) / 1_000),
      (context) => inject(context, flags),
    );
    console.log(describe(report));
    const passed = report.verdict.ok && report.exitCode === 0;
    const { mode, seed } = flags;
    const json = JSON.stringify({ script: "kill", mode, seed, passed, ...report });
    if (flags.json === "") console.log(json);
    else await Bun.write(flags.json, `${json}\n`);
    if (passed) await rm(directory, { recursive: true, force: true });
    else console.log(`data, logs and ledger are kept in ${directory}`);
    return passed ? 0 : 1;
  } catch (error) {
    console.error(`${describeError(error)}\ndata, logs and ledger are kept in ${directory}`);
    return 1;
  }
}

function inject(
  context: ChaosContext,
  flags: Flags<typeof SPECS>,
): Promise<(KillRecord | ShardFaultRecord)[]> {
  const { seed, kills: count, shards } = flags;
  const log = (line: string): void => console.log(line);
  const terms = { seed, count, pauseMsMax: flags["pause-ms"], log };
  const how = SHARD_FAULTS.find((fault) => flags.mode === `shard-${fault}`);
  if (how === undefined) return injectKills(context, terms);
  return injectShardFaults(context, { ...terms, how, shards });
}

function describe({ faults, figures, books, askedAgain, exitCode, verdict }: Report): string {
  const times = (field: "readyMs" | "acceptedMs" | "replacedMs" | "answeredMs"): string => {
    const values = faults.flatMap((fault) => {
      // The two kinds of record have different fields; an absent one has no line.
      const value = (fault as Partial<Record<typeof field, number>>)[field];
      return value === undefined ? [] : [value];
    });
    return values.length === 0 ? "" : `${field.padEnd(11)}${describeLatency(summarize(values))}`;
  };
  return [
    times("readyMs"),
    times("acceptedMs"),
    times("replacedMs"),
    times("answeredMs"),
    `accepted   ${figures.accepted.perSecond}/s, ${describeLatency(figures.accepted.latency)}`,
    `provider   ${books.captureAttempts} captures and ${books.refundAttempts} refunds asked for, ` +
      `${books.repeats} repeated, ${books.declined} declined, ${books.voided} voided`,
    `asked      again by the judge: ${describeFailures(askedAgain)}`,
    `stop       exit code ${String(exitCode)}`,
    describeVerdict(verdict),
  ]
    .filter((line) => line !== "")
    .join("\n");
}

try {
  process.exitCode = await main(parseFlags(SPECS, process.argv.slice(2)));
} catch (error) {
  if (!isShopError(error, "BAD_CONFIGURATION")) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
