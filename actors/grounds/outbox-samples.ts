/**
 * Puts how the outbox of a shard stands into its metrics, once a second, as it is done for brokers
 * beside the journal.
 *
 * Refuses nothing; a shard without an outbox has nothing to show.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { ShardMetrics } from "../shard-metrics.ts";
import type { GroundOutbox } from "./shard-ground.ts";

const SAMPLE_MS = 1_000;

/** Returns how to stop. */
export function sampleOutbox(
  outbox: GroundOutbox | undefined,
  metrics: Pick<ShardMetrics, "egress">,
  environment: Environment,
): () => void {
  if (outbox === undefined) return () => undefined;
  let timer: Timer | undefined;
  const sample = (): void => {
    for (const { name, isUp, depth, published, failed } of outbox.lanes()) {
      const circuit = isUp ? "closed" : "open";
      metrics.egress(name, { circuit, depth, published, failed, oldestAgeMs: 0, failedOver: 0 });
    }
    timer = environment.startTimer(SAMPLE_MS, sample);
  };
  sample();
  return () => timer?.cancel();
}
