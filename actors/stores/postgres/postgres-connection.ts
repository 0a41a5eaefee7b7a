/**
 * The way to one PostgreSQL database: checked at start, watched while running.
 *
 * Refuses to start on a server that cannot be used (not there, another password, too old, read
 * only, no rights, a schema of another program or version, other slots), in one line that names
 * the setting and what would be right. Once it runs, an outage is told and waited out.
 */

import type { Sql } from "postgres";

import postgres from "postgres";

import type { Environment } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../../brokers/broker.ts";
import type { RightsFacts, ServerFacts } from "./postgres-checks.ts";
import type { PostgresSettings } from "./postgres-options.ts";

import { assert, isShopError } from "../../../runtime/errors.ts";
import { OutageWatch } from "./outage-watch.ts";
import { migrateUp, pendingMigrations } from "./migration-runner.ts";
import { encryptionOf } from "./postgres-encryption.ts";
import { errorCode } from "./postgres-failure.ts";
import {
  checkRights,
  checkServer,
  checkSlots,
  READ_SERVER,
  READ_RIGHTS,
  serverAddress,
  unusableServer,
  unusableUrl,
} from "./postgres-checks.ts";
import { ServerLink } from "./server-link.ts";

export type LogLevel = "debug" | "info" | "warning";

export interface PostgresOptions {
  readonly environment: Environment;
  /** Fixed for the life of the data. */
  readonly slots: number;
  readonly onConnection?: (state: ConnectionState) => void;
  readonly onLog?: (level: LogLevel, text: string) => void;
}

export interface Postgres {
  readonly settings: PostgresSettings;
  readonly environment: Environment;
  /**
   * A client of its own, with up to `connectionsMax` connections; ended by `close`. It connects
   * anew by itself; whoever uses it decides how long to wait for an answer.
   */
  client(connectionsMax: number): Sql;
  /** A connection to write through; closed by `close`. */
  writerLink(): ServerLink;
  /** `work` on the connections for reading; rejects when there is no answer in time. */
  reading<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result>;
  /** Ends all clients; what is in flight has two seconds. Idempotent. */
  close(): Promise<void>;
}

/** A server that is starting up is waited for. */
const STARTING_UP = "57P03";
const START_WAIT_MS = 8_000;
const START_PAUSE_MS = 200;
const CLOSE_SECONDS = 2;
/** A writer that stops in the middle of a transaction must not hold rows that others want. */
const IDLE_TRANSACTION_MS = 5_000;
const KEEP_ALIVE_SECONDS = 15;

/** Rejects with `SERVER_UNUSABLE`, within ten seconds. */
export async function openPostgres(
  settings: PostgresSettings,
  options: PostgresOptions,
): Promise<Postgres> {
  await onFirstConnection(settings, options, async (sql) => {
    await checkDatabase(sql, settings, options);
    await makeSchema(sql, settings, options);
  });
  return new OpenPostgres(settings, options);
}

/** Only looks: nothing is made. Rejects as `openPostgres` does. */
export async function inspectPostgres(
  settings: PostgresSettings,
  options: Pick<PostgresOptions, "environment">,
): Promise<void> {
  await onFirstConnection(settings, options, (sql) => checkDatabase(sql, settings, {}));
}

async function onFirstConnection(
  settings: PostgresSettings,
  options: Pick<PostgresOptions, "environment" | "onLog">,
  work: (sql: Sql) => Promise<void>,
): Promise<void> {
  serverAddress(settings.url);
  const { warning } = encryptionOf(settings.url);
  if (warning !== undefined) options.onLog?.("warning", warning);
  const first = connect(settings, 1, options);
  try {
    await untilStarted(first, options.environment);
    await work(first);
  } catch (error) {
    if (isShopError(error)) throw error;
    throw unusableServer(settings, errorCode(error), error);
  } finally {
    await first.end({ timeout: 0 });
  }
}

async function untilStarted(sql: Sql, environment: Environment): Promise<void> {
  const deadlineMs = environment.monotonicMs() + START_WAIT_MS;
  for (;;) {
    try {
      await sql.unsafe("SELECT 1");
      return;
    } catch (error) {
      if (errorCode(error) !== STARTING_UP || environment.monotonicMs() > deadlineMs) throw error;
      await new Promise<void>((resolve) => void environment.startTimer(START_PAUSE_MS, resolve));
    }
  }
}

