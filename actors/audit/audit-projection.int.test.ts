/** The writing side on real files: once, in order, both or neither, and again after a bad disk. */

import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import type { AuditCounts } from "./audit-projection.ts";
import type { FaultPoint } from "../stores/journal/journal-types.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import {
  createTestFeed,
  openAudit,
  orderCreated,
  readsOf,
  removeAudits,
  stateOf,
  tamper,
} from "./audit.fixture.ts";
import { auditPath } from "./audit-database.ts";
import { recordHash } from "./audit-record.ts";

afterAll(removeAudits);

const EVERYTHING = { fromSeq: 1, recordsMax: 10_000, budgetMs: 60_000 };

/** An audit that says what its batches came to. */
function countingAudit(directory?: string) {
  const counts: AuditCounts[] = [];
  return { counts, ...openAudit(directory, { onApplied: (one) => void counts.push(one) }) };
}

async function seqsOf(directory: string, query: object = {}) {
  const reads = readsOf(directory);
  const { records } = await reads.search({ limit: 200, ...query });
  reads.close();
  return records.map(({ seq }) => seq);
}

describe("recording", () => {
  test("takes every record of a batch, and its cursor with them", async () => {
    const feed = createTestFeed();
    const { directory, projection, counts } = countingAudit();
    expect(projection.cursor()).toBeUndefined();
    const batch = feed.batch([...feed.order(1), ...feed.order(2)]);
    projection.apply(batch);
    expect(projection.cursor()).toBe(batch.cursor);
    expect(projection.head().count).toBe(10);
    expect(counts).toEqual([{ recorded: 10, repeats: 0, faults: 0 }]);
    projection.close();
    expect(openAudit(directory).projection.cursor()).toBe(batch.cursor);
    expect(await seqsOf(directory)).toEqual([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
  });

  test("of a batch given twice changes nothing the second time", () => {
    const feed = createTestFeed();
    const { directory, projection, counts } = countingAudit();
    const batch = feed.batch(feed.order(1));
    projection.apply(batch);
    const before = stateOf(directory);
    projection.apply(batch);
    expect(stateOf(directory)).toBe(before);
    expect(counts).toHaveLength(1);
  });

  test("of a whole day that is replayed changes no hash, and counts the repeats", () => {
    const feed = createTestFeed();
    const { directory, projection, counts } = countingAudit();
    const day = Array.from({ length: 20 }, (_, number) => feed.order(number)).flat();
    const broken = feed.record("orders", new Uint8Array([1, 2, 3]));
    projection.apply(feed.batch([...day, broken]));
    const before = stateOf(directory);
    const replayed = [...day, broken].map(({ topic, bytes, partition }) =>
      feed.record(topic, bytes, partition),
    );
    projection.apply(feed.batch(replayed));
    expect(stateOf(directory)).toBe(before);
    expect(counts.at(-1)).toEqual({ recorded: 0, repeats: 101, faults: 0 });
  });

  test("takes a redriven frame as the message it was", () => {
    const feed = createTestFeed();
    const { projection, counts } = countingAudit();
    const [created] = feed.order(1);
    projection.apply(feed.batch([created!])); // `!`: an order has records
    const frame = decodeFrame(created!.bytes); // `!`: as above
    const redriven = encodeFrame({ ...frame, attempt: 2, headers: { redriven: "payment/…" } });
    projection.apply(feed.batch([feed.record("orders", redriven)]));
    expect(counts.at(-1)).toEqual({ recorded: 0, repeats: 1, faults: 0 });
  });

  test("leaves no secret in its files, which only their owner may read", () => {
    const feed = createTestFeed();
    const { directory, projection, counts } = countingAudit();
    const [created] = feed.order(1);
    const { id, ...frame } = decodeFrame(created!.bytes); // `!`: an order has records
    const other = feed.event(orderCreated("order-9", "customer-9"));
    const forged = encodeFrame({ ...decodeFrame(other.bytes), id });
    const redriven = encodeFrame({ ...frame, id, attempt: 2 });
    const records = [created!, feed.record("orders", redriven), feed.record("orders", forged)];
    projection.apply(feed.batch(records));
    expect(counts).toEqual([{ recorded: 2, repeats: 1, faults: 1 }]);
    for (const name of readdirSync(directory)) {
      expect([name, statSync(join(directory, name)).mode & 0o777]).toEqual([name, 0o600]);
    }
    projection.close();
    for (const name of readdirSync(directory)) {
      const text = readFileSync(join(directory, name)).toString("latin1");
      expect(text).not.toMatch(/secret(one|two|three|four)|49301234567/);
    }
  });

  test("keeps another content under a known message id, once, as a fault", async () => {
    const feed = createTestFeed();
    const { directory, projection, counts } = countingAudit();
    const [created, reserved] = feed.order(1);
    const frame = decodeFrame(created!.bytes); // `!`: an order has records
    const { payload, type } = decodeFrame(reserved!.bytes); // `!`: as above
    const forged = encodeFrame({ ...frame, payload, type });
    projection.apply(feed.batch([created!, feed.record("orders", forged)])); // `!`: as above
    expect(counts.at(-1)).toEqual({ recorded: 2, repeats: 0, faults: 1 });
    projection.apply(feed.batch([feed.record("orders", forged)]));
    expect(counts.at(-1)).toEqual({ recorded: 0, repeats: 1, faults: 0 });
    const reads = readsOf(directory);
    const [newest] = (await reads.search({ limit: 1 })).records;
    expect(newest).toMatchObject({ fault: "ID_REUSED", type: "inventory.reserved", id: frame.id });
  });

  test("keeps what it cannot read, and what comes behind it", async () => {
    const feed = createTestFeed();
    const { directory, projection, counts } = countingAudit();
    const records = feed.order(1);
    const damaged = records[1]!.bytes.slice(); // `!`: an order has five
    damaged[90]! ^= 255; // `!`: a frame is longer
    const broken = feed.record("inventory", damaged);
    projection.apply(feed.batch([records[0]!, broken, records[2]!])); // `!`: as above
    expect(counts.at(-1)).toEqual({ recorded: 3, repeats: 0, faults: 1 });
    const reads = readsOf(directory);
    const { records: found } = await reads.search({ limit: 5, type: 0 });
    expect(found).toMatchObject([{ seq: 2, fault: "BAD_CHECKSUM", topic: "inventory" }]);
    expect(await reads.verify(EVERYTHING)).toMatchObject({ verified: 3 });
  });

  test("remembers the cursor of a batch without records", () => {
    const { projection } = openAudit();
    projection.apply({ records: [], cursor: "further" });
    expect(projection.cursor()).toBe("further");
    expect(projection.head().count).toBe(0);
  });
});

describe("the customer of an order", () => {
  test("is known to its later events, across batches, restarts and topics", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    const [created, reserved, paid, shipped, delivered] = feed.order(7, "ada");
    // `!`: an order has five records
    projection.apply(feed.batch([reserved!, created!]));
    projection.apply(feed.batch([paid!]));
    projection.close();
    const { projection: restarted } = openAudit(directory);
    restarted.apply(feed.batch([shipped!, delivered!]));
    expect(await seqsOf(directory, { customerId: "ada" })).toEqual([5, 4, 3, 2, 1]);
  });

  test("is unknown to an event that came in an earlier batch than the order", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    const [created, reserved] = feed.order(7, "ada");
    projection.apply(feed.batch([reserved!])); // `!`: an order has records
    projection.apply(feed.batch([created!])); // `!`: as above
    expect(await seqsOf(directory, { customerId: "ada" })).toEqual([2]);
    expect(await seqsOf(directory, { orderId: "order-7" })).toEqual([2, 1]);
  });
});

