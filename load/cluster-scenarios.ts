/**
 * What happens to a cluster under load, one thing at a time.
 *
 * Each scenario waits while everything is well, does its one thing, puts the cluster back together,
 * and waits again. It tells when it happened and which slots had to move; whether anything was lost
 * is for others to find out.
 */

import { assert, ShopError } from "../runtime/errors.ts";
import type { ClusterDatabase } from "./cluster-database.ts";
import type { ClusterServers, ClusterTimes } from "./cluster-servers.ts";
import type { Fleet } from "./cluster-fleet.ts";

export const SCENARIOS = [
  "join",
  "leave",
  "kill",
  "pause",
  "broker-restart",
  "broker-kill",
] as const;
export type Scenario = (typeof SCENARIOS)[number];

export interface ScenarioContext {
  readonly fleet: Fleet;
  readonly servers: ClusterServers;
  readonly database: ClusterDatabase;
  readonly times: ClusterTimes;
  readonly slots: number;
  /** Before the fault, and after it. */
  readonly phaseMs: number;
  readonly log: (line: string) => void;
}

export interface FaultRecord {
  /** In milliseconds since the epoch. */
  readonly faultMs: number;
  /** Of orders, if any had to move from one process to another. */
  readonly movedSlots?: ReadonlySet<number>;
  /** Orders that were due before it may have been served by whoever had the slots before. */
  readonly movedFromMs?: number;
  /** Times of its own, in words: milliseconds since the fault. */
  readonly marks: Readonly<Record<string, number>>;
  /** Orders that were due after it may have met what followed, and are in no figure. */
  readonly untilMs?: number;
  /** Who was paused for longer than it may be. */
  readonly zombie?: Zombie;
  /** Who was stopped in order. */
  readonly leaver?: Leaver;
}

export interface Leaver {
  readonly name: string;
  /** Its incarnations of shards, until it was told to stop. */
  readonly incarnations: readonly string[];
}

export interface Zombie {
  readonly name: string;
  readonly pauses: number;
  /** Its incarnations of shards that slept. */
  readonly incarnations: readonly string[];
}

/** Slots of orders are looked at: each of the other groups has the same on its own. */
const GROUP = "order";
const POLL_MS = 50;
const OWNERS_DEADLINE_MS = 90_000;
/** Beyond the longer of session and silence. */
const PAUSE_MARGIN_MS = 3_000;
const PAUSES_MAX = 5;
const STOPS_MAX = 30;
const STOPPED_MS = 100;
const BROKER_DOWN_MS = 2_000;

export function runScenario(name: Scenario, context: ScenarioContext): Promise<FaultRecord> {
  return SCENARIO_STEPS[name](context);
}

const SCENARIO_STEPS: Readonly<
  Record<Scenario, (context: ScenarioContext) => Promise<FaultRecord>>
> = { join, leave, kill, pause, "broker-restart": brokerRestart, "broker-kill": brokerKill };

/** Resolves when every slot has an owner that runs, and each process that runs has some. */
export async function untilSpread(context: ScenarioContext): Promise<void> {
  const { fleet, database, slots } = context;
  await until("slots that are spread over all processes", async () => {
    const owners = await database.owners(GROUP);
    const names = new Set(owners.values());
    const living = fleet.living();
    return (
      owners.size === slots &&
      living.every((name) => names.has(name)) &&
      names.size === living.length
    );
  });
}

async function join(context: ScenarioContext): Promise<FaultRecord> {
  const { fleet, database, phaseMs } = context;
  await Bun.sleep(phaseMs);
  const faultMs = Date.now();
  const name = `p${fleet.members.length + 1}`;
  await fleet.start(name);
  const readyMs = Date.now() - faultMs;
  await untilSpread(context);
  const spreadMs = Date.now() - faultMs;
  const movedSlots = slotsOf(await database.owners(GROUP), name);
  context.log(`${name} joined: ready ${readyMs} ms, owns ${movedSlots.size} slots ${spreadMs} ms`);
  await Bun.sleep(phaseMs);
  const marks = { ready: readyMs, spread: spreadMs };
  return { faultMs, movedSlots, movedFromMs: faultMs + spreadMs, marks };
}

async function leave(context: ScenarioContext): Promise<FaultRecord> {
  const { fleet, database, phaseMs } = context;
  const name = lastOf(fleet);
  await Bun.sleep(phaseMs);
  const movedSlots = await slotsNow(context, name);
  const incarnations = await database.incarnations(name);
  const faultMs = Date.now();
  const exitCode = await fleet.stop(name);
  const goneMs = Date.now() - faultMs;
  if (exitCode !== 0) {
    const problem = `${name} was told to stop and ended with ${String(exitCode)}`;
    throw new ShopError("CLOSED", problem, "never");
  }
  await untilSpread(context);
  const spreadMs = Date.now() - faultMs;
  context.log(`${name} left: gone ${goneMs} ms, its ${movedSlots.size} slots owned ${spreadMs} ms`);
  await Bun.sleep(phaseMs);
  const leaver = { name, incarnations };
  return { faultMs, movedSlots, leaver, marks: { gone: goneMs, spread: spreadMs } };
}

