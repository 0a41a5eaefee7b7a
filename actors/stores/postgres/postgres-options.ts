/**
 * What the PostgreSQL store can be told: where the server is, and how long and how much.
 *
 * Plain data that may be sent to another thread. The bounds of each are in the gateway's settings;
 * nothing here is checked again. The url holds the password: it is never part of a message.
 */

export interface PostgresSettings {
  /** postgres://user:password@host:port/database, with ?sslmode=verify-full for TLS. */
  readonly url: string;
  /** Where the tables are; made when it is missing. */
  readonly schema: string;
  /** Whether missing migrations are applied at start; without, an older schema is refused. */
  readonly migrates: boolean;
  /** Connections of one thread for reading. Each store has one more, to write. */
  readonly readersMax: number;
  readonly connectTimeoutMs: number;
  /** After which the server gives up on a statement. */
  readonly statementTimeoutMs: number;
  /** How long a unit waits for a server that does not answer, until its caller is told. */
  readonly commitWaitMs: number;
  /**
   * Under load, the least time from the begin of one transaction to the next, so that they are
   * fewer and larger; 0: as many as the server takes. Nobody waits at rest.
   */
  readonly gatherMs: number;
  /** Units of one transaction, and bytes of their rows and frames. */
  readonly batchUnitsMax: number;
  readonly batchBytesMax: number;
  /** Units that wait for their transaction; beyond, a commit is refused with SATURATED. */
  readonly queueUnitsMax: number;
  readonly queueBytesMax: number;
}

export const POSTGRES_DEFAULTS: PostgresSettings = {
  url: "postgres://shopstream@127.0.0.1:5432/shopstream",
  schema: "shopstream",
  migrates: true,
  readersMax: 2,
  connectTimeoutMs: 5_000,
  statementTimeoutMs: 10_000,
  commitWaitMs: 10_000,
  gatherMs: 10,
  batchUnitsMax: 512,
  batchBytesMax: 4 * 1024 * 1024,
  queueUnitsMax: 8_192,
  queueBytesMax: 64 * 1024 * 1024,
};
