/**
 * Which server goes away when, in which way, and how long the shop needs once it is back.
 *
 * Every choice is drawn from the seed: the same seed takes the same things away in the same order.
 * A server is killed with SIGKILL and started again on its data, or stopped with SIGSTOP, so that
 * its connections stay open and nobody answers. The next outage comes once health is up again.
 */

import type { TestServer } from "../deploy/services/test-server.ts";
import type { ChaosContext } from "./chaos-run.ts";
import type { ShardFault } from "./faults.ts";

import { assert, describeError, ShopError } from "../runtime/errors.ts";
import { SHARD_FAULTS } from "./faults.ts";
import { createSeededRandom } from "./seeded-random.ts";

export const OUTAGE_SERVERS = [
  "kafka",
  "redis",
  "rabbitmq",
  "postgres",
  "mongodb",
  "elasticsearch",
] as const;
/** `shop`: the process itself, which is started again at once. */
export const VICTIMS = [...OUTAGE_SERVERS, "shop"] as const;
export type Victim = (typeof VICTIMS)[number];

export interface ServerOf {
  readonly name: (typeof OUTAGE_SERVERS)[number];
  readonly server: TestServer;
}

export interface OutageTerms {
  readonly seed: number;
  readonly count: number;
  readonly victims: readonly Victim[];
  readonly pauseMsMax: number;
  readonly awayMsMax: number;
}

export interface PlannedOutage {
  readonly victim: Victim;
  readonly how: "kill" | "silence";
  /** From health to the fault. */
  readonly afterMs: number;
  readonly awayMs: number;
  /** What one shard is broken with meanwhile. */
  readonly shardFault: ShardFault | undefined;
  /** Which one, as a share of all. */
  readonly shardShare: number;
}

export interface OutageRecord extends Pick<PlannedOutage, "victim" | "how" | "awayMs"> {
  readonly shardFault: ShardFault | undefined;
  /** From its return until health is up. */
  readonly healthyMs: number;
}

const PAUSE_MS_MIN = 20;
const SILENCE_SHARE = 0.35;
const SHARD_FAULT_SHARE = 0.3;
const HEALTHY_DEADLINE_MS = 120_000;
const HEALTH_POLL_MS = 100;

export function planOutages(terms: OutageTerms): PlannedOutage[] {
  const random = createSeededRandom(terms.seed);
  const pick = <Item>(items: readonly Item[]): Item => {
    const item = items[random.between(0, items.length - 1)];
    assert(item !== undefined, "there is something to pick from");
    return item;
  };
  return Array.from({ length: terms.count }, () => {
    const victim = pick(terms.victims);
    const isSilent = random.next() < SILENCE_SHARE;
    const breaksShard = random.next() < SHARD_FAULT_SHARE;
    const shardFault = pick(SHARD_FAULTS);
    return {
      victim,
      how: isSilent && victim !== "shop" ? "silence" : "kill",
      afterMs: random.between(PAUSE_MS_MIN, Math.max(PAUSE_MS_MIN, terms.pauseMsMax)),
      awayMs: victim === "shop" ? 0 : random.between(0, terms.awayMsMax),
      shardFault: breaksShard && victim !== "shop" ? shardFault : undefined,
      shardShare: random.next(),
    };
  });
}

export interface InjectOptions {
  readonly servers: readonly ServerOf[];
  readonly plan: readonly PlannedOutage[];
  readonly shards: number;
  readonly log: (line: string) => void;
}

/** Rejects when health does not come back, or no order is accepted after an outage. */
export async function injectOutages(
  context: ChaosContext,
  { servers, plan, shards, log }: InjectOptions,
): Promise<readonly OutageRecord[]> {
  const records: OutageRecord[] = [];
  await context.firstAcceptedSince(0);
  await untilHealthy(context, "the start");
  for (const [at, outage] of plan.entries()) {
    const { victim, how, awayMs, shardFault } = outage;
    await Bun.sleep(outage.afterMs);
    const comeBack = await takeAway(context, servers, outage);
    if (shardFault !== undefined) {
      await context.client.sabotage(Math.floor(outage.shardShare * shards), shardFault);
    }
    await Bun.sleep(awayMs);
    await comeBack();
    const startMs = performance.now();
    const what = `${how} of ${victim}${shardFault === undefined ? "" : ` and ${shardFault}`}`;
    await untilHealthy(context, what);
    const healthyMs = Math.round(performance.now() - startMs);
    await context.firstAcceptedSince(startMs);
    records.push({ victim, how, awayMs, shardFault, healthyMs });
    log(`${at + 1}/${plan.length} ${what}: away ${awayMs}, healthy after ${healthyMs} ms`);
  }
  return records;
}

/** Returns how to bring it back. */
async function takeAway(
  context: ChaosContext,
  servers: readonly ServerOf[],
  { victim, how }: PlannedOutage,
): Promise<() => Promise<void>> {
  if (victim === "shop") {
    await context.shop().kill();
    return async () => void (await context.restart());
  }
  const server = servers.find(({ name }) => name === victim)?.server;
  assert(server !== undefined, "every server of the plan was started");
  if (how === "silence") {
    server.pause();
    return async () => server.resume();
  }
  await server.kill();
  return () => server.start();
}

async function untilHealthy(context: ChaosContext, after: string): Promise<void> {
  const dueMs = performance.now() + HEALTHY_DEADLINE_MS;
  for (;;) {
    const ill = await context.client.readIllParts().catch((error: unknown) => {
      return [`no health: ${describeError(error)}`];
    });
    if (ill.length === 0) return;
    if (performance.now() >= dueMs) {
      const problem = `${HEALTHY_DEADLINE_MS} ms after ${after}: ${ill.join("; ")}`;
      throw new ShopError("CLOSED", problem, "never");
    }
    await Bun.sleep(HEALTH_POLL_MS);
  }
}