describe("when the disk fails", () => {
  const points = ["begin", "commit", "committed", "open"] as const satisfies readonly FaultPoint[];

  test.each(points)(
    "at %s, the batch is refused, and recorded once when it is given again",
    (at) => {
      let isFailing = false;
      const feed = createTestFeed();
      const { directory, projection } = openAudit(undefined, {
        faults(point) {
          // What was open is only opened again after another failure.
          const isHere = point === at || (at === "open" && point === "commit");
          if (isFailing && isHere)
            throw Object.assign(new Error("disk"), { code: "SQLITE_IOERR_FSYNC" });
        },
      });
      const before = feed.batch(feed.order(1));
      projection.apply(before);
      const state = stateOf(directory);
      const batch = feed.batch(feed.order(2));
      isFailing = true;
      for (let attempt = 0; attempt < 3; attempt++) {
        expect(() => projection.apply(batch)).toThrow(
          expect.objectContaining({ code: "STORAGE_FAULT", retry: "later" }),
        );
      }
      // An error after the commit has lost the answer, not the batch.
      if (at !== "committed") expect(stateOf(directory)).toBe(state);
      isFailing = false;
      projection.apply(batch);
      expect(projection.cursor()).toBe(batch.cursor);
      expect(projection.head().count).toBe(10);
    },
  );

  test("for want of space it says so, and goes on when there is room", () => {
    let isFull = false;
    const feed = createTestFeed();
    const { projection } = openAudit(undefined, {
      faults(point) {
        if (isFull && point === "commit") {
          throw Object.assign(new Error("full"), { code: "SQLITE_FULL" });
        }
      },
    });
    const batch = feed.batch(feed.order(1));
    isFull = true;
    expect(() => projection.apply(batch)).toThrow(
      expect.objectContaining({ code: "STORAGE_FULL", retry: "later" }),
    );
    isFull = false;
    projection.apply(batch);
    expect(projection.head().count).toBe(5);
  });

  test("a record that is not ours in the next place is damage, not an end of the process", () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    projection.apply(feed.batch(feed.order(1)));
    const insert = `INSERT INTO records SELECT 6, zeroblob(16), topic, part, sequence, type,
      order_id, customer_id, at, stored_at, fault, prev, hash, frame FROM records WHERE seq = 5`;
    tamper(directory, (handle) => handle.run(insert));
    const damaged = expect.objectContaining({ code: "DATA_DAMAGED", retry: "never" });
    expect(() => projection.apply(feed.batch(feed.order(2)))).toThrow(damaged);
    expect(() => openAudit(directory)).toThrow(damaged);
  });
});

