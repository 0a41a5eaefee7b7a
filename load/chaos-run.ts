/**
 * A run in which something keeps breaking: steady load, faults, rest, and the same verdict.
 *
 * Starts a payment provider and the shop as processes of their own, sends orders at a fixed rate
 * throughout, lets the caller break things, then waits for rest and judges every order against
 * the shop and against the provider's books. The shop's port and data stay the same across its
 * restarts, as they would in production. It refuses to call a run good in which the shop could
 * not be stopped in order at the end.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { assert, describeError, ShopError } from "../runtime/errors.ts";
import { collectEvidence, forEachOf } from "./collect-evidence.ts";
import { collectPlatform, readPlatformBase } from "./collect-platform.ts";
import { createHttpPool } from "./http-pool.ts";
import { createOrderPlan } from "./order-plan.ts";
import { createPatientPool } from "./patient-pool.ts";
import { createPlatformClient } from "./platform-client.ts";
import { createShopClient } from "./shop-client.ts";
import { createSubmitter } from "./submitter.ts";
import { figuresOf } from "./run-figures.ts";
import { findFreePort, startServer } from "./shop-process.ts";
import { mayHeal } from "./evidence.ts";
import { startOpen } from "./arrivals.ts";
import { verify } from "./verify-orders.ts";
import type { Books } from "./payment-provider.ts";
import type { Evidence } from "./evidence.ts";
import type { RunFigures } from "./run-figures.ts";
import type { OrderPlan } from "./order-plan.ts";
import type { ServerOptions, ServerProcess } from "./shop-process.ts";
import type { ShopClient } from "./shop-client.ts";
import type { Submitter } from "./submitter.ts";
import type { Verdict } from "./verify-orders.ts";

export interface ChaosOptions {
  readonly shopCommand: readonly string[];
  readonly shopEnvironment: Readonly<Record<string, string>>;
  /** Empty; holds data, logs and ledger. */
  readonly directory: string;
  readonly seed: number;
  readonly runId: string;
  readonly ratePerSecond: number;
  readonly declineRate: number;
  readonly failureRate: number;
  readonly hangRate: number;
  /** A start of the shop may take this long. */
  readonly readyDeadlineMs: number;
  readonly restDeadlineMs: number;
}

/** What the breaking part of a run may use. */
export interface ChaosContext {
  readonly client: ShopClient;
  /** The shop that runs now. */
  shop(): ServerProcess;
  /** Starts the shop on the same port and data, and waits until it is ready. */
  restart(): Promise<ServerProcess>;
  /** Starts the shop and kills it `afterMs` later, ready or not; resolves when it is gone. */
  startAndKill(afterMs: number): Promise<void>;
  /** When the first order that was sent after `sinceMs` was acknowledged. */
  firstAcceptedSince(sinceMs: number): Promise<number>;
  /** Resolves when every order due before `dueMs` has its outcome. */
  untilOutcomesOf(dueMs: number): Promise<void>;
}

export interface ChaosReport<Faults> {
  readonly faults: Faults;
  readonly figures: RunFigures;
  readonly books: Omit<Books, "effects">;
  /** Reads of the judge that had no answer at first, by why. */
  readonly askedAgain: Readonly<Record<string, number>>;
  /** Of the orderly stop at the end; `undefined` when it had to be killed. */
  readonly exitCode: number | undefined;
  readonly verdict: Verdict;
}

const POOL = { host: "127.0.0.1", connectionsMax: 256, timeoutMs: 5_000 };
const IN_FLIGHT_MAX = 5_000;
const ORDER_DEADLINE_MS = 60_000;
const OUTCOME_DEADLINE_MS = 2 * ORDER_DEADLINE_MS;
const RETRY_MIN_MS = 25;
const RETRY_MAX_MS = 500;
/** One order in so many is sent twice at once, under one key. */
const TWIN_EVERY = 20;
const PROVIDER_DEADLINE_MS = 30_000;
const ACCEPT_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 20_000;
const POLL_MS = 5;
const READS_AT_ONCE = 16;
const PROVIDER_LATENCY_MS = 20;
/** Longer than the shop waits for its provider. */
const PROVIDER_HANG_MS = 3_000;
const LEDGER_POLL_MS = 500;

export async function runChaos<Faults>(
  options: ChaosOptions,
  ordersExpected: number,
  inject: (context: ChaosContext) => Promise<Faults>,
): Promise<ChaosReport<Faults>> {
  const { ratePerSecond, restDeadlineMs, seed, runId } = options;
  const provider = await startProvider(options);
  const shopOptions = await describeShop(options, provider.url);
  const { port } = shopOptions;
  const pool = createHttpPool({ ...POOL, port });
  const client = createShopClient(pool);
  const patient = createPatientPool(pool);
  const reader = createShopClient(patient);
  const platformClient = createPlatformClient(patient);
  const plan = createOrderPlan({ seed, runId, ordersExpected });
  const control = createControl(client, plan, shopOptions);
  try {
    await control.restart();
    await forEachOf([...plan.stock], READS_AT_ONCE, ([id, n]) => reader.createStock(id, n));
    const base = await readPlatformBase(platformClient, options);
    const { submitter } = control;
    const startMs = performance.now();
    const arrivals = startOpen({ ratePerSecond, inFlightMax: IN_FLIGHT_MAX }, submitter.submit);
    const faults = await finallyAwait(inject(control), arrivals.stop);
    const durationMs = performance.now() - startMs;
    const collecting = { restDeadlineMs, concurrency: READS_AT_ONCE };
    const orders = await collectEvidence(reader, submitter.attempts, plan.stock, collecting);
    const platform = await collectPlatform(platformClient, orders, base, {
      ...collecting,
      dataDirectory: dataOf(options),
      isAfterFaults: true,
    });
    const evidence = { ...orders, platform };
    const { verdict, books } = await judgeWithBooks(evidence, provider.url, restDeadlineMs);
    const latency = submitter.latency.summary();
    const figures = figuresOf(evidence, { latency, durationMs, failures: submitter.failures });
    const exitCode = await control.shop().stop(STOP_DEADLINE_MS);
    const { effects: _, ...counts } = books;
    const askedAgain = Object.fromEntries(patient.repeats);
    return { faults, figures, books: counts, askedAgain, exitCode, verdict };
  } catch (error) {
    const why = `${describeError(error)}\nlast words of the shop:\n${await control.logTail()}`;
    throw new ShopError("CLOSED", why, "never", { cause: error });
  } finally {
    pool.close();
    await control.killShop();
    await provider.kill();
  }
}

