/**
 * The schema's history as files, in dbmate's format: `0001_name.sql` with `-- migrate:up` and
 * `-- migrate:down`.
 *
 * Reads them and says what is to be done to a database that says what was done to it; touches no
 * database. Refuses a file without both halves, and numbers that are not 1, 2, 3, …
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { assert, ShopError } from "../../../runtime/errors.ts";

export interface Migration {
  /** As in the file's name: "0001". */
  readonly version: string;
  readonly name: string;
  readonly up: string;
  readonly down: string;
  /** Of the whole file. */
  readonly digest: string;
}

/** What the database says of one that was applied; of dbmate it knows no more than the version. */
export interface AppliedMigration {
  readonly version: string;
  readonly name: string | null;
  readonly digest: string | null;
}

const DIRECTORY = join(import.meta.dir, "migrations");
const FILE_NAME = /^(\d{4})_([a-z0-9_]+)\.sql$/;
const HALVES = /^-- migrate:up[^\n]*\n([^]*?)^-- migrate:down[^\n]*\n([^]*)$/m;

/** All migrations this program knows, in their order. */
export function readMigrations(directory: string = DIRECTORY): readonly Migration[] {
  const migrations = readdirSync(directory)
    .filter((file) => file.endsWith(".sql"))
    .sort()
    .map((file) => parseMigration(file, readFileSync(join(directory, file), "utf8")));
  migrations.forEach(({ version, name }, index) => {
    assert(Number(version) === index + 1, `migration ${version}_${name} is number ${index + 1}`);
  });
  return migrations;
}

/** Throws `InvariantError`: the files are part of the program. */
export function parseMigration(file: string, text: string): Migration {
  const [, version, name] = FILE_NAME.exec(file) ?? [];
  assert(version !== undefined && name !== undefined, `${file} is not named 0001_like_this.sql`);
  const [, up, down] = HALVES.exec(text) ?? [];
  assert(up !== undefined && down !== undefined, `${file} has no migrate:up and migrate:down`);
  const digest = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  return { version, name, up, down, digest };
}

/**
 * Those that are still to be applied. Throws `SERVER_UNUSABLE` for a database that is newer than
 * this program, or whose history is another one.
 */
export function missingMigrations(
  known: readonly Migration[],
  applied: readonly AppliedMigration[],
): readonly Migration[] {
  const ordered = [...applied].sort((left, right) => (left.version < right.version ? -1 : 1));
  ordered.forEach(({ version, name, digest }, index) => {
    const migration = known[index];
    const last = known.at(-1)?.version ?? "none";
    if (migration === undefined) {
      throw unusable(`its schema is at migration ${version}; this program knows up to ${last}`);
    }
    if (migration.version !== version || (name !== null && name !== migration.name)) {
      const own = `${migration.version}_${migration.name}`;
      throw unusable(`migration ${version}_${name ?? "?"} was applied where this one has ${own}`);
    }
    if (digest !== null && digest !== migration.digest) {
      throw unusable(`migration ${version}_${migration.name} was changed after it was applied`);
    }
  });
  return known.slice(ordered.length);
}

function unusable(what: string): ShopError {
  return new ShopError("SERVER_UNUSABLE", `postgres.schema: ${what}`, "never");
}
