/**
 * The reference store under the cases that every store must pass. Its own cases are elsewhere.
 */

import type { StoreBench } from "./store.suite.ts";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createMemoryStore } from "./memory-store.ts";
import { testStore } from "./store.suite.ts";

async function open(): Promise<StoreBench> {
  const environment = createVirtualEnvironment();
  environment.jumpWallClock(-environment.nowMs());
  const frames: Uint8Array[] = [];
  const letters = new Set<number>();
  let lastLetter = 0;
  const store = createMemoryStore({
    environment,
    onOutgoing: ({ frame }) => void frames.push(frame),
    deadLetters: {
      hasDeadLetter: (id) => letters.has(id),
      removeDeadLetter: (id) => void letters.delete(id),
    },
  });
  return {
    store,
    reads: store,
    other: store,
    outgoing: async () => frames,
    fireTimers: (nowMs) => environment.advance(nowMs - environment.nowMs()),
    async bury() {
      letters.add(++lastLetter);
      return lastLetter;
    },
    hasLetter: async (id) => letters.has(id),
  };
}

testStore("memory", open);