async function checkDatabase(
  sql: Sql,
  settings: PostgresSettings,
  { onLog }: Pick<PostgresOptions, "onLog">,
): Promise<void> {
  const [server] = await sql.unsafe<ServerFacts[]>(READ_SERVER);
  assert(server !== undefined, "a query without a table has one row");
  for (const warning of checkServer(server)) onLog?.("warning", warning);
  const [rights] = await sql.unsafe<RightsFacts[]>(READ_RIGHTS, [settings.schema]);
  assert(rights !== undefined, "a query without a table has one row");
  checkRights(rights, settings);
}

async function makeSchema(
  sql: Sql,
  { schema, migrates }: PostgresSettings,
  { slots, onLog }: PostgresOptions,
): Promise<void> {
  if (migrates) {
    await sql.unsafe(`CREATE SCHEMA IF NOT EXISTS "${schema}"`);
    const applied = await migrateUp(sql);
    if (applied.length > 0) onLog?.("info", `migrations applied: ${applied.join(", ")}`);
  } else {
    const pending = await pendingMigrations(sql);
    if (pending.length > 0) {
      throw unusableUrl("postgres.migrates", `migrations ${pending.join(", ")} are missing`);
    }
  }
  await sql`INSERT INTO meta (name, value) VALUES ('slots', ${`${slots}`}) ON CONFLICT DO NOTHING`;
  const [meta] = await sql<{ value: string }[]>`SELECT value FROM meta WHERE name = 'slots'`;
  checkSlots(Number(meta?.value), slots);
}

function connect(
  settings: PostgresSettings,
  connectionsMax: number,
  { onLog }: Pick<PostgresOptions, "onLog">,
): Sql {
  const { schema, connectTimeoutMs, statementTimeoutMs } = settings;
  const { url, ssl } = encryptionOf(settings.url);
  return postgres(url, {
    ssl,
    max: connectionsMax,
    connect_timeout: connectTimeoutMs / 1_000,
    keep_alive: KEEP_ALIVE_SECONDS,
    // Who waits decides how long; a client that waits by itself would answer late.
    backoff: () => 0,
    max_lifetime: null,
    connection: {
      application_name: "shopstream",
      search_path: `"${schema}"`,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: IDLE_TRANSACTION_MS,
      client_min_messages: "warning",
    },
    onnotice: ({ message }) => onLog?.("debug", `${message}`),
  });
}

class OpenPostgres implements Postgres {
  readonly settings: PostgresSettings;
  readonly environment: Environment;
  readonly #options: PostgresOptions;
  readonly #watch: OutageWatch;
  readonly #readers: ServerLink;
  readonly #clients: Sql[] = [];
  readonly #links: ServerLink[] = [];

  constructor(settings: PostgresSettings, options: PostgresOptions) {
    this.settings = settings;
    this.environment = options.environment;
    this.#options = options;
    this.#watch = new OutageWatch({
      environment: options.environment,
      probe: () => this.reading((sql) => sql.unsafe("SELECT 1")),
      onConnection: options.onConnection,
    });
    this.#readers = this.#link(settings.readersMax);
  }

  client(connectionsMax: number): Sql {
    const client = connect(this.settings, connectionsMax, this.#options);
    this.#clients.push(client);
    return client;
  }

  writerLink(): ServerLink {
    return this.#link(1);
  }

  reading<Result>(work: (sql: Sql) => Promise<Result>): Promise<Result> {
    return this.#readers.within(work);
  }

  async close(): Promise<void> {
    this.#watch.close();
    await Promise.all([
      ...this.#links.map((link) => link.close()),
      ...this.#clients.map((client) => client.end({ timeout: CLOSE_SECONDS })),
    ]);
  }

  #link(connectionsMax: number): ServerLink {
    const link = new ServerLink({
      environment: this.environment,
      watch: this.#watch,
      connect: () => connect(this.settings, connectionsMax, this.#options),
      answerMs: this.settings.statementTimeoutMs + this.settings.connectTimeoutMs,
    });
    this.#links.push(link);
    return link;
  }
}
