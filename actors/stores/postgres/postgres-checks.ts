/**
 * Whether a server can be used, and how to say that it cannot.
 *
 * Only decisions on what was read or thrown; nothing here talks to a server. Every refusal is a
 * `SERVER_UNUSABLE` that names the setting and what would be right, and never the password.
 */

import type { PostgresSettings } from "./postgres-options.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";
import { failureText } from "./postgres-failure.ts";

const VERSION_MIN = 13;

export const READ_SERVER = `SELECT current_setting('server_version') AS version,
  current_setting('server_version_num')::int AS number, pg_is_in_recovery() AS "isStandby",
  current_setting('fsync') AS fsync, current_setting('full_page_writes') AS "fullPageWrites",
  current_setting('synchronous_commit') AS "synchronousCommit",
  current_setting('server_encoding') AS encoding`;

/** `$1`: the schema. */
export const READ_RIGHTS = `SELECT current_user AS "user", current_database() AS database,
  to_regnamespace(quote_ident($1)) IS NOT NULL AS "hasSchema",
  coalesce(has_schema_privilege(to_regnamespace(quote_ident($1))::oid, 'CREATE'),
    has_database_privilege(current_database(), 'CREATE')) AS "mayCreate",
  coalesce(has_schema_privilege(to_regnamespace(quote_ident($1))::oid, 'USAGE'), true)
    AS "mayUse"`;

export interface ServerFacts {
  readonly version: string;
  readonly number: number;
  readonly isStandby: boolean;
  readonly fsync: string;
  readonly fullPageWrites: string;
  readonly synchronousCommit: string;
  readonly encoding: string;
}

export interface RightsFacts {
  readonly user: string;
  readonly database: string;
  readonly hasSchema: boolean;
  readonly mayCreate: boolean;
  readonly mayUse: boolean;
}

/** What is to be warned of. Throws `SERVER_UNUSABLE`. */
export function checkServer(facts: ServerFacts): readonly string[] {
  const { version, number, isStandby, encoding } = facts;
  if (number < VERSION_MIN * 10_000) {
    const wanted = `needed is ${VERSION_MIN} or later`;
    throw unusableUrl("postgres.url", `the server is PostgreSQL ${version}, ${wanted}`);
  }
  if (isStandby) {
    throw unusableUrl("postgres.url", "the server is a standby and read-only; name the primary");
  }
  if (encoding !== "UTF8") {
    throw unusableUrl("postgres.url", `the database's encoding is ${encoding}, needed is UTF8`);
  }
  const risks: string[] = [];
  if (facts.fsync !== "on") risks.push("fsync=off: a crash of its machine destroys the data");
  if (facts.fullPageWrites !== "on") risks.push("full_page_writes=off: so may a crash");
  if (facts.synchronousCommit === "off") {
    risks.push("synchronous_commit=off: a crash of the server loses orders that were accepted");
  }
  return risks.map((risk) => `the server runs with ${risk}`);
}

/** Throws `SERVER_UNUSABLE`. */
export function checkRights(facts: RightsFacts, settings: PostgresSettings): void {
  const { user, database, hasSchema, mayCreate, mayUse } = facts;
  const { schema, migrates } = settings;
  const who = `user "${user}"`;
  if (!hasSchema && !migrates) {
    throw unusableUrl("postgres.schema", `there is no schema "${schema}" in "${database}"`);
  }
  if (migrates && !mayCreate) {
    const right = hasSchema
      ? `GRANT CREATE ON SCHEMA ${schema} TO ${user}`
      : `GRANT CREATE ON DATABASE ${database} TO ${user}`;
    throw unusableUrl("postgres.url", `${who} may not make tables in "${schema}"; ${right}`);
  }
  if (!mayUse) {
    const right = `GRANT USAGE ON SCHEMA ${schema} TO ${user}`;
    throw unusableUrl("postgres.url", `${who} may not use schema "${schema}"; ${right}`);
  }
}

/** Throws `SERVER_UNUSABLE`. */
export function checkSlots(stored: number, slots: number): void {
  if (stored === slots) return;
  const fixed = `slots is fixed for the life of the data: it is ${stored}, not ${slots}`;
  throw unusableUrl("postgres.url", fixed);
}

/** `host:port` of a url. Throws `SERVER_UNUSABLE` when it is none. */
export function serverAddress(url: string): string {
  return `${parsed(url).hostname}:${parsed(url).port || "5432"}`;
}

/** Why a connection could not be had, by its code. */
export function unusableServer(
  { url, connectTimeoutMs }: PostgresSettings,
  code: string | undefined,
  cause: unknown,
): ShopError {
  const { username, pathname, hostname } = parsed(url);
  const address = serverAddress(url);
  const user = decodeURIComponent(username);
  const texts: Readonly<Record<string, string>> = {
    CONNECT_TIMEOUT: `nothing answers at ${address} within ${connectTimeoutMs} ms`,
    ECONNREFUSED: `nothing answers at ${address} (ECONNREFUSED)`,
    ENOTFOUND: `there is no host named ${hostname}`,
    EAI_AGAIN: `the name of host ${hostname} cannot be resolved now`,
    "28P01": `the server refuses user "${user}" (wrong password?)`,
    "28000": `the server does not let user "${user}" in (its pg_hba.conf decides)${hintOf(url)}`,
    "3D000": `there is no database "${decodeURIComponent(pathname.slice(1))}"; create it first`,
    "42501": `user "${user}" lacks a right: ${failureText(cause)}`,
    "53300": "the server has no connection left; raise its max_connections",
    "57P03": "the server is still starting up, or going down",
  };
  const known = code === undefined ? undefined : texts[code];
  const text = known ?? tlsFault([cause], address) ?? failureText(cause);
  return new ShopError("SERVER_UNUSABLE", `postgres.url: ${text}`, "never", { cause });
}

/** Its rules may be for encrypted connections alone. */
function hintOf(url: string): string {
  return /[?&]sslmode=(?!disable)/.test(url) ? "" : "; ?sslmode=verify-full where it wants TLS";
}

/** `setting`: what it is about, by name. */
export function unusableUrl(setting: string, text: string): ShopError {
  return new ShopError("SERVER_UNUSABLE", `${setting}: ${text}`, "never");
}

function parsed(url: string): URL {
  const result = URL.parse(url);
  if (result !== null && /^postgres(ql)?:$/.test(result.protocol) && result.hostname !== "") {
    return result;
  }
  throw unusableUrl("postgres.url", "not of the form postgres://user:password@host:5432/database");
}
