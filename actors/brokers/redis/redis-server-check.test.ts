/**
 * Which servers are refused and which are warned about, as a table. No server is asked.
 */

import { expect, test } from "bun:test";

import { judgeServer } from "./redis-server-check.ts";

const GOOD = {
  redis_version: "7.0.15",
  redis_mode: "standalone",
  cluster_enabled: "0",
  role: "master",
  maxmemory: "0",
  maxmemory_policy: "noeviction",
};
const DURABLE = { appendonly: "yes", appendfsync: "always" };

function judge(info: Record<string, string>, config: Record<string, string> | undefined = DURABLE) {
  return judgeServer({
    info: new Map(Object.entries({ ...GOOD, ...info })),
    config: config === undefined ? undefined : new Map(Object.entries(config)),
  });
}

test("a durable server is taken without a word", () => {
  expect(judge({})).toEqual({ refusal: undefined, warnings: [], isDurable: true });
});

test.each<[string, Record<string, string>, string]>([
  ["too old", { redis_version: "4.0.14" }, "the server is Redis 4.0.14, needed is 7.0 or later"],
  ["just too old", { redis_version: "6.2.0" }, "needed is 7.0 or later"],
  ["of no version", { redis_version: "next" }, "needed is 7.0 or later"],
  ["part of a cluster", { cluster_enabled: "1" }, "part of a cluster, needed is a single one"],
  ["a replica", { role: "slave" }, "is a replica and takes no writes, needed is its primary"],
  [
    "going to throw frames away",
    { maxmemory: "1000", maxmemory_policy: "allkeys-lru" },
    "maxmemory-policy allkeys-lru would throw frames away, needed is noeviction",
  ],
])("a server that is %s is refused", (_what, info, why) => {
  const { refusal } = judge(info);
  expect(refusal).toMatchObject({ code: "SERVER_UNUSABLE", retry: "never" });
  expect(refusal?.message).toStartWith("redis.url: ");
  expect(refusal?.message).toContain(why);
});

test.each<[string, Record<string, string>, Record<string, string> | null, string]>([
  ["syncs every second", {}, { ...DURABLE, appendfsync: "everysec" }, "appendfsync everysec"],
  ["keeps no log", {}, { appendonly: "no", appendfsync: "always" }, "appendonly no"],
  ["does not tell", {}, null, "does not say"],
])("a server that %s is taken, and warned about", (_what, info, config, warning) => {
  const { refusal, warnings, isDurable } = judge(info, config ?? undefined);
  if (config === null) {
    const told = judgeServer({ info: new Map(Object.entries(GOOD)), config: undefined });
    expect(told.isDurable).toBe(false);
    expect(told.warnings.join()).toContain(warning);
    return;
  }
  expect(refusal).toBeUndefined();
  expect(isDurable).toBe(false);
  expect(warnings.join()).toContain(warning);
});

test("eviction without a limit of memory never happens, and is no reason to refuse", () => {
  expect(judge({ maxmemory_policy: "allkeys-lru" }).refusal).toBeUndefined();
});

test("eviction of what has an age concerns the fraud check only, and is said", () => {
  const { refusal, warnings } = judge({ maxmemory: "1000", maxmemory_policy: "volatile-lru" });
  expect(refusal).toBeUndefined();
  expect(warnings.join()).toContain("verdicts");
});
