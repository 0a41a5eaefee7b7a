/**
 * The worker of the scoring pool: the pure scorer with the thresholds it was started with.
 *
 * It holds nothing between batches and opens nothing, so it may be killed at any time. Refuses to
 * start with thresholds that do not fit each other.
 */

import { workerData } from "node:worker_threads";

import type { ScoredBatch, ScoringTask } from "./score-batch.ts";
import type { FraudThresholds } from "./thresholds.ts";

import { createBatchScorer } from "./score-batch.ts";

// `pool-scorer.ts` starts every worker with the thresholds it was given.
const score = createBatchScorer(workerData as FraudThresholds);

export function scoreBatch(task: ScoringTask): ScoredBatch {
  return score(task);
}
