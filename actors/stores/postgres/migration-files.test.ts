/** The schema's history: which migrations are missing, and which databases are refused. */

import { describe, expect, test } from "bun:test";

import type { AppliedMigration, Migration } from "./migration-files.ts";

import { missingMigrations, parseMigration, readMigrations } from "./migration-files.ts";

const migration = (version: string, name: string): Migration => {
  return { version, name, up: "", down: "", digest: `digest ${name}` };
};
const KNOWN = [migration("0001", "core"), migration("0002", "relays")];
const applied = (...of: readonly Migration[]): AppliedMigration[] =>
  of.map(({ version, name, digest }) => ({ version, name, digest }));
const [first, second] = KNOWN.map((each) => [each]);

describe("a file", () => {
  test("has both halves, in dbmate's words", () => {
    const text =
      "-- comment\n-- migrate:up\nCREATE TABLE a ();\n\n-- migrate:down\nDROP TABLE a;\n";
    expect(parseMigration("0001_core.sql", text)).toMatchObject({
      version: "0001",
      name: "core",
      up: "CREATE TABLE a ();\n\n",
      down: "DROP TABLE a;\n",
    });
    expect(() => parseMigration("core.sql", text)).toThrow("0001_like_this");
    expect(() => parseMigration("0001_core.sql", "-- migrate:up\nx")).toThrow("migrate:down");
  });

  test("of this program is there for each number", () => {
    const versions = readMigrations().map(({ version }) => Number(version));
    expect(versions).toEqual(versions.map((_, index) => index + 1));
    expect(versions.length).toBeGreaterThan(0);
  });
});

describe("a database", () => {
  test("lacks what was not applied to it", () => {
    expect(missingMigrations(KNOWN, [])).toEqual(KNOWN);
    expect(missingMigrations(KNOWN, applied(...(first ?? [])))).toEqual(second ?? []);
    expect(missingMigrations(KNOWN, applied(...KNOWN).toReversed())).toEqual([]);
  });

  test("that dbmate brought forward is taken by its versions", () => {
    const plain = [{ version: "0001", name: null, digest: null }];
    expect(missingMigrations(KNOWN, plain)).toEqual(second ?? []);
  });

  test("that is newer, or of another history, is refused", () => {
    const newer = applied(...KNOWN, migration("0003", "later"));
    expect(() => missingMigrations(KNOWN, newer)).toThrow(
      "its schema is at migration 0003; this program knows up to 0002",
    );
    const renamed = applied(migration("0001", "other"));
    expect(() => missingMigrations(KNOWN, renamed)).toThrow("0001_other was applied");
    const changed = [{ version: "0001", name: "core", digest: "another" }];
    expect(() => missingMigrations(KNOWN, changed)).toThrow("changed after it was applied");
    expect(() => missingMigrations(KNOWN, applied(...(second ?? [])))).toThrow("0002_relays");
  });
});
