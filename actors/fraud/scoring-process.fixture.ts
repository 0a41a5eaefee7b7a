/**
 * A process whose one thread scores a batch on a pool, prints the verdict, and has nothing to do.
 *
 * For the tests of the pool; no part of the shop. It ends by itself or not at all.
 */

import { isMainThread, Worker } from "node:worker_threads";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { fraudOrder } from "./fraud-order.suite.ts";
import { createPoolScorer } from "./pool-scorer.ts";
import { FRAUD_THRESHOLDS } from "./thresholds.ts";

if (isMainThread) {
  // Its end is the end of the process.
  void new Worker(new URL(import.meta.url));
} else {
  const scorer = createPoolScorer({ environment: systemEnvironment, thresholds: FRAUD_THRESHOLDS });
  const task = { nowMs: systemEnvironment.nowMs(), orders: [fraudOrder()], profiles: [] };
  const { verdicts } = await scorer.score(task, new AbortController().signal);
  console.log(verdicts[0]?.decision);
}
