/**
 * Dead letters of a journal in a directory, read beside it: the cases of every keeper, and what
 * only a disk can do to a letter.
 */

import { afterAll, afterEach, expect, test } from "bun:test";

import type { LetterBench } from "../dead-letters/letter-cases.suite.ts";
import type { DeadLetterReads } from "../dead-letters/letter-port.ts";
import type { LetterService } from "../dead-letters/letter-service.ts";
import type { LetterCommand } from "../dead-letters/letter-unit.ts";
import type { LetterResult } from "../contracts/order-state.ts";
import type { Store } from "./unit-of-work.ts";
import type { JournalDeadLetterReads } from "./dead-letter-reads.ts";
import type { Journal } from "./journal/journal-types.ts";

import { isShopError } from "../../runtime/errors.ts";
import { frameSlot } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import {
  frameFor,
  LETTER_GROUPS,
  LETTER_SLOTS,
  LETTER_TOPICS,
  testDeadLetters,
} from "../dead-letters/letter-cases.suite.ts";
import { createLetterService } from "../dead-letters/letter-service.ts";
import { openDeadLetterReads } from "./dead-letter-reads.ts";
import {
  makeDirectory,
  openTestJournal,
  removeDirectories,
  START_MS,
  tamper,
} from "./journal/journal.fixture.ts";
import { EMPTY_UNIT as EMPTY } from "./unit-of-work.ts";
import { unitFromWire, unitToWire } from "./unit-wire.ts";

const opened: { readonly journal: Journal; readonly letters: JournalDeadLetterReads }[] = [];
afterEach(() => {
  for (const { journal, letters } of opened.splice(0)) {
    letters.close();
    journal.close();
  }
});
afterAll(removeDirectories);

function openOn(
  directory: string,
  onDamage: "refuse" | "quarantine" = "refuse",
): LetterBench & { readonly reads: JournalDeadLetterReads } {
  const environment = createVirtualEnvironment();
  const journal = openTestJournal(directory, {
    environment,
    onDamage,
    topics: LETTER_TOPICS,
    slots: LETTER_SLOTS,
  });
  for (const group of LETTER_GROUPS) journal.registerGroup(group, LETTER_TOPICS, "earliest");
  const reads = openDeadLetterReads(directory);
  opened.push({ journal, letters: reads });
  const burials = new Set<string>();
  return {
    reads,
    letters: reads,
    store: {
      acknowledges: true,
      load: async (table, keys) => journal.load(table, keys),
      async commit(given, deliveries) {
        // As a shard's units come: over the ring.
        const { unit, acks } = unitFromWire(unitToWire(given, deliveries));
        const [outcome] = journal.commit([{ unit, acks }]);
        if (outcome?.kind === "refused") throw outcome.error;
        return outcome?.kind === "committed" || outcome === undefined
          ? { kind: "committed" }
          : outcome;
      },
    },
    async bury({ topic, group, reason, bytes }, atMs) {
      environment.jumpWallClock(atMs - environment.nowMs());
      const unit = unitFromWire(unitToWire({ ...EMPTY, outgoing: [{ topic, frame: bytes }] }, []));
      const [published] = journal.commit([unit]);
      const sequence = published?.kind === "committed" ? published.appended[0]?.sequence : 0;
      const ref = { group, topic, partition: frameSlot(bytes), sequence: sequence ?? 0, epoch: 1 };
      burials.add(`${topic}/${ref.partition}/${ref.sequence}`);
      const burial = { reason, attempts: 5, firstError: "first", lastError: "last" };
      journal.commit([{ unit: EMPTY, acks: [], burials: [{ delivery: ref, burial }] }]);
      return journal.deadLetters(topic, 0, 1_000).at(-1)?.id ?? 0;
    },
    published: async (topic) =>
      Array.from({ length: LETTER_SLOTS }, (_, slot) => journal.read(topic, slot, 0, 1_000, 1e9))
        .flat()
        .filter((one) => !burials.has(`${one.topic}/${one.partition}/${one.sequence}`))
        .map(({ bytes }) => bytes),
  };
}

testDeadLetters("journal", () => openOn(makeDirectory()));

const ORIGIN = {
  cause: { correlationId: "c", causationId: "m", traceId: "0".repeat(32) },
  deadlineMs: 0,
};

function serviceOn(bench: {
  readonly store: Store;
  readonly letters: Pick<DeadLetterReads, "letter">;
}): LetterService {
  const environment = createVirtualEnvironment(2);
  return createLetterService({ ...bench, environment, slots: LETTER_SLOTS });
}

const BURIED = { topic: "orders", group: "payment", reason: "poison" } as const;

function closeAll(): void {
  for (const { journal, letters } of opened.splice(0)) {
    letters.close();
    journal.close();
  }
}

