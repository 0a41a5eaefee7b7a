/**
 * One scenario of a cluster from its servers to its verdict: steady orders to all processes, one
 * fault, rest, and then every order is looked at.
 *
 * The judge is that of one process, with what a cluster promises beyond it. Nothing is shared
 * between two runs, so that what one leaves behind cannot be blamed on the next.
 */

import { mkdir } from "node:fs/promises";

import type { KafkaSettings } from "../actors/brokers/kafka/kafka-options.ts";
import type { CancelOutcome } from "./order-canceller.ts";
import type { ClusterDatabase } from "./cluster-database.ts";
import type { ClusterEvidence } from "./cluster-rules.ts";
import type { ClusterServers, ClusterTimes } from "./cluster-servers.ts";
import type { Evidence } from "./evidence.ts";
import type {
  FaultRecord,
  Leaver,
  Scenario,
  ScenarioContext,
  Zombie,
} from "./cluster-scenarios.ts";
import type { Fleet } from "./cluster-fleet.ts";
import type { LatencySummary } from "./latency-summary.ts";
import type { RecoveryFigures } from "./recovery-figures.ts";
import type { SpreadClient } from "./spread-client.ts";
import type { Submitter } from "./submitter.ts";
import type { Verdict } from "./verify-orders.ts";

import { KAFKA_SETTINGS } from "../actors/brokers/kafka/kafka-options.ts";
import { collectEvidence, forEachOf } from "./collect-evidence.ts";
import { createFleet } from "./cluster-fleet.ts";
import { createOrderCanceller } from "./order-canceller.ts";
import { createOrderPlan } from "./order-plan.ts";
import { createPatientPool } from "./patient-pool.ts";
import { createShopClient } from "./shop-client.ts";
import { createSpreadClient } from "./spread-client.ts";
import { createSubmitter } from "./submitter.ts";
import { eventsExpected, judgeCluster } from "./cluster-rules.ts";
import { mayHeal } from "./evidence.ts";
import { openClusterDatabase } from "./cluster-database.ts";
import { readPublished } from "./published-events.ts";
import { readUnwell } from "./fleet-health.ts";
import { recoveryOf } from "./recovery-figures.ts";
import { runScenario, untilSpread } from "./cluster-scenarios.ts";
import { startClusterServers } from "./cluster-servers.ts";
import { startOpen } from "./arrivals.ts";
import { verify } from "./verify-orders.ts";

export interface ClusterRunOptions {
  readonly scenario: Scenario;
  /** Empty; holds data, logs and ledger. */
  readonly directory: string;
  readonly processes: number;
  readonly ratePerSecond: number;
  readonly phaseMs: number;
  readonly slots: number;
  readonly seed: number;
  readonly runId: string;
  readonly times: ClusterTimes;
  readonly restDeadlineMs: number;
  /** Program and arguments of one process. */
  readonly command: readonly string[];
  /** Beside what the servers need. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly log: (line: string) => void;
}

export interface ClusterReport {
  readonly scenario: Scenario;
  readonly recovery: RecoveryFigures;
  readonly marks: FaultRecord["marks"];
  /** Of the orders' acknowledgements, from the moment they were due. */
  readonly accepted: LatencySummary;
  readonly failures: Readonly<Record<string, number>>;
  readonly cancels: Readonly<Partial<Record<CancelOutcome, number>>>;
  /** Reads of the judge that had no answer at first, by why. */
  readonly askedAgain: Readonly<Record<string, number>>;
  /** Commits that the database refused because of a fence. */
  readonly lateCommits: number;
  readonly verdict: Verdict;
}

const REQUEST_TIMEOUT_MS = 3_000;
/** A cancellation waits for its owner before it answers 202. */
const SHUN_MS = 1_000;
const ORDER_DEADLINE_MS = 60_000;
const CANCEL_DEADLINE_MS = 60_000;
const RETRY_MIN_MS = 25;
const RETRY_MAX_MS = 500;
const TWIN_EVERY = 20;
const CANCEL_EVERY = 12;
const IN_FLIGHT_MAX = 5_000;
const READS_AT_ONCE = 8;
/** Sets only how scarce the scarce product is. */
const EXPECTED_PHASES = 4;
const LEFTOVERS_POLL_MS = 200;
const EVENTS_QUIET_MS = 10_000;
const COMMAND_TIMEOUT_MS = 2_500;
/** What a shard dies of that was fenced. */
const TAKEN_OVER = "another shard has taken over";
/** What is said of an incarnation by whoever fences it. */
const FENCING = "fencing shard incarnation";

