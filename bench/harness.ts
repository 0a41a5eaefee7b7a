/**
 * Measures cases side by side and says how much to believe the figures.
 *
 * Every run must prove that its work was done (a count and a checksum), or the whole bench fails.
 * Cases take turns within each round, so that a noisy minute hits all of them. It refuses fewer
 * than five runs: a single figure says nothing. Run `bun bench/<name>.bench.ts [--json]`.
 */

import { cpus, loadavg } from "node:os";

const RUNS_MIN = 5;
const WARM_UP_RUNS = 2;

/** What a run says it has done. */
export interface Evidence {
  readonly count: number;
  readonly checksum: number;
}

export interface BenchCase {
  readonly name: string;
  /** Operations of one run; figures are per operation. */
  readonly operations: number;
  readonly expected: Evidence;
  /** One run, timed from call to resolution. */
  readonly run: () => Evidence | Promise<Evidence>;
}

export interface BenchOptions {
  readonly title: string;
  /** Singular name of one operation: `tell`, `frame`, `order`. */
  readonly unit: string;
  readonly runs?: number;
  /** Printed below the table: peers that are missing, what a case leaves out. */
  readonly notes?: readonly string[];
}

export interface BenchResult {
  readonly name: string;
  readonly medianPerSecond: number;
  readonly minPerSecond: number;
  readonly maxPerSecond: number;
  /** Whole process, user and system, all threads, median of the runs. */
  readonly cpuMicrosPerOperation: number;
}

interface Sample {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

/** Runs all cases, prints a table (and one JSON line with `--json`), and returns the figures. */
export async function runBench(
  cases: readonly BenchCase[],
  options: BenchOptions,
): Promise<readonly BenchResult[]> {
  const runs = Math.max(RUNS_MIN, options.runs ?? 7);
  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]));
  for (let run = 0; run < WARM_UP_RUNS + runs; run++) {
    for (const bench of cases) {
      const sample = await measure(bench);
      if (run >= WARM_UP_RUNS) samples.get(bench.name)?.push(sample);
    }
  }
  const results = cases.map(({ name }) => summarize(name, samples.get(name) ?? []));
  print(results, options, runs);
  return results;
}

async function measure(bench: BenchCase): Promise<Sample> {
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const evidence = await bench.run();
  const elapsedMs = performance.now() - startMs;
  const cpu = process.cpuUsage(cpuBefore);
  const { count, checksum } = bench.expected;
  if (evidence.count !== count || evidence.checksum !== checksum) {
    throw new RangeError(
      `${bench.name} did not do its work: count ${evidence.count} of ${count}, ` +
        `checksum ${evidence.checksum}, expected ${checksum}`,
    );
  }
  return {
    perSecond: bench.operations / (elapsedMs / 1_000),
    cpuMicros: (cpu.user + cpu.system) / bench.operations,
  };
}

function summarize(name: string, samples: readonly Sample[]): BenchResult {
  const rates = samples.map(({ perSecond }) => perSecond);
  return {
    name,
    medianPerSecond: median(rates),
    minPerSecond: Math.min(...rates),
    maxPerSecond: Math.max(...rates),
    cpuMicrosPerOperation: median(samples.map(({ cpuMicros }) => cpuMicros)),
  };
}

function print(results: readonly BenchResult[], options: BenchOptions, runs: number): void {
  const { title, unit, notes = [] } = options;
  const machine = describeMachine();
  const width = Math.max(...results.map(({ name }) => name.length));
  const lines = [
    `${title}: ${runs} runs after ${WARM_UP_RUNS} to warm up, work verified in every run`,
    `${machine.runtime}, ${machine.cpu}, commit ${machine.commit}, load ${machine.load}`,
    "",
    `${"".padEnd(width)}  ${`median ${unit}s/s`.padStart(18)}  ${"min – max".padStart(21)}` +
      `  ${`CPU-µs/${unit}`.padStart(14)}`,
    ...results.map((result) => formatRow(result, width)),
    "",
    ...notes,
  ];
  console.log(lines.join("\n").trimEnd());
  if (process.argv.includes("--json")) {
    console.log(JSON.stringify({ title, unit, runs, ...machine, results }));
  }
}

function formatRow(result: BenchResult, width: number): string {
  const spread = `${formatRate(result.minPerSecond)} – ${formatRate(result.maxPerSecond)}`;
  return (
    `${result.name.padEnd(width)}  ${formatRate(result.medianPerSecond).padStart(18)}` +
    `  ${spread.padStart(21)}  ${result.cpuMicrosPerOperation.toFixed(3).padStart(14)}`
  );
}

/** 1234 → "1.23 k", 98765432 → "98.8 M". */
export function formatRate(perSecond: number): string {
  if (perSecond >= 1e6) return `${(perSecond / 1e6).toPrecision(3)} M`;
  if (perSecond >= 1e3) return `${(perSecond / 1e3).toPrecision(3)} k`;
  return perSecond.toPrecision(3);
}

function describeMachine() {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? "unknown CPU";
  return {
    runtime: `Bun ${Bun.version}`,
    cpu: `${processors.length} × ${model}`,
    commit: commitName(),
    load: loadavg()
      .map((value) => value.toFixed(2))
      .join(" "),
  };
}

/** Short hash, with `+` when the tree differs from it; `unknown` outside a checkout. */
function commitName(): string {
  const git = (...args: string[]) => Bun.spawnSync(["git", ...args], { cwd: import.meta.dir });
  const head = git("rev-parse", "--short", "HEAD");
  if (!head.success) return "unknown";
  const dirty = git("status", "--porcelain").stdout.length > 0;
  return head.stdout.toString().trim() + (dirty ? "+" : "");
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}

/** Says of each peer package whether it takes part; none of them is a dependency of ours. */
export function describePeers(names: readonly string[]): string[] {
  return names.map((name) => {
    try {
      Bun.resolveSync(name, import.meta.dir);
      return `peer ${name}: installed, but this bench has no adapter for it yet`;
    } catch (error) {
      const why = error instanceof Error ? error.name : "error";
      return `peer ${name}: not installed (${why}), so not compared in this run`;
    }
  });
}