test("letters and what was done with them outlive the process", async () => {
  const directory = makeDirectory();
  const before = openOn(directory);
  const first = await before.bury({ ...BURIED, bytes: frameFor("a") }, START_MS);
  const second = await before.bury({ ...BURIED, bytes: frameFor("b") }, START_MS);
  await before.store.commit({ ...EMPTY, deadLettersRemoved: [first] }, []);
  closeAll();
  const after = openOn(directory);
  expect(await after.letters.ids({}, { afterId: 0, limit: 10 })).toEqual([second]);
  // An id is never given twice, so that an act on an old one can only find it missing.
  closeAll();
  const again = openOn(directory);
  await again.store.commit({ ...EMPTY, deadLettersRemoved: [second] }, []);
  const third = await again.bury({ ...BURIED, bytes: frameFor("c") }, START_MS);
  expect(third).toBeGreaterThan(second);
});

test("a letter that the disk has changed is shown as damaged, to be discarded only", async () => {
  const directory = makeDirectory();
  const before = openOn(directory);
  const id = await before.bury({ ...BURIED, bytes: frameFor("a") }, START_MS);
  const whole = await before.bury({ ...BURIED, bytes: frameFor("b") }, START_MS);
  closeAll();
  tamper(directory, `UPDATE dead_letter SET attempts = 6 WHERE id = ${id}`);
  const after = openOn(directory, "quarantine");
  const { letters } = await after.letters.page({}, { afterId: 0, limit: 10 });
  expect(letters.map(({ damage }) => damage)).toEqual(["it fails its checksum", undefined]);
  const service = serviceOn(after);
  const ids = [id, whole];
  const redrive: LetterCommand = { type: "deadletter.redrive", letterKey: "k", ids };
  expect(await service.command(redrive, ORIGIN)).toEqual({
    kind: "letters",
    results: [
      { id, result: "refused", detail: "it fails its checksum" },
      { id: whole, result: "redriven" },
    ],
  });
  const discard: LetterCommand = {
    type: "deadletter.discard",
    letterKey: "k",
    ids: [id],
    why: "damaged",
  };
  expect(await service.command(discard, ORIGIN)).toMatchObject({
    results: [{ result: "discarded" }],
  });
});

test("a file of an earlier build gets the index that letters are picked by", async () => {
  const directory = makeDirectory();
  await openOn(directory).bury({ ...BURIED, bytes: frameFor("a") }, START_MS);
  closeAll();
  tamper(directory, "DROP INDEX dead_letter_filter");
  expect(await openOn(directory).letters.extent({ topic: "orders" })).toMatchObject({ count: 1 });
});

test("a topic that is no more is the refusal of its letter, not of those beside it", async () => {
  const bench = openOn(makeDirectory());
  const whole = await bench.bury({ ...BURIED, bytes: frameFor("a") }, START_MS);
  const lost = await bench.bury({ ...BURIED, bytes: frameFor("b") }, START_MS);
  const letters = {
    letter: async (id: number) => {
      const letter = await bench.letters.letter(id);
      return letter && id === lost ? { ...letter, topic: "gone" } : letter;
    },
  };
  const service = serviceOn({ ...bench, letters });
  const command: LetterCommand = {
    type: "deadletter.redrive",
    letterKey: "k",
    ids: [lost, 99, whole],
  };
  const reply = await service.command(command, ORIGIN);
  const results: readonly LetterResult[] = reply.kind === "letters" ? reply.results : [];
  expect(results.toSorted((left, right) => left.id - right.id)).toEqual([
    { id: whole, result: "redriven" },
    { id: lost, result: "refused", detail: expect.stringContaining("UNKNOWN_TOPIC") },
    { id: 99, result: "missing" },
  ]);
  expect(await bench.letters.ids({}, { afterId: 0, limit: 9 })).toEqual([lost]);
});

test("what retention drops is counted, the oldest first", async () => {
  const bench = openOn(makeDirectory());
  const ids: number[] = [];
  for (let count = 0; count < 103; count++) {
    ids.push(await bench.bury({ ...BURIED, bytes: frameFor("a") }, START_MS));
  }
  expect(await bench.reads.totals()).toEqual({ kept: 103, dropped: 0 });
  opened.at(-1)?.journal.prune(START_MS, 1_000);
  expect(await bench.reads.totals()).toEqual({ kept: 100, dropped: 3 });
  expect(await bench.letters.ids({}, { afterId: 0, limit: 1 })).toEqual([ids[3] ?? 0]);
});

test("a directory without a journal is a fault, and so is reading after the end", async () => {
  const directory = makeDirectory();
  expect(() => openDeadLetterReads(directory)).toThrow();
  const { reads } = openOn(directory);
  reads.close();
  reads.close();
  const refusal = await reads.summary().catch((error: unknown) => error);
  expect(isShopError(refusal, "CLOSED")).toBe(true);
});
