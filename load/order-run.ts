/**
 * One measured run against a shop that is up: stock, orders, rest, evidence, verdict.
 *
 * Everything it creates in the shop carries the run's id, so that it can be judged in a shop that
 * holds other orders. It refuses nothing and hides nothing: figures of a run that broke a promise
 * are reported beside the violation. Nothing is broken on purpose here, so a read that is not
 * answered, or with 503, ends the run: nobody asks again.
 */

import { collectEvidence, forEachOf } from "./collect-evidence.ts";
import { collectPlatform, readPlatformBase } from "./collect-platform.ts";
import { createHttpPool } from "./http-pool.ts";
import { createOrderPlan } from "./order-plan.ts";
import { createPlatformClient } from "./platform-client.ts";
import { createShopClient } from "./shop-client.ts";
import { createSubmitter } from "./submitter.ts";
import { figuresOf } from "./run-figures.ts";
import { runClosed, startOpen } from "./arrivals.ts";
import { verify } from "./verify-orders.ts";
import { watchResources } from "./process-watch.ts";
import type { LedgerEffect } from "./evidence.ts";
import type { ResourceReport } from "./process-watch.ts";
import type { RunFigures } from "./run-figures.ts";
import type { Submit } from "./arrivals.ts";
import type { Verdict } from "./verify-orders.ts";

export type Arrivals =
  | { readonly model: "closed"; readonly rounds: number; readonly batch: number }
  | { readonly model: "open"; readonly ratePerSecond: number; readonly seconds: number };

export interface OrderRunOptions {
  readonly host: string;
  readonly port: number;
  /** The shop's process, when it is on this machine. */
  readonly pid?: number;
  /** Its data directory, likewise. */
  readonly dataDirectory?: string;
  readonly arrivals: Arrivals;
  readonly seed: number;
  readonly runId: string;
  readonly connectionsMax: number;
  readonly twinEvery: number;
  readonly restDeadlineMs: number;
  /** For the stock to agree with the orders, then for the stores around; absent: as long again. */
  readonly storesDeadlineMs?: number;
  /** How long the stores around the orders must have had nothing to do; absent: two seconds. */
  readonly quietMs?: number;
  readonly readLedger?: () => Promise<readonly LedgerEffect[]>;
}

export interface OrderRunReport {
  readonly runId: string;
  readonly seed: number;
  readonly arrivals: Arrivals;
  readonly figures: RunFigures;
  readonly server: ResourceReport;
  /** CPU time of this process while orders were sent. */
  readonly clientCpuMs: number;
  readonly verdict: Verdict;
}

const REQUEST_TIMEOUT_MS = 10_000;
const ORDER_DEADLINE_MS = 30_000;
const RETRY_MIN_MS = 25;
const RETRY_MAX_MS = 1_000;
const IN_FLIGHT_MAX = 5_000;
const READS_AT_ONCE = 16;

export async function runOrders(options: OrderRunOptions): Promise<OrderRunReport> {
  const { host, port, connectionsMax, arrivals, seed, runId } = options;
  const pool = createHttpPool({ host, port, connectionsMax, timeoutMs: REQUEST_TIMEOUT_MS });
  const client = createShopClient(pool);
  const platformClient = createPlatformClient(pool);
  const plan = createOrderPlan({ seed, runId, ordersExpected: ordersOf(arrivals) });
  await forEachOf([...plan.stock], READS_AT_ONCE, ([id, count]) => client.createStock(id, count));
  const base = await readPlatformBase(platformClient, options);
  const submitter = createSubmitter({
    client,
    plan,
    deadlineMs: ORDER_DEADLINE_MS,
    retryMinMs: RETRY_MIN_MS,
    retryMaxMs: RETRY_MAX_MS,
    twinEvery: options.twinEvery,
  });

  const watch = watchResources(
    options.pid === undefined ? { readMetrics: () => client.readMetrics() } : { pid: options.pid },
  );
  const startMs = performance.now();
  const cpuBefore = process.cpuUsage();
  await arrive(arrivals, submitter.submit);
  const durationMs = performance.now() - startMs;
  const cpu = process.cpuUsage(cpuBefore);

  const storesDeadlineMs = options.storesDeadlineMs ?? options.restDeadlineMs;
  const collecting = {
    restDeadlineMs: options.restDeadlineMs,
    stockDeadlineMs: storesDeadlineMs,
    concurrency: READS_AT_ONCE,
  };
  const evidence = await collectEvidence(client, submitter.attempts, plan.stock, collecting);
  // What follows is judging: none of it is in a figure.
  const server = await watch.stop();
  const judging = { ...options, restDeadlineMs: storesDeadlineMs, concurrency: READS_AT_ONCE };
  const platform = await collectPlatform(platformClient, evidence, base, judging);
  const ledger = await options.readLedger?.();
  pool.close();
  return {
    runId,
    seed,
    arrivals,
    figures: figuresOf(evidence, {
      latency: submitter.latency.summary(),
      durationMs,
      failures: submitter.failures,
    }),
    server,
    clientCpuMs: Math.round((cpu.user + cpu.system) / 1_000),
    verdict: verify({ ...evidence, platform, ...(ledger === undefined ? {} : { ledger }) }),
  };
}

async function arrive(arrivals: Arrivals, submit: Submit): Promise<void> {
  if (arrivals.model === "closed") {
    await runClosed(arrivals.rounds, arrivals.batch, submit);
    return;
  }
  const { ratePerSecond, seconds } = arrivals;
  const durationMs = seconds * 1_000;
  await startOpen({ ratePerSecond, durationMs, inFlightMax: IN_FLIGHT_MAX }, submit).done;
}

function ordersOf(arrivals: Arrivals): number {
  if (arrivals.model === "closed") return arrivals.rounds * arrivals.batch;
  return Math.ceil(arrivals.ratePerSecond * arrivals.seconds);
}
