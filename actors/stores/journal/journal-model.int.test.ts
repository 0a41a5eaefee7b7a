/**
 * Random batches against the journal and a plain model of it, with restarts between them. The model
 * knows nothing of SQLite: it says what a unit must do.
 */

import { afterAll, expect, test } from "bun:test";
import * as fc from "fast-check";

import type { Table } from "../unit-of-work.ts";
import type { Journal, JournalOutcome, JournalUnit, LogRecord } from "./journal-types.ts";

import {
  frameOf,
  idOf,
  integrityOf,
  makeDirectory,
  openTestJournal,
  orderRow,
  refOf,
  removeDirectories,
  SLOTS,
  stockRow,
  TOPICS,
  unitOf,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const GROUP = "readers";

interface Step {
  readonly marks: readonly number[];
  readonly rows: readonly { readonly table: Table; readonly key: string; readonly off: number }[];
  readonly timeline: readonly number[];
  readonly frames: readonly { readonly topic: string; readonly slot: number }[];
  readonly acks: readonly number[];
}

/** Most units are written as their entity would; `off` and reused marks make the rest fail. */
const step: fc.Arbitrary<Step> = fc.record({
  marks: fc.array(fc.nat(60), { maxLength: 2 }),
  rows: fc.array(
    fc.record({
      table: fc.constantFrom<Table>("orders", "stock"),
      key: fc.constantFrom("a", "b", "c"),
      off: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(2) }),
    }),
    { maxLength: 2 },
  ),
  timeline: fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 1 }),
  frames: fc.array(fc.record({ topic: fc.constantFrom(...TOPICS), slot: fc.nat(SLOTS - 1) }), {
    maxLength: 3,
  }),
  acks: fc.array(fc.nat(30), { maxLength: 2 }),
});
const batches = fc.array(
  fc.record({ units: fc.array(step, { minLength: 1, maxLength: 6 }), restart: fc.boolean() }),
  { maxLength: 12 },
);

class Model {
  readonly marks = new Set<string>();
  readonly versions = new Map<string, number>();
  readonly timeline = new Map<number, number>();
  readonly log: LogRecord[] = [];
  readonly settled = new Set<number>();
  #frames = 0;

  /** The unit that `step` means now, and what must become of it. */
  apply(made: Step): { unit: JournalUnit; expected: object } {
    const rows = made.rows.map(({ table, key, off }) => {
      const version = Math.max(0, (this.versions.get(`${table}/${key}`) ?? 0) + off);
      return table === "orders" ? orderRow(key, version) : stockRow(key, version);
    });
    const acked = made.acks.filter((index) => index < this.log.length);
    const unit = unitOf(
      {
        inbox: made.marks.map((number) => ({ group: GROUP, messageId: idOf(number) })),
        rows,
        timeline: made.timeline.map((version) => ({
          orderId: "a",
          version,
          type: "t",
          atMs: 1,
          data: new Uint8Array(0),
        })),
        outgoing: made.frames.map(({ topic, slot }) => ({
          topic,
          frame: frameOf(slot, `frame ${this.#frames++}`),
        })),
      },
      { acks: acked.map((index) => refOf(this.log[index]!, GROUP)) }, // `!`: filtered by length
    );
    return { unit, expected: this.#refusal(unit) ?? this.#commit(unit, acked) };
  }

  #refusal({ unit }: JournalUnit): object | undefined {
    const seen = new Set(this.marks);
    const messageIds = unit.inbox
      .map(({ messageId }) => messageId)
      .filter((id) => seen.has(id) || seen.size === seen.add(id).size);
    if (messageIds.length > 0) return { kind: "duplicate", messageIds };
    const versions = new Map(this.versions);
    for (const { table, key, expectedVersion } of unit.rows) {
      const version = versions.get(`${table}/${key}`) ?? 0;
      if (version !== expectedVersion) return { kind: "conflict", table, key, version };
      versions.set(`${table}/${key}`, version + 1);
    }
    const taken = unit.timeline.find(({ version }) => this.timeline.has(version));
    if (taken === undefined) return undefined;
    const version = Math.max(...this.timeline.keys());
    return { kind: "conflict", table: "orders", key: "a", version };
  }

  #commit({ unit }: JournalUnit, acked: readonly number[]): object {
    for (const { messageId } of unit.inbox) this.marks.add(messageId);
    for (const { table, key, expectedVersion } of unit.rows) {
      this.versions.set(`${table}/${key}`, expectedVersion + 1);
    }
    for (const { version } of unit.timeline) this.timeline.set(version, 1);
    const acks = acked.map((index) => {
      const isNew = !this.settled.has(index);
      this.settled.add(index);
      return isNew ? "settled" : "repeat";
    });
    const appended = unit.outgoing.map(({ topic, frame }) => {
      const partition = frame[8] ?? -1;
      const before = this.log.filter((one) => one.topic === topic && one.partition === partition);
      const record = { topic, partition, sequence: before.length + 1, bytes: frame };
      this.log.push(record);
      return record;
    });
    return { kind: "committed", appended, acks, postponements: [], burials: [] };
  }
}

function checkState(journal: Journal, model: Model): void {
  for (const topic of TOPICS) {
    for (let partition = 0; partition < SLOTS; partition++) {
      const expected = model.log.filter(
        (record) => record.topic === topic && record.partition === partition,
      );
      expect(journal.read(topic, partition, 0, 1_000, 1e9)).toEqual(expected);
      const position = journal
        .positions(GROUP)
        .find((one) => one.topic === topic && one.partition === partition);
      const settled = expected.filter((record) => model.settled.has(model.log.indexOf(record)));
      const known = Array.from({ length: position?.position ?? -1 }, (_, index) => index + 1);
      expect([...known, ...(position?.settledAbove ?? [])]).toEqual(
        settled.map(({ sequence }) => sequence),
      );
    }
  }
  for (const table of ["orders", "stock"] as const) {
    const rows = journal.load(table, ["a", "b", "c"]);
    expect(rows.map((row) => row?.version ?? 0)).toEqual(
      ["a", "b", "c"].map((key) => model.versions.get(`${table}/${key}`) ?? 0),
    );
  }
}

test("any batches of units, with restarts between them, do what a plain model does", () => {
  fc.assert(
    fc.property(batches, (made) => {
      const directory = makeDirectory();
      // Segments of five records, so that restarts read many of them and a tail.
      const open = () => openTestJournal(directory, { tuning: { segmentRecords: 5 } });
      let journal = open();
      journal.registerGroup(GROUP, TOPICS, "earliest");
      const model = new Model();
      for (const { units, restart } of made) {
        const prepared = units.map((one) => model.apply(one));
        const outcomes: readonly JournalOutcome[] = journal.commit(
          prepared.map(({ unit }) => unit),
        );
        expect(outcomes).toEqual(prepared.map(({ expected }) => expected) as JournalOutcome[]);
        if (!restart) continue;
        journal.close();
        journal = open();
      }
      checkState(journal, model);
      expect(journal.scrub(1_000)).toEqual([]);
      journal.close();
      expect(integrityOf(directory)).toBe("ok");
    }),
    { numRuns: 15 },
  );
}, 120_000);
