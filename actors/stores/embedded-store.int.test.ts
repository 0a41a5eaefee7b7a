/**
 * The embedded journal under the cases that every store must pass, over the wire of its
 * thread. Refusals are tested with the journal itself.
 */

import { afterAll, afterEach } from "bun:test";

import type { Journal } from "./journal/journal-types.ts";
import type { JournalReads } from "./journal-reads.ts";
import type { StoreBench } from "./store.suite.ts";
import type { CommitResult, Store, UnitOfWork } from "./unit-of-work.ts";

import { assert } from "../../runtime/errors.ts";
import { frameSlot } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import {
  committed,
  makeDirectory,
  openTestJournal,
  removeDirectories,
  unitOf,
} from "./journal/journal.fixture.ts";
import { openJournalReads } from "./journal-reads.ts";
import { STORE_SLOTS, STORE_TOPICS, testStore } from "./store.suite.ts";
import { unitFromWire, unitToWire } from "./unit-wire.ts";

const GROUP = "readers";
const TOPIC = "orders";

const opened: { readonly journal: Journal; readonly reads: JournalReads }[] = [];
afterEach(() => {
  for (const { journal, reads } of opened.splice(0)) {
    reads.close();
    journal.close();
  }
});
afterAll(removeDirectories);

/** Commits what comes in one turn as one batch, as the journal's thread does. */
function batchingStore(journal: Journal, frames: Uint8Array[]): Store {
  let waiting: { unit: UnitOfWork; resolve: (result: CommitResult) => void }[] = [];
  function flush(): void {
    const batch = waiting;
    waiting = [];
    const units = batch.map(({ unit }) => unitFromWire(unitToWire(unit, [])));
    journal.commit(units).forEach((outcome, index) => {
      assert(outcome.kind !== "refused", "the cases give no unit that is refused");
      if (outcome.kind !== "committed") return batch[index]?.resolve(outcome);
      frames.push(...outcome.appended.map(({ bytes }) => bytes));
      batch[index]?.resolve({ kind: "committed" });
    });
  }
  return {
    acknowledges: true,
    commit: (unit) =>
      new Promise((resolve) => {
        if (waiting.length === 0) queueMicrotask(flush);
        waiting.push({ unit, resolve });
      }),
    load: async (table, keys) => journal.load(table, keys),
  };
}

async function open(): Promise<StoreBench> {
  const directory = makeDirectory();
  const environment = createVirtualEnvironment();
  const journal = openTestJournal(directory, {
    environment,
    slots: STORE_SLOTS,
    topics: STORE_TOPICS,
  });
  journal.registerGroup(GROUP, [TOPIC], "earliest");
  const reads = openJournalReads(directory);
  opened.push({ journal, reads });
  const frames: Uint8Array[] = [];
  const store = batchingStore(journal, frames);
  return {
    store,
    reads,
    other: store,
    outgoing: async () => frames,
    async fireTimers(nowMs) {
      frames.push(...journal.fireTimers(nowMs, 1_000).map(({ bytes }) => bytes));
    },
    async bury(frame) {
      const outgoing = [{ topic: TOPIC, frame }];
      const [record] = committed(journal.commit([unitOf({ outgoing })])[0]).appended;
      const sequence = record?.sequence ?? 0;
      const partition = frameSlot(frame);
      const delivery = { group: GROUP, topic: TOPIC, partition, sequence, epoch: 1 };
      const burial = { reason: "poison", attempts: 1, firstError: "e", lastError: "e" };
      committed(journal.commit([unitOf({}, { burials: [{ delivery, burial }] })])[0]);
      return journal.deadLetters(TOPIC, 0, 1_000).at(-1)?.id ?? 0;
    },
    hasLetter: async (id) =>
      journal.deadLetters(TOPIC, 0, 1_000).some((letter) => letter.id === id),
  };
}

testStore("embedded", open);
