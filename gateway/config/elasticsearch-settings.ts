/**
 * The settings of the audit on Elasticsearch or OpenSearch: where the server is, how it is talked
 * to, in which indices records are kept and for how long.
 *
 * The defaults are those of `actors/audit/elastic/elastic-settings.ts`. Refuses what no index can
 * be called, and bulks that servers do not take by default.
 */

import { Type } from "@sinclair/typebox";

import { ELASTIC_SETTINGS } from "../../actors/audit/elastic/elastic-settings.ts";
import { group, integer, KIB, MIB, MINUTE_MS, oneOf, SECOND_MS } from "./setting-types.ts";

const initial = ELASTIC_SETTINGS;
const TEXT_CHARS_MAX = 1_024;
const RETENTION_DAYS_MAX = 36_500;

const optional = (description: string) =>
  Type.String({ maxLength: TEXT_CHARS_MAX, default: "", description });
const secret = (description: string) =>
  Type.String({ maxLength: TEXT_CHARS_MAX, default: "", secret: true, description });

/** `elasticsearch`: its values are the store's settings, as they are. */
export const ElasticsearchGroup = group({
  url: Type.String({
    minLength: 1,
    maxLength: TEXT_CHARS_MAX,
    pattern: "^https?://[^\\s]+$",
    default: initial.url,
    description: "https://host:9200; several nodes of one cluster with commas between them",
  }),
  username: optional("empty: none, or the one in the address"),
  password: secret("of username"),
  apiKey: secret("instead of a user: base64, as the server gave it out"),
  caPath: optional(
    "file (PEM) of who signed the server's certificate; empty: as the system trusts",
  ),
  prefix: Type.String({
    pattern: "^[a-z0-9][a-z0-9_-]{0,63}$",
    default: initial.prefix,
    description: "indices are called by it and the day that their period begins",
  }),
  period: oneOf(["month", "day"], initial.period, "time that one index spans"),
  retentionDays: integer(
    0,
    RETENTION_DAYS_MAX,
    initial.retentionDays,
    "days after which an index whose period is over is deleted; 0: never",
  ),
  shards: integer(1, 64, initial.shards, "of one index"),
  replicas: integer(0, 5, initial.replicas, "of each shard"),
  refreshMs: integer(100, SECOND_MS, initial.refreshMs, "how soon what is stored is found"),
  connectTimeoutMs: integer(
    100,
    5 * SECOND_MS,
    initial.connectTimeoutMs,
    "how long the server may take to be found",
  ),
  requestTimeoutMs: integer(
    SECOND_MS,
    10 * MINUTE_MS,
    initial.requestTimeoutMs,
    "a call not answered by then has failed",
  ),
  bulkRecordsMax: integer(1, 10_000, initial.bulkRecordsMax, "records of one bulk request"),
  bulkBytesMax: integer(64 * KIB, 64 * MIB, initial.bulkBytesMax, "bytes of one bulk request"),
  sealMs: integer(
    0,
    MINUTE_MS,
    initial.sealMs,
    "how far the sealed heads of the chains may be behind the records",
  ),
});
