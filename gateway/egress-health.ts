/**
 * How what is sent to another broker is doing, from what the shards counted of it last.
 *
 * A broker has a part here once frames went its way or wait for it. It is degraded until its
 * circuit is closed again: while it is only being tried, nobody knows. What waits for no broker, as
 * no setting names its topic, is told as well. It never makes more of it than that: no order under
 * way waits for another broker.
 */

import type { Sample } from "../runtime/threads/counter-page.ts";
import type { ServiceHealth } from "./http/gateway-ports.ts";

import { FOREIGN_BROKERS, NO_BROKER } from "../actors/contracts/topics.ts";

/** One part for each broker that is in use, `egress.<broker>`; `outbox`: what waits for none. */
export function egressHealth(
  samples: readonly Sample[],
  checkedMs: number,
): readonly ServiceHealth[] {
  return [
    ...FOREIGN_BROKERS.flatMap((broker) => partOf(broker, samples, checkedMs) ?? []),
    ...strayPart(samples, checkedMs),
  ];
}

function strayPart(samples: readonly Sample[], checkedMs: number): readonly ServiceHealth[] {
  const frames = samples.reduce((sum, each) => {
    const isIt = each.name === "shopstream_outbox_depth" && each.labels["broker"] === NO_BROKER;
    return isIt && each.kind !== "histogram" ? sum + each.value : sum;
  }, 0);
  if (frames === 0) return [];
  const detail = `${frames} frames wait for topics that no setting names; the log says which`;
  const status = "degraded";
  return [{ name: "outbox", status, latencyMs: 0, errorRate: 0, lastCheckedMs: checkedMs, detail }];
}

function partOf(
  broker: string,
  samples: readonly Sample[],
  checkedMs: number,
): ServiceHealth | undefined {
  const gauges = samples.filter(({ labels }) => labels["broker"] === broker);
  const value = (name: string, outcome?: string): number => {
    const found = gauges.find((each) => each.name === name && each.labels["outcome"] === outcome);
    return found === undefined || found.kind === "histogram" ? 0 : found.value;
  };
  const depth = value("shopstream_outbox_depth");
  const ageSeconds = value("shopstream_outbox_age_seconds");
  const published = value("shopstream_egress_frames", "published");
  const failed = value("shopstream_egress_frames", "failed");
  const isClosed = value("shopstream_egress_circuit") === 0;
  if (isClosed && depth + published + failed === 0) return undefined;
  const waiting = `${depth} frames wait, the oldest of them ${ageSeconds} s`;
  return {
    name: `egress.${broker}`,
    status: isClosed ? "up" : "degraded",
    latencyMs: ageSeconds * 1_000,
    errorRate: published + failed === 0 ? 0 : failed / (published + failed),
    lastCheckedMs: checkedMs,
    ...(isClosed ? {} : { detail: `its circuit is not closed: ${waiting}` }),
  };
}
