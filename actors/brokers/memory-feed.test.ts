/**
 * The feed over a log in memory passes the suite of every feed. It has no cases of its own.
 */

import { expect } from "bun:test";

import type { FeedHooks } from "./feed.suite.ts";

import { isShopError } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { FEED_PARTITIONS, FEED_TOPICS, testFeed } from "./feed.suite.ts";
import { openMemoryFeed } from "./memory-feed.ts";
import { MemoryLog } from "./memory-log.ts";

const LOG_BYTES_MAX = 100_000;

testFeed("memory", async (): Promise<FeedHooks> => {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: FEED_TOPICS,
    partitions: FEED_PARTITIONS,
    logBytesMax: LOG_BYTES_MAX,
    deadLetterBytesMax: 0,
  });
  return {
    environment,
    open: async (topics) => openMemoryFeed({ log, name: "test", topics, environment }),
    publish: (topic, frame) => void log.append([{ topic, frame }]),
    prune() {
      // A log in memory is pruned when there is no room, and only then.
      const payload = new Uint8Array(LOG_BYTES_MAX);
      const id = environment.newId();
      const frame = encodeFrame({ type: 1, slot: 0, key: "k", payload, id, timeMs: 1 });
      try {
        log.append([{ topic: FEED_TOPICS[0], frame }]);
      } catch (error) {
        expect(isShopError(error, "STORAGE_FULL")).toBe(true);
      }
    },
    kept: (topic, partition) =>
      log
        .read(topic, partition, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
        .map(({ sequence }) => sequence),
    pass: (durationMs) => environment.advance(durationMs),
    stop: () => Promise.resolve(),
  };
});
