/**
 * The Redis settings: their defaults are the adapter's, and what contradicts itself is refused.
 *
 * No I/O.
 */

import { expect, test } from "bun:test";

import { Value } from "@sinclair/typebox/value";

import { checkRedisSettings, REDIS_SETTINGS } from "../../actors/brokers/redis/redis-options.ts";
import { isShopError } from "../../runtime/errors.ts";
import { RedisGroup } from "./redis-settings.ts";

const DEFAULTS = Value.Create(RedisGroup);

function refusal(change: Partial<typeof DEFAULTS>): string {
  try {
    checkRedisSettings({ ...DEFAULTS, ...change });
    return "nothing refused";
  } catch (error) {
    return isShopError(error, "BAD_CONFIGURATION") ? error.message : String(error);
  }
}

test("the defaults are those of the adapter, which takes them", () => {
  expect(DEFAULTS).toEqual({ ...REDIS_SETTINGS });
  expect(refusal({})).toBe("nothing refused");
});

test.each<[string, Partial<typeof DEFAULTS>, string]>([
  ["an address of something else", { url: "http://127.0.0.1" }, "redis.url"],
  ["heartbeats as rare as the session is long", { heartbeatMs: 9_000 }, "redis.heartbeatMs"],
  ["less room than is to be kept", { partitionFramesMax: 10 }, "redis.partitionFramesMax"],
])("%s is refused, naming the setting", (_what, change, name) => {
  expect(refusal(change)).toStartWith(`${name} `);
});
