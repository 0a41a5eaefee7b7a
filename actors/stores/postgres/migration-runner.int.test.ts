/**
 * The schema on a real server: forward, back, forward again, and the same as before.
 *
 * And who may not be used: another history, a newer schema, a server that is not there.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { Sql } from "postgres";

import postgresClient from "postgres";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { PostgresSettings } from "./postgres-options.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { readMigrations } from "./migration-files.ts";
import { migrateDown, migrateUp, pendingMigrations } from "./migration-runner.ts";
import { openPostgres } from "./postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "./postgres-options.ts";

const missing = whyMissing("postgres");
const PASSWORD = "not to be printed";
const VERSIONS = readMigrations().map(({ version }) => version);

let server: TestServer;
let admin: Sql;
const clients: Sql[] = [];

async function client(schema: string): Promise<Sql> {
  await admin.unsafe(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
  const sql = postgresClient(server.url, {
    max: 2,
    connection: { search_path: schema },
    onnotice: () => {},
  });
  clients.push(sql);
  return sql;
}

/** Everything that a schema is made of, as text. */
async function dump(schema: string): Promise<readonly string[]> {
  const rows = await admin<{ line: string }[]>`
    SELECT format('column %s.%s %s %s %s', c.relname, a.attname,
      format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text) AS line
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ${schema} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r'
    UNION ALL SELECT format('options %s %s', c.relname, c.reloptions::text)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ${schema}
    UNION ALL SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = ${schema}
    UNION ALL SELECT format('constraint %s %s', conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE n.nspname = ${schema}
    UNION ALL SELECT format('function %s', pg_get_functiondef(p.oid))
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ${schema}
    ORDER BY line`;
  return rows.map(({ line }) => line);
}

function open(overrides: Partial<PostgresSettings>, slots = 4) {
  const settings = { ...POSTGRES_DEFAULTS, url: server.url, ...overrides };
  return openPostgres(settings, { environment, slots });
}

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))("schema", () => {
  beforeAll(async () => {
    server = await startTestServer("postgres", { password: PASSWORD });
    admin = postgresClient(server.url, { max: 2, onnotice: () => {} });
  });
  afterAll(async () => {
    await Promise.all([...clients, admin].map((sql) => sql.end({ timeout: 1 })));
    await server.dispose();
  });

  describe("migrations", migrationCases);
  describe("a start", startCases);
});

function migrationCases(): void {
  test("go forward, back and forward again, and the schema is the same as before", async () => {
    const sql = await client("forth");
    expect(await pendingMigrations(sql)).toEqual(VERSIONS);
    expect(await migrateUp(sql)).toEqual(VERSIONS);
    const first = await dump("forth");
    expect(first.length).toBeGreaterThan(50);
    expect(await migrateUp(sql)).toEqual([]);
    expect(await migrateDown(sql, VERSIONS.length)).toEqual(VERSIONS.toReversed());
    const empty = await dump("forth");
    expect(empty.filter((line) => !line.includes("schema_migrations"))).toEqual([]);
    expect(await migrateUp(sql)).toEqual(VERSIONS);
    expect(await dump("forth")).toEqual([...first]);
  });

  test("go back one by one, each to the schema that was before it", async () => {
    const sql = await client("steps");
    const known = readMigrations();
    const dumps: (readonly string[])[] = [];
    for (let count = 1; count <= known.length; count++) {
      await migrateUp(sql, known.slice(0, count));
      dumps.push(await dump("steps"));
    }
    for (let count = known.length - 1; count >= 1; count--) {
      expect(await migrateDown(sql, 1)).toEqual([known[count]?.version ?? ""]);
      expect(await dump("steps")).toEqual([...(dumps[count - 1] ?? [])]);
    }
  });

  test("of many processes at once are applied once", async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => client("crowd")));
    const applied = await Promise.all(all.map((sql) => migrateUp(sql)));
    expect(applied.flat().sort()).toEqual([...VERSIONS]);
  });

  test("that fail leave nothing, and the next try goes on from there", async () => {
    const sql = await client("broken");
    const [core] = readMigrations();
    const bad = { version: "0002", name: "bad", up: "CREATE TABLE t (); SELECT 1/0", down: "" };
    const known = [...(core === undefined ? [] : [core]), { ...bad, digest: "d" }];
    expect(migrateUp(sql, known)).rejects.toMatchObject({ code: "22012" });
    expect(await pendingMigrations(sql, known)).toEqual(["0002"]);
    const [table] = await sql`SELECT to_regclass('t') AS found`;
    expect(table?.["found"]).toBeNull();
  });
}