interface World {
  readonly options: ClusterRunOptions;
  readonly servers: ClusterServers;
  readonly database: ClusterDatabase;
  readonly fleet: Fleet;
  readonly spread: SpreadClient;
  readonly canceller: ReturnType<typeof createOrderCanceller>;
}

export async function runCluster(options: ClusterRunOptions): Promise<ClusterReport> {
  await mkdir(options.directory, { recursive: true });
  const servers = await startClusterServers({
    ...options,
    brokers: options.scenario === "broker-kill" ? 3 : 1,
    // Whoever is paused is to have something in hand.
    hasSlowPayments: options.scenario === "pause",
  });
  let fleet: Fleet | undefined;
  try {
    const world = await openWorld(options, servers);
    fleet = world.fleet;
    try {
      return await runIn(world);
    } finally {
      world.spread.close();
      await world.database.close();
    }
  } finally {
    await fleet?.killAll();
    await servers.dispose();
  }
}

async function openWorld(options: ClusterRunOptions, servers: ClusterServers): Promise<World> {
  const canceller = createOrderCanceller({
    spread: () => spread,
    every: CANCEL_EVERY,
    deadlineMs: CANCEL_DEADLINE_MS,
  });
  const spread = createSpreadClient({
    timeoutMs: REQUEST_TIMEOUT_MS,
    shunMs: SHUN_MS,
    onAcknowledged: (orderId, by) => canceller.acknowledged(orderId, by),
  });
  const fleet = createFleet({
    directory: options.directory,
    command: options.command,
    environment: {
      ...servers.environment,
      SHOPSTREAM_LIMITS_COMMAND_TIMEOUT_MS: String(COMMAND_TIMEOUT_MS),
      ...options.environment,
    },
    onMember: ({ name, port }) => spread.add(name, port),
  });
  const database = await openClusterDatabase({ url: servers.postgres.url }, options.slots);
  return { options, servers, database, fleet, spread, canceller };
}

async function runIn(world: World): Promise<ClusterReport> {
  const { options, fleet, servers, spread, canceller } = world;
  const { ratePerSecond, phaseMs, seed, runId, restDeadlineMs, slots } = options;
  const names = Array.from({ length: options.processes }, (_, index) => `p${index + 1}`);
  await Promise.all(names.map((name) => fleet.start(name)));
  const context: ScenarioContext = { ...world, ...options };
  await untilSpread(context);
  const ordersExpected = Math.ceil((ratePerSecond * EXPECTED_PHASES * phaseMs) / 1_000);
  const plan = createOrderPlan({ seed, runId, ordersExpected });
  const { client, pool } = spread;
  // Slots of orders have owners by now; those of the other groups may get theirs a moment later.
  const patient = createPatientPool(pool);
  const reader = createShopClient(patient);
  await forEachOf([...plan.stock], READS_AT_ONCE, ([id, n]) => reader.createStock(id, n));
  const submitter = createSubmitter({
    client,
    plan,
    deadlineMs: ORDER_DEADLINE_MS,
    retryMinMs: RETRY_MIN_MS,
    retryMaxMs: RETRY_MAX_MS,
    twinEvery: TWIN_EVERY,
  });
  const arrivals = startOpen({ ratePerSecond, inFlightMax: IN_FLIGHT_MAX }, submitter.submit);
  let fault: FaultRecord;
  try {
    fault = await runScenario(options.scenario, context);
  } finally {
    await arrivals.stop();
  }
  const cancels = await canceller.finish();
  const collecting = { restDeadlineMs, concurrency: READS_AT_ONCE };
  const evidence = await collectEvidence(reader, submitter.attempts, plan.stock, collecting);
  const found = await findOut(world, evidence, fault, cancels);
  return {
    scenario: options.scenario,
    recovery: recoveryOf(evidence, { ...fault, slots }),
    marks: fault.marks,
    ...countsOf(submitter, cancels),
    askedAgain: Object.fromEntries(patient.repeats),
    lateCommits: (await servers.readRefused()).length,
    verdict: await judge(world, evidence, found),
  };
}

