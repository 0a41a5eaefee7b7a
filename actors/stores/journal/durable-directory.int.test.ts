/** Who may read what the shop keeps: its owner, unless somebody decided otherwise before. */

import { afterAll, expect, test } from "bun:test";

import { chmodSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { makeDurableDirectory, makePrivateFile } from "./durable-directory.ts";
import {
  commitOne,
  makeDirectory,
  openTestJournal,
  removeDirectories,
  stockRow,
  unitOf,
} from "./journal.fixture.ts";
import { journalPath } from "./journal.ts";

afterAll(removeDirectories);

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

test("a data directory and the journal in it are their owner's alone, logs included", () => {
  const directory = join(makeDirectory(), "new", "data");
  const journal = openTestJournal(directory);
  commitOne(journal, unitOf({ rows: [stockRow("p", 0)] }));
  const files = readdirSync(directory).filter((name) => name.startsWith("journal.db"));
  expect(files.toSorted()).toEqual(["journal.db", "journal.db-shm", "journal.db-wal"]);
  expect(modeOf(directory)).toBe("700");
  for (const name of files) expect([name, modeOf(join(directory, name))]).toEqual([name, "600"]);
  journal.close();
});

test("a directory and files that are there keep their rights and their content", () => {
  const directory = makeDirectory();
  const journal = openTestJournal(directory);
  commitOne(journal, unitOf({ rows: [stockRow("p", 0)] }));
  journal.close();
  chmodSync(directory, 0o750);
  chmodSync(journalPath(directory), 0o640);
  makeDurableDirectory(directory);
  const again = openTestJournal(directory);
  expect(again.load("stock", ["p"])[0]).toMatchObject({ version: 1 });
  again.close();
  expect([modeOf(directory), modeOf(journalPath(directory))]).toEqual(["750", "640"]);
});

test("a place where no file can be made is left to SQLite to refuse", () => {
  expect(() => makePrivateFile(join(makeDirectory(), "missing", "x.db"))).not.toThrow();
});