interface Control extends ChaosContext {
  readonly submitter: Submitter;
  killShop(): Promise<void>;
  logTail(): Promise<string>;
}

function createControl(client: ShopClient, plan: OrderPlan, shopOptions: ServerOptions): Control {
  let running: ServerProcess | undefined;
  let latest = { sentMs: 0, acceptedMs: 0 };
  const submitter = createSubmitter({
    client,
    plan,
    deadlineMs: ORDER_DEADLINE_MS,
    retryMinMs: RETRY_MIN_MS,
    retryMaxMs: RETRY_MAX_MS,
    twinEvery: TWIN_EVERY,
    onAccepted(sentMs, acceptedMs) {
      if (sentMs > latest.sentMs) latest = { sentMs, acceptedMs };
    },
  });
  return {
    client,
    submitter,
    shop() {
      assert(running !== undefined, "the shop was not started");
      return running;
    },
    async restart() {
      running = await startServer(shopOptions);
      return running;
    },
    async startAndKill(afterMs) {
      await startServer({ ...shopOptions, killAfterMs: afterMs }).then(
        async (started) => void (await started.exited),
        // Killed before it was ready, as asked.
        () => undefined,
      );
    },
    async firstAcceptedSince(sinceMs) {
      await pollUntil(() => latest.sentMs > sinceMs, ACCEPT_DEADLINE_MS, "an accepted order");
      return latest.acceptedMs;
    },
    untilOutcomesOf: (dueMs) =>
      pollUntil(() => submitter.oldestOpenMs() >= dueMs, OUTCOME_DEADLINE_MS, "outcomes"),
    killShop: async () => running?.kill(),
    logTail: async () => (await running?.logTail()) ?? "(it never started)",
  };
}

async function describeShop(options: ChaosOptions, paymentUrl: string): Promise<ServerOptions> {
  const port = findFreePort();
  const data = dataOf(options);
  await mkdir(data, { recursive: true });
  return {
    command: options.shopCommand,
    port,
    environment: {
      SHOPSTREAM_PORT: String(port),
      SHOPSTREAM_DATA: data,
      SHOPSTREAM_PAYMENT_PROVIDER: "http",
      SHOPSTREAM_PAYMENT_URL: paymentUrl,
      ...options.shopEnvironment,
    },
    readyPath: "/ready",
    readyDeadlineMs: options.readyDeadlineMs,
    logFile: join(options.directory, "shop.log"),
  };
}

function dataOf({ directory }: ChaosOptions): string {
  return join(directory, "data");
}

function startProvider(options: ChaosOptions): Promise<ServerProcess> {
  const port = findFreePort();
  const flags = {
    port,
    ledger: join(options.directory, "ledger.jsonl"),
    "latency-ms": PROVIDER_LATENCY_MS,
    "decline-rate": options.declineRate,
    "failure-rate": options.failureRate,
    "hang-rate": options.hangRate,
    "hang-ms": PROVIDER_HANG_MS,
    seed: options.seed,
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return startServer({
    command: [process.execPath, "load/provider.ts", ...words],
    port,
    environment: {},
    readyPath: "/ready",
    readyDeadlineMs: PROVIDER_DEADLINE_MS,
    logFile: join(options.directory, "provider.log"),
  });
}

/** The work's own outcome, once `cleanup` has ended too. */
async function finallyAwait<T>(work: Promise<T>, cleanup: () => Promise<void>): Promise<T> {
  try {
    return await work;
  } finally {
    await cleanup();
  }
}

/** A capture without an answer is undone after its order is cancelled: the books may lag. */
async function judgeWithBooks(
  evidence: Evidence,
  providerUrl: string,
  deadlineMs: number,
): Promise<{ readonly verdict: Verdict; readonly books: Books }> {
  const dueMs = performance.now() + deadlineMs;
  for (;;) {
    const response = await fetch(`${providerUrl}/ledger`);
    // Served by `payment-provider.ts` of this folder.
    const books = (await response.json()) as Books;
    const verdict = verify({ ...evidence, ledger: books.effects });
    const isEarly = mayHeal(verdict.violations, ["payments"]);
    if (!isEarly || performance.now() >= dueMs) return { verdict, books };
    await Bun.sleep(LEDGER_POLL_MS);
  }
}

async function pollUntil(isDone: () => boolean, deadlineMs: number, what: string): Promise<void> {
  const dueMs = performance.now() + deadlineMs;
  while (!isDone()) {
    if (performance.now() >= dueMs) {
      throw new ShopError("CLOSED", `waited ${deadlineMs} ms for ${what}`, "never");
    }
    await Bun.sleep(POLL_MS);
  }
}