function startCases(): void {
  const UNUSABLE = { code: "SERVER_UNUSABLE", retry: "never" };
  const refusal = async (overrides: Partial<PostgresSettings>, slots?: number): Promise<string> => {
    const error = await open(overrides, slots).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    expect(error).toMatchObject(UNUSABLE);
    const text = error instanceof Error ? error.message : "";
    expect(text).not.toContain(PASSWORD);
    expect(text).not.toContain(encodeURIComponent(PASSWORD));
    return text;
  };
  const changed = (change: (url: URL) => void): string => {
    const url = new URL(server.url);
    change(url);
    return url.href;
  };

  test("without a server, a user, a password or a database says which", async () => {
    const nobody = changed((url) => (url.port = "1"));
    expect(await refusal({ url: nobody })).toBe(
      "postgres.url: nothing answers at 127.0.0.1:1 (ECONNREFUSED)",
    );
    const wrong = changed((url) => (url.password = "wrong"));
    expect(await refusal({ url: wrong })).toBe(
      'postgres.url: the server refuses user "shopstream" (wrong password?)',
    );
    const stranger = changed((url) => (url.username = "stranger"));
    expect(await refusal({ url: stranger })).toContain('user "stranger"');
    const nowhere = changed((url) => (url.pathname = "/nowhere"));
    expect(await refusal({ url: nowhere })).toContain('there is no database "nowhere"');
    expect(await refusal({ url: "postgres://" })).toContain("not of the form");
  });

  test("of a server that does not answer ends in time", async () => {
    server.pause();
    const text = refusal({ connectTimeoutMs: 300 });
    await text.finally(() => server.resume());
    expect(await text).toContain("within 300 ms");
  });

  test("with a schema of another version or without rights is refused", async () => {
    await (await open({ schema: "used" })).close();
    await admin`INSERT INTO used.schema_migrations (version) VALUES ('9999')`;
    expect(await refusal({ schema: "used" })).toContain("its schema is at migration 9999");
    await admin`DELETE FROM used.schema_migrations WHERE version = '9999'`;
    expect(await refusal({ schema: "used" }, 5)).toContain("it is 4, not 5");
    const last = VERSIONS.at(-1) ?? "";
    await admin`DELETE FROM used.schema_migrations WHERE version = ${last}`;
    expect(await refusal({ schema: "used", migrates: false })).toBe(
      `postgres.migrates: migrations ${last} are missing`,
    );
    await admin.unsafe(`CREATE ROLE guest LOGIN PASSWORD 'guest'`);
    const guest = changed((url) => {
      url.username = "guest";
      url.password = "guest";
    });
    expect(await refusal({ url: guest, schema: "fresh" })).toContain("GRANT CREATE ON DATABASE");
    expect(await refusal({ url: guest, schema: "used" })).toContain("GRANT CREATE ON SCHEMA");
  });

  test("on a table that dbmate made goes on from its version", async () => {
    const sql = await client("dbmate");
    const [core] = readMigrations();
    await sql.unsafe("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)");
    await sql.unsafe(core?.up ?? "");
    await sql`INSERT INTO schema_migrations (version) VALUES ('0001')`;
    expect(await migrateUp(sql)).toEqual(VERSIONS.slice(1));
    await (await open({ schema: "dbmate" })).close();
  });
}
