/**
 * A worker of the scoring pool that does to a batch what the batch's first order is called after.
 *
 * For the tests of the pool; no part of the shop.
 */

import type { ScoredBatch, ScoringTask } from "./score-batch.ts";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { createBatchScorer } from "./score-batch.ts";
import { FRAUD_THRESHOLDS } from "./thresholds.ts";

const score = createBatchScorer(FRAUD_THRESHOLDS);

/** Long enough for the answer to be out. */
const LATER_MS = 20;

export function scoreBatch(task: ScoringTask): ScoredBatch {
  const fate = task.orders[0]?.orderId;
  if (fate === "exit") process.exit(0);
  if (fate === "throw") throw new TypeError("cannot score");
  while (fate === "hang");
  if (fate === "fail later") {
    systemEnvironment.startTimer(LATER_MS, () => {
      throw new TypeError("failed between two batches");
    });
  }
  return score(task);
}
