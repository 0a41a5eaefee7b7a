/**
 * What the audit on Elasticsearch or OpenSearch can be told: where the server is, how it is talked
 * to, in which indices records are kept and for how long.
 *
 * Plain, cloneable values. Refuses nothing by itself: the bounds are those of the configuration,
 * and whether a server can be used is found out when it is opened.
 */

export interface ElasticSettings {
  /** `http://` or `https://`; several nodes of one cluster with commas between them. */
  readonly url: string;
  /** Empty: none. */
  readonly username: string;
  readonly password: string;
  /** Instead of a user: as the server gave it out, base64. Empty: none. */
  readonly apiKey: string;
  /** File with the certificate (PEM) that signed the server's. Empty: what the system trusts. */
  readonly caPath: string;
  /** Indices are called `<prefix>-2026.11.01`, by the day that their period begins. */
  readonly prefix: string;
  /** How much time one index spans. */
  readonly period: "month" | "day";
  /** Whole days after which an index whose period is over goes; 0: never. */
  readonly retentionDays: number;
  readonly shards: number;
  readonly replicas: number;
  /** How soon what is stored is found by our readers; others wait as long as the server has it. */
  readonly refreshMs: number;
  readonly connectTimeoutMs: number;
  /** A call that has not been answered by then has failed; it may still have happened. */
  readonly requestTimeoutMs: number;
  /** Of one bulk request. */
  readonly bulkRecordsMax: number;
  readonly bulkBytesMax: number;
  /** Between two seals: how far the sealed heads may be behind the records; 0: with each store. */
  readonly sealMs: number;
}

export const ELASTIC_SETTINGS: ElasticSettings = {
  url: "http://127.0.0.1:9200",
  username: "",
  password: "",
  apiKey: "",
  caPath: "",
  prefix: "shopstream-audit",
  period: "month",
  retentionDays: 0,
  shards: 1,
  replicas: 1,
  refreshMs: 500,
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 30_000,
  bulkRecordsMax: 2_000,
  bulkBytesMax: 4 * 1024 * 1024,
  sealMs: 0,
};
