/**
 * The reference keeper of dead letters under the cases that every keeper must pass. It has no
 * cases of its own.
 */

import type { LetterBench } from "./letter-cases.suite.ts";

import { frameSlot } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import {
  LETTER_GROUPS,
  LETTER_SLOTS,
  LETTER_TOPICS,
  testDeadLetters,
} from "./letter-cases.suite.ts";
import { createMemoryLetters } from "./memory-letters.ts";

const BYTES_MAX = 64 * 1024 * 1024;

function open(): LetterBench {
  const log = new MemoryLog({
    topics: LETTER_TOPICS,
    partitions: LETTER_SLOTS,
    logBytesMax: BYTES_MAX,
    deadLetterBytesMax: BYTES_MAX,
  });
  for (const group of LETTER_GROUPS) log.registerGroup(group, LETTER_TOPICS, "earliest");
  const published: { readonly topic: string; readonly frame: Uint8Array }[] = [];
  const store = createMemoryStore({
    environment: createVirtualEnvironment(),
    deadLetters: log,
    onOutgoing(outgoing) {
      log.append([outgoing]);
      published.push(outgoing);
    },
  });
  return {
    store,
    letters: createMemoryLetters(log),
    async bury({ topic, group, reason, bytes }, atMs) {
      const [appended] = log.append([{ topic, frame: bytes }]);
      const sequence = appended?.record.sequence ?? 0;
      const ref = { group, topic, partition: frameSlot(bytes), sequence, epoch: 1 };
      log.bury(ref, { reason, attempts: 5, firstError: "first", lastError: "last" }, atMs);
      return log.deadLetters(topic, 0, BYTES_MAX).at(-1)?.id ?? 0;
    },
    published: async (topic) =>
      published.filter((one) => one.topic === topic).map(({ frame }) => frame),
  };
}

testDeadLetters("memory", open);