async function kill(context: ScenarioContext): Promise<FaultRecord> {
  const { fleet, phaseMs } = context;
  const name = lastOf(fleet);
  await Bun.sleep(phaseMs);
  const movedSlots = await slotsNow(context, name);
  const faultMs = Date.now();
  await fleet.kill(name);
  await untilSpread(context);
  const spreadMs = Date.now() - faultMs;
  context.log(`${name} was killed: its ${movedSlots.size} slots owned ${spreadMs} ms`);
  await Bun.sleep(phaseMs);
  const againMs = Date.now();
  await fleet.start(name);
  await untilSpread(context);
  const backMs = Date.now() - againMs;
  context.log(`${name} started again: owns slots ${backMs} ms after`);
  return { faultMs, movedSlots, marks: { spread: spreadMs, back: backMs } };
}

/**
 * Whoever wakes may hear that it is fenced by its next beat, before it has sent what it wrote
 * meanwhile. So it is stopped again, until a commit of its comes too late.
 */
async function pause(context: ScenarioContext): Promise<FaultRecord> {
  const { fleet, servers, phaseMs } = context;
  const name = lastOf(fleet);
  await Bun.sleep(phaseMs);
  const { incarnations, ...fault } = await pauseOnce(context, name);
  await Bun.sleep(phaseMs);
  const untilMs = Date.now();
  const slept = [...incarnations];
  for (let pauses = 1; ; pauses++) {
    const refused = await servers.readRefused();
    if (pauses === PAUSES_MAX || refused.some((id) => slept.includes(id))) {
      return { ...fault, untilMs, zombie: { name, pauses, incarnations: slept } };
    }
    context.log(`no commit of ${name} came too late; once more`);
    slept.push(...(await pauseOnce(context, name)).incarnations);
    await Bun.sleep(phaseMs);
  }
}

async function pauseOnce(
  context: ScenarioContext,
  name: string,
): Promise<FaultRecord & { readonly incarnations: readonly string[] }> {
  const { fleet, database, times } = context;
  const movedSlots = await slotsNow(context, name);
  const incarnations = await database.incarnations(name);
  const faultMs = await stopBetweenCommits(context, name);
  await untilSpread(context);
  const spreadMs = Date.now() - faultMs;
  const pauseMs = Math.max(times.sessionMs, times.silentMs) + PAUSE_MARGIN_MS;
  await Bun.sleep(Math.max(0, pauseMs - spreadMs));
  const awakeMs = Date.now();
  fleet.resume(name);
  await untilSpread(context);
  const backMs = Date.now() - awakeMs;
  context.log(
    `${name} slept ${awakeMs - faultMs} ms: its ${movedSlots.size} slots owned ${spreadMs} ms, ` +
      `owns slots again ${backMs} ms after it woke`,
  );
  return { faultMs, movedSlots, incarnations, marks: { spread: spreadMs, back: backMs } };
}

/**
 * In the middle of a transaction the database would end its connection, and it could not write
 * anything when it wakes. When it was stopped, in milliseconds since the epoch.
 */
async function stopBetweenCommits(
  { fleet, database }: ScenarioContext,
  name: string,
): Promise<number> {
  for (let tries = 1; ; tries++) {
    const stoppedMs = Date.now();
    fleet.pause(name);
    await Bun.sleep(STOPPED_MS);
    const isBetween = (await database.openTransactions(STOPPED_MS / 2)) === 0;
    if (isBetween || tries === STOPS_MAX) return stoppedMs;
    fleet.resume(name);
    await Bun.sleep(POLL_MS);
  }
}

async function brokerRestart(context: ScenarioContext): Promise<FaultRecord> {
  const { servers, phaseMs } = context;
  await Bun.sleep(phaseMs);
  const faultMs = Date.now();
  await servers.kafka.stop();
  await Bun.sleep(BROKER_DOWN_MS);
  await servers.kafka.start();
  const readyMs = Date.now() - faultMs;
  context.log(`the broker is back ${readyMs} ms after it was told to stop`);
  await Bun.sleep(phaseMs);
  await untilSpread(context);
  return { faultMs, marks: { ready: readyMs } };
}

async function brokerKill(context: ScenarioContext): Promise<FaultRecord> {
  const { servers, phaseMs } = context;
  await Bun.sleep(phaseMs);
  const faultMs = Date.now();
  await servers.kafka.killBroker(0);
  context.log("one of three brokers was killed");
  await Bun.sleep(phaseMs);
  const againMs = Date.now();
  await servers.kafka.startBroker(0);
  const backMs = Date.now() - againMs;
  context.log(`it is back ${backMs} ms after it was started`);
  await Bun.sleep(phaseMs);
  await untilSpread(context);
  return { faultMs, marks: { back: backMs } };
}

async function slotsNow(context: ScenarioContext, name: string): Promise<ReadonlySet<number>> {
  const slots = slotsOf(await context.database.owners(GROUP), name);
  assert(slots.size > 0, `${name} owns no slot`);
  return slots;
}

function slotsOf(owners: ReadonlyMap<number, string>, name: string): ReadonlySet<number> {
  return new Set([...owners].filter(([, owner]) => owner === name).map(([slot]) => slot));
}

function lastOf(fleet: Fleet): string {
  const name = fleet.living().toSorted().at(-1);
  assert(name !== undefined, "a process runs");
  return name;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const dueMs = performance.now() + OWNERS_DEADLINE_MS;
  while (!(await isSo())) {
    if (performance.now() >= dueMs) {
      throw new ShopError("CLOSED", `waited ${OWNERS_DEADLINE_MS} ms for ${what}`, "never");
    }
    await Bun.sleep(POLL_MS);
  }
}
