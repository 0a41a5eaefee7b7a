/**
 * Settings that say which systems the shop runs on; how each of them is reached has a group of its
 * own.
 *
 * What they say together is resolved, or refused, in `systems.ts`.
 */

import { Type } from "@sinclair/typebox";

import { FOREIGN_BROKERS, TOPICS } from "../../actors/contracts/topics.ts";
import { group, oneOf } from "./setting-types.ts";

export const StoreSetting = oneOf(
  ["embedded", "postgres"],
  "embedded",
  "where orders, payments, stock are kept; postgres: any number of processes share them",
);

export const InstanceSetting = Type.String({
  maxLength: 64,
  pattern: "^[A-Za-z0-9._-]*$",
  default: "",
  description:
    "name of this process among those that share the store, the same after a restart; empty: a " +
    "new one each time",
});

export const BrokersSetting = Type.Array(
  Type.Union(FOREIGN_BROKERS.map((name) => Type.Literal(name))),
  {
    uniqueItems: true,
    default: [],
    description:
      "message brokers in use: routes may name them, and with store postgres they carry the " +
      "shop's topics",
  },
);

const place = (topic: string) =>
  oneOf(
    ["auto", ...FOREIGN_BROKERS],
    "auto",
    `broker that carries the topic ${topic} when the store is postgres`,
  );

/** One setting for each topic. */
export const PlacementGroup = group(
  // Made from the list of topics, whose names are its keys.
  Object.fromEntries([...TOPICS, "commands"].map((topic) => [topic, place(topic)])) as Record<
    (typeof TOPICS)[number] | "commands",
    ReturnType<typeof place>
  >,
);

export const AuditStoreSetting = oneOf(
  ["embedded", "elasticsearch"],
  "embedded",
  "where the audit is kept; elasticsearch: OpenSearch as well",
);

export const AnalyticsStoreSetting = oneOf(
  ["embedded", "mongodb"],
  "embedded",
  "where analytics are kept",
);

export const FraudStateSetting = oneOf(
  ["store", "redis"],
  "store",
  "where the fraud check keeps what it knows of customers and cards",
);

export const StockCacheSetting = oneOf(
  ["memory", "redis"],
  "memory",
  "where availability is cached; redis: shared by all processes",
);
