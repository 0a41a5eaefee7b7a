/**
 * A key for each shard: what a command about the shard itself is addressed with.
 *
 * Commands are routed by their key, so the key is chosen for where it leads. Shards that own no
 * slot are left out: they have nothing to tell.
 */

import { assert } from "../../runtime/errors.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";

/** Far more than it takes to hit each of 64 shards once. */
const TRIES_MAX = 100_000;

/** One key per shard, in their order; slot `s` belongs to shard `s % shards`. */
export function shardKeys(shards: number, slots: number): readonly string[] {
  const keys = new Map<number, string>();
  const wanted = Math.min(shards, slots);
  for (let tries = 0; keys.size < wanted; tries++) {
    assert(tries < TRIES_MAX, `no keys found for ${shards} shards of ${slots} slots`);
    const key = `shard-${tries}`;
    const shard = slotOf(key, slots) % shards;
    if (!keys.has(shard)) keys.set(shard, key);
  }
  return Array.from({ length: wanted }, (_, shard) => keys.get(shard) ?? "");
}