async function findOut(
  world: World,
  evidence: Evidence,
  { zombie, leaver }: FaultRecord,
  cancels: ClusterEvidence["cancels"],
): Promise<ClusterEvidence> {
  const { options, servers, fleet } = world;
  const settings: KafkaSettings = { ...KAFKA_SETTINGS, brokers: servers.kafka.brokerAddresses };
  const published = await readPublished({
    settings,
    slots: options.slots,
    expected: eventsExpected(evidence.timelines),
    quietMs: EVENTS_QUIET_MS,
  });
  return {
    cancels,
    published,
    leftovers: await restOf(world),
    living: fleet.living(),
    unwell: await readUnwell(fleet),
    ...(zombie === undefined ? {} : { zombie: await zombieOf(world, zombie) }),
    ...(leaver === undefined ? {} : { leaver: await leaverOf(world, leaver) }),
  };
}

/** A frame may still be on its way, and a lease on its way out. */
async function restOf({ options, database, fleet }: World): Promise<ClusterEvidence["leftovers"]> {
  const dueMs = performance.now() + options.restDeadlineMs;
  for (;;) {
    const found = await database.leftovers(`load-${options.runId}-`);
    const isAtRest =
      found.outboxFrames === 0 &&
      found.timers === 0 &&
      found.living.length === fleet.living().length;
    if (isAtRest || performance.now() >= dueMs) return found;
    await Bun.sleep(LEFTOVERS_POLL_MS);
  }
}

/** A capture without an answer is undone after its order is cancelled: the books may lag. */
async function judge(world: World, evidence: Evidence, found: ClusterEvidence): Promise<Verdict> {
  const dueMs = performance.now() + world.options.restDeadlineMs;
  for (;;) {
    const books = await world.servers.readBooks();
    const verdict = verify({ ...evidence, ledger: books.effects });
    const violations = [...verdict.violations, ...judgeCluster(evidence, found)];
    if (!mayHeal(violations, ["payments"]) || performance.now() >= dueMs) {
      return { ...verdict, violations, ok: violations.length === 0 };
    }
    await Bun.sleep(LEFTOVERS_POLL_MS);
  }
}

function countsOf(
  submitter: Submitter,
  cancels: ClusterEvidence["cancels"],
): Pick<ClusterReport, "accepted" | "failures" | "cancels"> {
  const byOutcome = Map.groupBy(cancels, ({ outcome }) => outcome);
  return {
    accepted: submitter.latency.summary(),
    failures: Object.fromEntries(submitter.failures),
    cancels: Object.fromEntries([...byOutcome].map(([outcome, all]) => [outcome, all.length])),
  };
}

/** A shard that is fenced finds out by a commit or by a beat, whichever comes first. */
async function zombieOf(
  { fleet, servers }: World,
  { name, pauses, incarnations }: Zombie,
): Promise<Required<ClusterEvidence>["zombie"]> {
  const refused = (await servers.readRefused()).filter((id) => incarnations.includes(id));
  const wasFenced = (await linesOf(fleet, name, TAKEN_OVER)) > 0;
  const cutTransactions = await servers.countCut();
  return { name, pauses, wasFenced, refusedCommits: refused.length, cutTransactions };
}

async function leaverOf(
  { fleet, servers }: World,
  { name, incarnations }: Leaver,
): Promise<Required<ClusterEvidence>["leaver"]> {
  const { length: refusedCommits } = await servers.readRefused();
  let fencings = 0;
  for (const member of fleet.members) {
    for (const id of incarnations) {
      fencings += await linesOf(fleet, member.name, `${FENCING} ${id}`);
    }
  }
  return { name, refusedCommits, fencings };
}

/** Lines with `words` in the log of a process. */
async function linesOf(fleet: Fleet, name: string, words: string): Promise<number> {
  const member = fleet.members.find((each) => each.name === name);
  const text = member === undefined ? "" : await Bun.file(member.logFile).text();
  return text.split("\n").filter((line) => line.includes(words)).length;
}
