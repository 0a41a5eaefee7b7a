/**
 * The fraud check of one shard, as configured: on the shard's store, scored on a pool of its own.
 *
 * Refuses thresholds that do not fit each other; without settings there is no check.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { VerdictReport } from "./embedded-fraud-check.ts";
import type { FraudCheck } from "./fraud-check.ts";
import type { Scorer } from "./score-batch.ts";
import type { FraudSettings, FraudThresholds } from "./thresholds.ts";
import type { Store } from "../stores/unit-of-work.ts";

import { createFraudCheck } from "./embedded-fraud-check.ts";
import { createPoolScorer } from "./pool-scorer.ts";
import { FRAUD_SETTINGS } from "./thresholds.ts";

/** The part of the configuration that concerns the check: plain values, cloneable. */
export interface ShardFraudSettings
  extends FraudThresholds, Pick<FraudSettings, "timeoutMs" | "gatherMs"> {
  readonly mode: "block" | "off";
}

export interface ShardFraudOptions {
  readonly environment: Environment;
  readonly store: Store;
  /** Where batches are scored; absent: on a pool. */
  readonly createScorer?: (thresholds: FraudThresholds) => Scorer;
  readonly onVerdict?: (report: VerdictReport) => void;
  readonly onLog: (level: "info" | "warning", text: string) => void;
}

export function createShardFraud(
  settings: ShardFraudSettings,
  options: ShardFraudOptions,
): FraudCheck | undefined {
  const { mode, timeoutMs, gatherMs, ...thresholds } = settings;
  if (mode === "off") return undefined;
  const { environment, store, createScorer, onVerdict, onLog } = options;
  const onTrouble = (detail: string) => onLog("warning", `fraud scoring: ${detail}`);
  return createFraudCheck({
    environment,
    store,
    scorer: createScorer?.(thresholds) ?? createPoolScorer({ environment, thresholds, onTrouble }),
    settings: { ...FRAUD_SETTINGS, timeoutMs, gatherMs },
    ...(onVerdict === undefined ? {} : { onVerdict }),
  });
}
