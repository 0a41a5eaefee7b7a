/**
 * Every setting of the shop: its type, bounds, default and meaning, in one TypeBox schema.
 *
 * Defaults, checks, names in the environment, flags, help and the printed configuration all come
 * from here. What has no place in this schema is not a setting and is refused by the loader.
 */

import type { Static } from "@sinclair/typebox";
import type { Frozen } from "./setting-types.ts";
import { Type } from "@sinclair/typebox";

import { AnalyticsSettingsSchema } from "./analytics-settings.ts";
import { AuditSettings } from "./audit-settings.ts";
import { ClusterGroup } from "./cluster-settings.ts";
import { ElasticsearchGroup } from "./elasticsearch-settings.ts";
import { FraudConfig } from "./fraud-settings.ts";
import { KafkaGroup } from "./kafka-settings.ts";
import { LedgerGroup } from "./ledger-settings.ts";
import { MongodbGroup } from "./mongodb-settings.ts";
import { NotificationGroup } from "./notification-settings.ts";
import { PostgresGroup } from "./postgres-settings.ts";
import { RabbitmqGroup } from "./rabbitmq-settings.ts";
import { RedisGroup } from "./redis-settings.ts";
import { RouterGroup } from "./router-settings.ts";
import {
  DAY_MS,
  GIB,
  group,
  HOUR_MS,
  integer,
  KIB,
  MIB,
  MINUTE_MS,
  oneOf,
  rate,
  SECOND_MS,
  text,
  YEAR_MS,
} from "./setting-types.ts";
import {
  BrokersSetting,
  InstanceSetting,
  PlacementGroup,
  StockCacheSetting,
  StoreSetting,
} from "./systems-settings.ts";
import { ViewsConfig } from "./views-settings.ts";

export const SHARDS_MAX = 64;
export const SLOTS_MAX = 4096;
export const ROLES = [
  "order",
  "payment",
  "inventory",
  "shipping",
  "notification",
  "audit",
  "analytics",
] as const;

const Shards = Type.Union(
  [Type.Literal("auto"), Type.Integer({ minimum: 1, maximum: SHARDS_MAX })],
  { default: "auto", description: "worker threads; auto: cores - 1, at least 1" },
);

const Roles = Type.Array(Type.Union(ROLES.map((name) => Type.Literal(name))), {
  minItems: 1,
  uniqueItems: true,
  default: [...ROLES],
  description: "services that run in this process",
});

const Limits = group({
  bodyBytes: integer(
    1 * KIB,
    16 * MIB,
    256 * KIB,
    "largest request body, in bytes; that of POST /v1/events is 1 MiB",
  ),
  jsonDepth: integer(2, 64, 16, "deepest nesting of a JSON body"),
  inFlightMax: integer(1, 100_000, 1024, "requests in flight; above: 503 with Retry-After"),
  commandTimeoutMs: integer(10, 5 * MINUTE_MS, 10 * SECOND_MS, "wait for a shard; above: 504"),
  streamsMax: integer(1, 10_000, 256, "open event streams; above: 503 with Retry-After"),
  streamMs: integer(SECOND_MS, DAY_MS, 10 * MINUTE_MS, "longest life of one event stream"),
  queueBytesMax: integer(64 * KIB, GIB, 4 * MIB, "bytes waiting between two threads"),
  residentMax: integer(100, 10_000_000, 4_000, "entities one shard keeps in memory"),
  mailboxMax: integer(1, 1_000_000, 1024, "messages waiting for one actor"),
});

const Retention = group({
  logBytesMax: integer(MIB, 1024 * GIB, GIB, "topic log kept after it was consumed, in bytes"),
  ageMs: integer(MINUTE_MS, 10 * YEAR_MS, 7 * DAY_MS, "age of consumed log records"),
  inboxAgeMs: integer(MINUTE_MS, 10 * YEAR_MS, 7 * DAY_MS, "age of processed-message marks"),
  idempotencyAgeMs: integer(MINUTE_MS, 10 * YEAR_MS, DAY_MS, "age of idempotency keys"),
  fraudAgeMs: integer(
    8 * DAY_MS,
    10 * YEAR_MS,
    30 * DAY_MS,
    "age of fraud verdicts and of unused profiles of customers and cards",
  ),
  deadLettersMax: integer(1, 10_000_000, 10_000, "dead letters kept"),
});