describe("the file", () => {
  test("refuses to change or remove a record", () => {
    const feed = createTestFeed();
    const { projection, directory } = openAudit();
    projection.apply(feed.batch(feed.order(1)));
    const handle = new Database(auditPath(directory));
    expect(() => handle.run("UPDATE records SET type = 2")).toThrow("append-only");
    expect(() => handle.run("DELETE FROM records")).toThrow("append-only");
    handle.close(true);
  });

  test("of another format is refused", () => {
    const { directory, projection } = openAudit();
    projection.close();
    tamper(directory, (handle) => handle.run("PRAGMA user_version = 99"));
    expect(() => openAudit(directory)).toThrow(
      expect.objectContaining({ code: "DATA_DAMAGED", message: expect.stringContaining("99") }),
    );
  });

  test("is chained by the documented encoding", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    projection.apply(feed.batch(feed.order(1)));
    let hash: Uint8Array = new Uint8Array(32);
    tamper(directory, (handle) => {
      const rows = handle
        .prepare<never, []>(
          `SELECT seq, identity, topic, part AS "partition", sequence, type, order_id AS orderId,
             customer_id AS customerId, at AS atMs, stored_at AS storedAtMs, fault, frame
           FROM records ORDER BY seq`,
        )
        .all();
      for (const row of rows) hash = recordHash(hash, row);
    });
    expect(projection.head()).toEqual({ count: 5, hash });
  });
});

describe("maintenance", () => {
  test("reports the head while it grows, at most once in a while", () => {
    const heads: number[] = [];
    const feed = createTestFeed();
    const { projection } = openAudit(undefined, { onHead: ({ count }) => void heads.push(count) });
    projection.maintain(0, 10);
    projection.apply(feed.batch(feed.order(1)));
    projection.maintain(1_000, 10);
    projection.apply(feed.batch(feed.order(2)));
    projection.maintain(2_000, 10);
    projection.maintain(61_000, 10);
    projection.maintain(200_000, 10);
    expect(heads).toEqual([5, 10]);
  });

  test("keeps everything findable and the chain whole", async () => {
    const feed = createTestFeed();
    const { directory, projection } = openAudit();
    for (let number = 0; number < 40; number++) {
      projection.apply(feed.batch(feed.order(number)));
      projection.maintain(number, 5);
    }
    const reads = readsOf(directory);
    const terms = [{ words: ["ref17"], isPrefix: false }];
    expect((await reads.search({ limit: 5, terms })).records).toHaveLength(1);
    expect(await reads.verify(EVERYTHING)).toMatchObject({ verified: 200, upToSeq: 200 });
  });

  test("after close everything is refused, and closing again is not", () => {
    const { projection } = openAudit();
    projection.close();
    projection.close();
    const closed = expect.objectContaining({ code: "CLOSED" });
    expect(() => projection.cursor()).toThrow(closed);
    expect(() => projection.apply({ records: [], cursor: "x" })).toThrow(closed);
  });
});

test("an order that nobody can spell into SQL is one order like any other", async () => {
  const feed = createTestFeed();
  const { directory, projection } = openAudit();
  const orderId = `x'; DROP TABLE records; --`;
  projection.apply(feed.batch([feed.event(orderCreated(orderId, `"c"`))]));
  expect(await seqsOf(directory, { orderId, customerId: `"c"` })).toEqual([1]);
});
