/** The read side: sees every acknowledged commit, in pages, from any thread, and no bad row. */

import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { OrderQuery, Row } from "./unit-of-work.ts";

import { openJournalReads } from "./journal-reads.ts";
import {
  commitOne,
  makeDirectory,
  openTestJournal,
  orderRow,
  removeDirectories,
  stockRow,
  tamper,
  unitOf,
} from "./journal/journal.fixture.ts";

afterAll(removeDirectories);

const keysOf = (rows: readonly Row[]) => rows.map(({ key }) => key);

test("every commit is seen as soon as it was acknowledged", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory, { tuning: { walFramesSoft: 20 } });
  const reads = openJournalReads(directory);
  expect(await reads.stock("p")).toBeUndefined();
  for (let version = 0; version < 50; version++) {
    commitOne(journal, unitOf({ rows: [stockRow("p", version), orderRow("o", version)] }));
    expect(await reads.stock("p")).toMatchObject({ key: "p", version: version + 1 });
    expect(await reads.order("o")).toEqual({
      key: "o",
      version: version + 1,
      data: orderRow("o", version).data,
    });
    journal.maintain();
  }
  expect(journal.stats().checkpoints).toBeGreaterThan(0);
  expect(await reads.load("stock", ["q", "p"])).toMatchObject([undefined, { version: 50 }]);
  reads.close();
  journal.close();
});

test("orders come newest first in pages without gaps or repeats, by any filter", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  const made = Array.from({ length: 60 }, (_, index) => ({
    key: `o${(index * 37) % 60}`.padEnd(4, "-"),
    customerId: `c${index % 3}`,
    status: index % 2 === 0 ? "pending" : "shipped",
    // Several orders share a millisecond: then the key decides.
    createdAtMs: 1_000 + Math.floor(index / 5),
  }));
  const rows = made.map(({ key, ...columns }) => orderRow(key, 0, columns));
  commitOne(journal, unitOf({ rows }));
  const reads = openJournalReads(directory);
  const newestFirst = made.toSorted(
    (a, b) => b.createdAtMs - a.createdAtMs || (a.key < b.key ? 1 : -1),
  );
  const filters = [{}, { customerId: "c1" }, { status: "shipped" }] as const;
  for (const filter of [...filters, { customerId: "c2", status: "pending" }]) {
    const expected = newestFirst.filter((order) =>
      Object.entries(filter).every(([name, value]) =>
        Object.entries(order).some(([n, v]) => n === name && v === value),
      ),
    );
    for (const limit of [1, 7, 60]) {
      const seen: string[] = [];
      let after: OrderQuery["after"];
      for (;;) {
        const page = keysOf(await reads.orders({ ...filter, limit, ...(after && { after }) }));
        seen.push(...page);
        const last = made.find(({ key }) => key === page.at(-1));
        if (last === undefined) break;
        after = { createdAtMs: last.createdAtMs, key: last.key };
      }
      expect(seen).toEqual(expected.map(({ key }) => key));
    }
  }
  reads.close();
  journal.close();
});

test("a changed status moves an order from one list to the other", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  commitOne(journal, unitOf({ rows: [orderRow("o", 0, { status: "pending" })] }));
  commitOne(journal, unitOf({ rows: [orderRow("o", 1, { status: "shipped" })] }));
  const reads = openJournalReads(directory);
  expect(await reads.orders({ status: "pending", limit: 9 })).toEqual([]);
  expect(keysOf(await reads.orders({ status: "shipped", limit: 9 }))).toEqual(["o"]);
  reads.close();
  journal.close();
});

test("a timeline comes oldest entry first, after the version asked for", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  const timeline = [3, 1, 2].map((version) => ({
    orderId: "o",
    version,
    type: `type-${version}`,
    atMs: version * 10,
    data: Uint8Array.of(version),
  }));
  const others = timeline.map((entry) => ({ ...entry, orderId: "other" }));
  commitOne(journal, unitOf({ timeline: [...timeline, ...others] }));
  const reads = openJournalReads(directory);
  const inOrder = timeline.toSorted((a, b) => a.version - b.version);
  expect(await reads.timeline("o", 0)).toEqual(inOrder);
  expect(await reads.timeline("o", 2)).toEqual(inOrder.slice(2));
  expect(await reads.timeline("none", 0)).toEqual([]);
  reads.close();
  journal.close();
});

test("damaged rows and entries reject by name instead of being returned", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  const entry = { orderId: "o", version: 1, type: "t", atMs: 1, data: Uint8Array.of(1) };
  commitOne(journal, unitOf({ rows: [orderRow("o", 0), stockRow("p", 0)], timeline: [entry] }));
  journal.close();
  tamper(
    directory,
    "UPDATE orders SET status = 'shipped'",
    "UPDATE stock SET version = 2",
    "UPDATE timeline SET data = x'02'",
  );
  const reads = openJournalReads(directory);
  const damaged = (text: string) =>
    expect.objectContaining({ code: "DATA_DAMAGED", message: expect.stringContaining(text) });
  await expect(reads.order("o")).rejects.toEqual(damaged("row o of table orders"));
  await expect(reads.orders({ limit: 1 })).rejects.toEqual(damaged("row o of table orders"));
  await expect(reads.stock("p")).rejects.toEqual(damaged("row p of table stock"));
  await expect(reads.timeline("o", 0)).rejects.toEqual(damaged("timeline of o"));
  reads.close();
});

test("a page without bound is refused", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  const reads = openJournalReads(directory);
  for (const limit of [0, 1_001, Number.NaN]) {
    await expect(reads.orders({ limit })).rejects.toThrow(`a page of ${limit} orders`);
  }
  reads.close();
  journal.close();
});

test("without a journal reading fails at once, and after close it is refused", async () => {
  const directory = makeDirectory();
  expect(() => openJournalReads(directory)).toThrow(
    expect.objectContaining({ code: "STORAGE_FAULT" }),
  );
  openTestJournal(directory).close();
  const reads = openJournalReads(directory);
  reads.close();
  reads.close();
  await expect(reads.order("o")).rejects.toEqual(expect.objectContaining({ code: "CLOSED" }));
});

test("another thread reads what this one commits", async () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  const script = join(directory, "reader.ts");
  writeFileSync(
    script,
    `import { openJournalReads } from ${JSON.stringify(join(import.meta.dir, "journal-reads.ts"))};
     const reads = openJournalReads(${JSON.stringify(directory)});
     onmessage = async ({ data }) => postMessage((await reads.stock(data))?.version ?? 0);
     postMessage("ready");`,
  );
  const worker = new Worker(script);
  const next = () =>
    new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => resolve(data), { once: true });
      worker.addEventListener("error", ({ message }) => reject(new Error(message)), { once: true });
    });
  expect(await next()).toBe("ready");
  for (let version = 0; version < 20; version++) {
    commitOne(journal, unitOf({ rows: [stockRow("p", version)] }));
    const answer = next();
    worker.postMessage("p");
    expect(await answer).toBe(version + 1);
  }
  worker.terminate();
  journal.close();
});
