/**
 * Keys that lead to shards: each shard has one, whatever the number of shards and slots.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { slotOf } from "../../runtime/frames/murmur2.ts";
import { shardKeys } from "./shard-keys.ts";

test("the key of each shard leads to it", () => {
  const shards = fc.integer({ min: 1, max: 64 });
  fc.assert(
    fc.property(shards, fc.integer({ min: 1, max: 4_096 }), (count, slots) => {
      const keys = shardKeys(count, slots);
      expect(keys).toHaveLength(Math.min(count, slots));
      keys.forEach((key, shard) => expect(slotOf(key, slots) % count).toBe(shard));
    }),
  );
});