const Latency = group({
  kind: oneOf(["lognormal", "fixed", "none"], "lognormal", "distribution of the latency"),
  medianMs: integer(0, MINUTE_MS, 120, "median of the latency"),
  sigma: Type.Number({ minimum: 0, maximum: 3, default: 0.4, description: "log-normal spread" }),
});

const Payment = group({
  provider: oneOf(["simulated", "http"], "simulated", "who captures payments"),
  url: Type.String({
    maxLength: 1024,
    default: "",
    pattern: "^(https?://[^\\s]+)?$",
    description: "base address of the provider; needed when provider is http",
  }),
  timeoutMs: integer(10, 30 * SECOND_MS, 2 * SECOND_MS, "wait for one answer of the provider"),
  captureAttemptsMax: integer(1, 100, 20, "attempts before a payment is given up"),
  latency: Latency,
  declineRate: rate("share of payments the simulated provider declines"),
  failureRate: rate("share of calls the simulated provider fails"),
  seed: integer(0, 0xffff_ffff, 1, "seed of the simulated provider"),
});

const Inventory = group({
  reservationTtlMs: integer(SECOND_MS, YEAR_MS, 30 * MINUTE_MS, "life of an unpaid reservation"),
  cacheTtlMs: integer(0, DAY_MS, 5 * MINUTE_MS, "life of a cached availability"),
  cache: StockCacheSetting,
});

const Shipping = group({
  packMs: integer(0, 30 * DAY_MS, 200, "from ready_to_ship to shipped"),
  deliveryMs: integer(0, 30 * DAY_MS, 5 * SECOND_MS, "from shipped to delivered"),
});

export const ConfigSchema = group({
  host: text("127.0.0.1", "address to listen on"),
  port: integer(0, 65_535, 8080, "port to listen on; 0: any free one"),
  data: text("./data", "directory of the embedded storage"),
  store: StoreSetting,
  instance: InstanceSetting,
  brokers: BrokersSetting,
  placement: PlacementGroup,
  shards: Shards,
  slots: integer(1, SLOTS_MAX, 64, "partitions of every topic; fixed for the life of the data"),
  roles: Roles,
  demoStock: Type.Boolean({ default: true, description: "load demo stock into an empty store" }),
  damage: oneOf(["refuse", "quarantine"], "refuse", "what to do about damaged records"),
  shutdownMs: integer(0, HOUR_MS, 10 * SECOND_MS, "deadline of an orderly stop"),
  sabotage: Type.Boolean({ default: false, description: "open the door for fault injection" }),
  log: group({
    level: oneOf(["debug", "info", "warning", "error"], "info", "least severe level written"),
    format: oneOf(["text", "json"], "text", "form of a log line"),
  }),
  limits: Limits,
  retention: Retention,
  payment: Payment,
  inventory: Inventory,
  shipping: Shipping,
  fraud: FraudConfig,
  notification: NotificationGroup,
  router: RouterGroup,
  views: ViewsConfig,
  audit: AuditSettings,
  analytics: AnalyticsSettingsSchema,
  ledger: LedgerGroup,
  cluster: ClusterGroup,
  postgres: PostgresGroup,
  kafka: KafkaGroup,
  redis: RedisGroup,
  rabbitmq: RabbitmqGroup,
  mongodb: MongodbGroup,
  elasticsearch: ElasticsearchGroup,
});

/** A complete, checked configuration. */
export type ShopConfig = Frozen<Static<typeof ConfigSchema>>;
export type LimitsConfig = ShopConfig["limits"];

/** Threads to start: `auto` is cores − 1, at least 1, and never more than there are slots. */
export function resolveShards(config: Pick<ShopConfig, "shards" | "slots">, cores: number): number {
  if (config.shards !== "auto") return config.shards;
  return Math.max(1, Math.min(cores - 1, config.slots, SHARDS_MAX));
}
