/**
 * What is broken in a chaos run, when, and how long it took to come back.
 *
 * Every moment is drawn from the seed: the same seed breaks things after the same waits, though
 * not at the same instruction. A process is killed with SIGKILL, and now and then once more while
 * it is still recovering. A shard is broken from inside, in the four ways in which a thread can
 * end. Times count from the fault to the first sign of life.
 */

import { ShopError } from "../runtime/errors.ts";
import { createSeededRandom } from "./seeded-random.ts";
import type { ChaosContext } from "./chaos-run.ts";

export const SHARD_FAULTS = ["throw", "reject", "exit", "spin"] as const;
export type ShardFault = (typeof SHARD_FAULTS)[number];

export interface FaultTerms {
  readonly seed: number;
  readonly count: number;
  /** A fault comes this long after the recovery from the one before, at most. */
  readonly pauseMsMax: number;
  readonly log: (line: string) => void;
}

export interface PlannedKill {
  /** From an accepted order to the kill. */
  readonly afterMs: number;
  /** Kills it once more, this long after its start; `undefined`: lets it start. */
  readonly againAfterMs: number | undefined;
}

export interface KillRecord {
  /** From the end of the killed process to the first 200 of `/ready`. */
  readonly readyMs: number;
  /** From there to the 2xx of an order that was sent after it. */
  readonly acceptedMs: number;
  /** Kills of this fault: 2 when it was hit again while it recovered. */
  readonly kills: number;
}

export interface ShardFaultRecord {
  readonly shard: number;
  /** Until the shop counted a restarted shard; `undefined` if its metrics do not say. */
  readonly replacedMs: number | undefined;
  /** Until every order that was due in the first moments after the fault had its answer. */
  readonly answeredMs: number;
}

const PAUSE_MS_MIN = 20;
const AGAIN_SHARE = 0.15;
const AGAIN_MS_MAX = 500;
/** Orders due within this time after a shard broke are waited for. */
const WITNESS_MS = 250;
const REPLACE_DEADLINE_MS = 10_000;
const METRICS_POLL_MS = 20;

/** `terms.count` kills in all, those during recovery included. */
export function planKills(terms: Pick<FaultTerms, "seed" | "count" | "pauseMsMax">): PlannedKill[] {
  const random = createSeededRandom(terms.seed);
  const plan: PlannedKill[] = [];
  for (let kills = 0; kills < terms.count; kills++) {
    const afterMs = random.between(PAUSE_MS_MIN, Math.max(PAUSE_MS_MIN, terms.pauseMsMax));
    const again = kills + 1 < terms.count && random.next() < AGAIN_SHARE;
    if (again) kills++;
    plan.push({ afterMs, againAfterMs: again ? random.between(0, AGAIN_MS_MAX) : undefined });
  }
  return plan;
}

export async function injectKills(context: ChaosContext, terms: FaultTerms): Promise<KillRecord[]> {
  const records: KillRecord[] = [];
  let kills = 0;
  await context.firstAcceptedSince(0);
  for (const { afterMs, againAfterMs } of planKills(terms)) {
    await Bun.sleep(afterMs);
    await context.shop().kill();
    if (againAfterMs !== undefined) await context.startAndKill(againAfterMs);
    // The kernel has torn the process down by now, which takes longer the more memory it had.
    const startMs = performance.now();
    await context.restart();
    const readyMs = Math.round(performance.now() - startMs);
    const acceptedMs = Math.round((await context.firstAcceptedSince(startMs)) - startMs);
    const record = { readyMs, acceptedMs, kills: againAfterMs === undefined ? 1 : 2 };
    records.push(record);
    kills += record.kills;
    const twice = record.kills === 2 ? `, and again ${againAfterMs} ms into its start` : "";
    const after = `after ${afterMs} ms${twice}`;
    terms.log(`kill ${kills}/${terms.count} ${after}: ready ${readyMs}, accepts ${acceptedMs} ms`);
  }
  return records;
}

export async function injectShardFaults(
  context: ChaosContext,
  terms: FaultTerms & { readonly how: ShardFault; readonly shards: number },
): Promise<ShardFaultRecord[]> {
  const random = createSeededRandom(terms.seed);
  const records: ShardFaultRecord[] = [];
  await context.firstAcceptedSince(0);
  for (let n = 1; n <= terms.count; n++) {
    await Bun.sleep(random.between(PAUSE_MS_MIN, Math.max(PAUSE_MS_MIN, terms.pauseMsMax)));
    const shard = random.between(0, terms.shards - 1);
    const before = restartsIn(await context.client.readMetrics());
    const startMs = performance.now();
    await context.client.sabotage(shard, terms.how);
    const replacedMs = await untilReplaced(context, before, startMs);
    await context.untilOutcomesOf(startMs + WITNESS_MS);
    const answeredMs = Math.round(performance.now() - startMs);
    records.push({ shard, replacedMs, answeredMs });
    const replaced = replacedMs === undefined ? "" : ` replaced ${replacedMs},`;
    terms.log(
      `${terms.how} ${n}/${terms.count} of shard ${shard}:${replaced} answers ${answeredMs} ms`,
    );
  }
  return records;
}

/** Sum of the shop's counters of restarted threads; `undefined` when it has none. */
export function restartsIn(metrics: string): number | undefined {
  const samples = [...metrics.matchAll(/^shopstream_thread_restarts_total(?:\{[^}]*\})? (\S+)$/gm)];
  if (samples.length === 0) return undefined;
  return samples.reduce((sum, sample) => sum + Number(sample[1]), 0);
}

async function untilReplaced(
  context: ChaosContext,
  before: number | undefined,
  startMs: number,
): Promise<number | undefined> {
  if (before === undefined) return undefined;
  while (performance.now() - startMs < REPLACE_DEADLINE_MS) {
    const now = restartsIn(await context.client.readMetrics()) ?? 0;
    if (now > before) return Math.round(performance.now() - startMs);
    await Bun.sleep(METRICS_POLL_MS);
  }
  const text = `no shard was replaced within ${REPLACE_DEADLINE_MS} ms`;
  throw new ShopError("CLOSED", text, "never");
}
