/**
 * Settings of the PostgreSQL store: where it is, how long to wait for it, how much at once.
 *
 * Whether the server can be used is found out when the store is opened, not here. The url holds
 * the password, so it is better given as a variable or in a file than as a flag.
 */

import { Type } from "@sinclair/typebox";

import { POSTGRES_DEFAULTS as DEFAULTS } from "../../actors/stores/postgres/postgres-options.ts";
import { group, integer, KIB, MIB, MINUTE_MS, SECOND_MS, text } from "./setting-types.ts";

const START_MAX_MS = 10 * SECOND_MS;

export const PostgresGroup = group({
  url: text(DEFAULTS.url, "postgres://user:password@host:port/database; ?sslmode=verify-full: TLS"),
  schema: Type.String({
    pattern: "^[a-z_][a-z0-9_]{0,62}$",
    default: DEFAULTS.schema,
    description: "schema of the tables; made when it is missing",
  }),
  migrates: Type.Boolean({
    default: DEFAULTS.migrates,
    description: "apply missing migrations at start; without, an older schema is refused",
  }),
  readersMax: integer(1, 100, DEFAULTS.readersMax, "connections of one thread for reading"),
  connectTimeoutMs: integer(
    100,
    START_MAX_MS,
    DEFAULTS.connectTimeoutMs,
    "to connect to the server",
  ),
  statementTimeoutMs: integer(
    100,
    10 * MINUTE_MS,
    DEFAULTS.statementTimeoutMs,
    "after which the server gives up on a statement",
  ),
  commitWaitMs: integer(
    100,
    10 * MINUTE_MS,
    DEFAULTS.commitWaitMs,
    "how long a change waits for a server that does not answer",
  ),
  gatherMs: integer(0, SECOND_MS, DEFAULTS.gatherMs, "under load, least time between transactions"),
  batchUnitsMax: integer(1, 10_000, DEFAULTS.batchUnitsMax, "units of work of one transaction"),
  batchBytesMax: integer(64 * KIB, 256 * MIB, DEFAULTS.batchBytesMax, "their rows and frames"),
  queueUnitsMax: integer(16, 1_000_000, DEFAULTS.queueUnitsMax, "units that wait; above: 503"),
  queueBytesMax: integer(MIB, 1_024 * MIB, DEFAULTS.queueBytesMax, "their rows and frames"),
});
