/**
 * Settings of processes that share one store: how often each says that it lives, and how long one
 * may be silent before the others take its work on.
 *
 * Who is wrongly taken for dead loses no data, only its shards, which begin anew. What the two say
 * together is refused by `contradictoryCluster`.
 */

import { LEASE_SETTINGS } from "../../actors/stores/postgres/shard-lease.ts";
import { group, integer, MINUTE_MS, SECOND_MS } from "./setting-types.ts";

/** Beats that may be lost before anybody is taken for dead. */
const BEATS_MIN = 3;

export const ClusterGroup = group({
  beatMs: integer(100, MINUTE_MS, LEASE_SETTINGS.beatMs, "between two signs of life of a shard"),
  silentMs: integer(
    SECOND_MS,
    10 * MINUTE_MS,
    LEASE_SETTINGS.silentMs,
    "a shard that was silent for so long is shut out, and others finish what it left",
  ),
});

interface ClusterTimes {
  readonly beatMs: number;
  readonly silentMs: number;
}

/** One line for each contradiction. */
export function contradictoryCluster({ beatMs, silentMs }: ClusterTimes): readonly string[] {
  if (beatMs * BEATS_MIN <= silentMs) return [];
  return [`cluster.beatMs = ${beatMs} is more than a third of cluster.silentMs = ${silentMs}`];
}
