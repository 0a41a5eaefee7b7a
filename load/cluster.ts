/**
 * `bun load/cluster.ts`: several processes on one Kafka and one PostgreSQL, one thing going wrong
 * at a time, and then a verdict over every order.
 *
 * Starts servers, processes and payment provider itself, each scenario on servers of its own. Ends
 * with 1 on any broken promise, with 2 on a flag it does not know. On failure the processes' logs
 * are kept and named.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describeError, isShopError } from "../runtime/errors.ts";
import { describeFailures, describeLatency, describeVerdict } from "./report-text.ts";
import { parseFlags } from "./flags.ts";
import { runCluster } from "./cluster-run.ts";
import { SCENARIOS } from "./cluster-scenarios.ts";
import type { ClusterReport } from "./cluster-run.ts";
import type { Flags } from "./flags.ts";
import type { Scenario } from "./cluster-scenarios.ts";

const SPECS = {
  scenario: {
    kind: "choice",
    initial: "all",
    of: ["all", ...SCENARIOS],
    help: "what happens",
  },
  processes: { kind: "number", initial: 2, low: 2, high: 16, help: "of the shop, at first" },
  rate: { kind: "number", initial: 80, low: 1, high: 10_000, help: "orders per second, in all" },
  seconds: { kind: "number", initial: 8, low: 1, high: 3_600, help: "before and after the fault" },
  slots: { kind: "number", initial: 16, low: 1, high: 4_096, help: "partitions of each topic" },
  "session-ms": { kind: "number", initial: 6_000, low: 1_000, high: 600_000, help: "of Kafka" },
  "silent-ms": { kind: "number", initial: 6_000, low: 1_000, high: 600_000, help: "of a lease" },
  "rest-s": { kind: "number", initial: 90, low: 1, high: 3_600, help: "wait for the last order" },
  seed: { kind: "number", initial: 1, low: 0, high: 0xffff_ffff, help: "of orders and provider" },
  json: { kind: "text", initial: "", help: "file for the report" },
} as const;

const BEATS_PER_SILENCE = 6;

async function main(flags: Flags<typeof SPECS>): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "shopstream-cluster-"));
  const scenarios = SCENARIOS.filter((name) => flags.scenario === "all" || flags.scenario === name);
  const reports: ClusterReport[] = [];
  let passed = true;
  for (const scenario of scenarios) {
    console.log(`\n${scenario}, ${flags.processes} processes`);
    try {
      const report = await runCluster(optionsOf(flags, scenario, join(directory, scenario)));
      reports.push(report);
      console.log(describe(report));
      passed &&= report.verdict.ok;
    } catch (error) {
      console.error(describeError(error));
      passed = false;
    }
  }
  const { seed, processes, rate } = flags;
  const json = JSON.stringify({ script: "cluster", seed, processes, rate, passed, reports });
  if (flags.json === "") console.log(json);
  else await Bun.write(flags.json, `${json}\n`);
  if (passed) await rm(directory, { recursive: true, force: true });
  else console.log(`logs and ledgers are kept in ${directory}`);
  return passed ? 0 : 1;
}

function optionsOf(flags: Flags<typeof SPECS>, scenario: Scenario, directory: string) {
  const silentMs = flags["silent-ms"];
  return {
    scenario,
    directory,
    processes: flags.processes,
    ratePerSecond: flags.rate,
    phaseMs: flags.seconds * 1_000,
    slots: flags.slots,
    seed: flags.seed,
    runId: Date.now().toString(36),
    times: {
      sessionMs: flags["session-ms"],
      beatMs: Math.floor(silentMs / BEATS_PER_SILENCE),
      silentMs,
    },
    restDeadlineMs: flags["rest-s"] * 1_000,
    command: [process.execPath, "gateway/main.ts"],
    log: (line: string) => console.log(`  ${line}`),
  };
}

function describe({ recovery, accepted, failures, cancels, ...rest }: ClusterReport): string {
  const { beforeP99Ms, movedMs, slow, limitMs, steadyMs, worstMs } = recovery;
  const moved = movedMs === undefined ? "none" : `${Math.round(movedMs)} ms`;
  return [
    `before     p99 ${Math.round(beforeP99Ms)} ms from due to through payment and reservation`,
    `recovered  first order through that needed what was hit: ${moved} after the fault`,
    `steady     ${Math.round(steadyMs)} ms after the fault; ${slow} orders took over ` +
      `${Math.round(limitMs)} ms, the longest ${Math.round(worstMs)} ms`,
    `accepted   ${accepted.count}, ${describeLatency(accepted)}`,
    `tries lost ${describeFailures(failures)}`,
    `cancels    ${JSON.stringify(cancels)}`,
    `asked      again by the judge: ${describeFailures(rest.askedAgain)}`,
    `fenced     ${rest.lateCommits} late commits were refused by the database`,
    withoutPlatform(describeVerdict(rest.verdict)),
  ].join("\n");
}

/** The stores around the orders are not part of these runs. */
function withoutPlatform(text: string): string {
  const lines = text.split("\n");
  return lines.filter((line) => !line.startsWith("around")).join("\n");
}

try {
  process.exitCode = await main(parseFlags(SPECS, process.argv.slice(2)));
} catch (error) {
  if (!isShopError(error, "BAD_CONFIGURATION")) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
