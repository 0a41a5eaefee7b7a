/**
 * Samples what the server costs while a run goes on: resident memory and CPU time.
 *
 * Read from /proc, which costs the server nothing; a shop on another machine is asked for
 * `process_resident_memory_bytes` of its metrics instead, and its CPU time stays unknown.
 */

import { readFileSync } from "node:fs";

export interface ResourceSample {
  readonly atMs: number;
  readonly rssBytes: number;
}

export interface ResourceReport {
  readonly samples: readonly ResourceSample[];
  readonly rssPeakBytes: number;
  readonly rssLastBytes: number;
  /** User and system time since the watch began; `undefined` when it cannot be known. */
  readonly cpuMs: number | undefined;
}

export interface ResourceWatch {
  stop(): Promise<ResourceReport>;
}

const SAMPLE_MS = 500;
const SAMPLES_MAX = 100_000;
/** `_SC_CLK_TCK`: 100 on every Linux that matters. */
const TICK_MS = 10;
const PAGE_BYTES = 4_096;

/** `pid`: a local process; otherwise `readMetrics` is asked. Failing samples are left out. */
export function watchResources(source: {
  readonly pid?: number;
  readonly readMetrics?: () => Promise<string>;
}): ResourceWatch {
  const samples: ResourceSample[] = [];
  const startMs = performance.now();
  const cpuBeforeMs = source.pid === undefined ? undefined : cpuMsOf(source.pid);

  async function sample(): Promise<void> {
    const rssBytes = await readRss(source);
    if (rssBytes !== undefined && samples.length < SAMPLES_MAX) {
      samples.push({ atMs: Math.round(performance.now() - startMs), rssBytes });
    }
  }

  // `readRss` answers `undefined` instead of rejecting.
  const timer = setInterval(() => void sample(), SAMPLE_MS);
  timer.unref();
  return {
    async stop() {
      clearInterval(timer);
      await sample();
      const cpuAfterMs = source.pid === undefined ? undefined : cpuMsOf(source.pid);
      const known = cpuBeforeMs !== undefined && cpuAfterMs !== undefined;
      return {
        samples,
        rssPeakBytes: Math.max(0, ...samples.map((at) => at.rssBytes)),
        rssLastBytes: samples.at(-1)?.rssBytes ?? 0,
        cpuMs: known ? cpuAfterMs - cpuBeforeMs : undefined,
      };
    },
  };
}

async function readRss(source: Parameters<typeof watchResources>[0]): Promise<number | undefined> {
  if (source.pid !== undefined) return rssBytesOf(source.pid);
  try {
    const metrics = (await source.readMetrics?.()) ?? "";
    const value = /^process_resident_memory_bytes(?:\{[^}]*\})? (\S+)/m.exec(metrics)?.[1];
    return value === undefined ? undefined : Number(value);
  } catch {
    // A shop that is down has no memory to report; the run itself finds out that it is down.
    return undefined;
  }
}

function rssBytesOf(pid: number): number | undefined {
  const pages = readProc(pid, "statm")?.split(" ")[1];
  return pages === undefined ? undefined : Number(pages) * PAGE_BYTES;
}

function cpuMsOf(pid: number): number | undefined {
  // Fields 14 and 15 of proc(5)'s stat; the name in parentheses may hold blanks.
  const rest = readProc(pid, "stat")?.split(") ").at(-1)?.split(" ");
  const user = Number(rest?.[11]);
  const system = Number(rest?.[12]);
  return Number.isFinite(user + system) ? (user + system) * TICK_MS : undefined;
}

function readProc(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    // No such process any more, or no /proc on this system.
    return undefined;
  }
}
