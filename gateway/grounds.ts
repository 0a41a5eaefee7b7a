/**
 * What the shards of this process stand on, as the settings say: the journal of this machine, or
 * servers that many share.
 *
 * Plain values that are sent to threads; nothing is opened here. Refuses nothing: what does not fit
 * together was refused when the settings were read.
 */

import type { ShardThreadData } from "../actors/shard-main.ts";
import type { ServersInUse } from "../actors/grounds/inspect-servers.ts";
import type { BrokerSettings, BrokerUse } from "../actors/grounds/open-brokers.ts";
import type { RedisMemoryData } from "../actors/grounds/redis-memory.ts";
import type { Audience, Placement } from "../actors/grounds/placement.ts";
import type { ViewsGroundData } from "../actors/views/views-carrier.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { Systems } from "./config/systems.ts";

import { audienceOf, topicsOn, usesOfLinks } from "../actors/grounds/placement.ts";
import { UNMATCHED_GROUP } from "../actors/routing/ingress.ts";
import { UNMATCHED_TOPIC } from "../actors/routing/routed-frame.ts";
import { JOURNAL, linksOfBrokers, logTopicsOf } from "./shop-layout.ts";

/** The part of a shard's settings that depends on the systems in use. */
export interface SystemsOfShards {
  readonly kind: Systems["kind"];
  readonly audience: Audience | undefined;
  ground(shard: number): ShardThreadData["ground"];
  /** Absent: those that the broker assigns. */
  partitions(shard: number): readonly number[] | undefined;
  views(): ViewsGroundData;
}

export function systemsOfShards(
  config: ShopConfig,
  systems: Systems,
  shards: number,
  process: string,
): SystemsOfShards {
  return systems.kind === "embedded"
    ? embedded(config, shards)
    : remote(config, systems.placement, process);
}

function embedded(config: ShopConfig, shards: number): SystemsOfShards {
  return {
    kind: "embedded",
    audience: undefined,
    ground: () => ({
      kind: "embedded",
      journal: JOURNAL,
      directory: config.data,
      topics: logTopicsOf(config),
      slots: config.slots,
      links: linksOfBrokers(config),
      brokers: brokerSettingsOf(config),
    }),
    partitions(shard) {
      const own: number[] = [];
      for (let slot = shard; slot < config.slots; slot += shards) own.push(slot);
      return own;
    },
    views: () => ({
      kind: "embedded",
      journal: JOURNAL,
      backlogBytesMax: config.limits.queueBytesMax,
      topics: logTopicsOf(config),
    }),
  };
}

function placesOf(placement: Placement): Placement {
  return { ...placement, [UNMATCHED_TOPIC]: placement["orders"] ?? "kafka" };
}

function remote(config: ShopConfig, placement: Placement, process: string): SystemsOfShards {
  const audience = audienceOf(placement);
  const places = placesOf(placement);
  const { retention, slots, postgres, cluster } = config;
  const heard = new Set(Object.values(audience.views).flat());
  return {
    kind: "remote",
    audience,
    ground: (shard) => ({
      kind: "remote",
      brokers: brokerSettingsOf(config),
      uses: usesOf(config, places, audience),
      placement: places,
      postgres,
      retention,
      lease: cluster,
      slots,
      process,
      shard,
    }),
    partitions: () => undefined,
    views: () => ({
      kind: "remote",
      brokers: brokerSettingsOf(config),
      uses: usesOf(config, places, audience).flatMap((use) => {
        const topics = use.topics.filter((topic) => heard.has(topic));
        return topics.length === 0 ? [] : [{ ...use, topics, groups: {} }];
      }),
      placement: places,
      slots,
      topics: audience.views,
    }),
  };
}

/** Each broker that carries something, with who reads it. */
export function usesOf(
  { brokers }: Pick<ShopConfig, "brokers">,
  placement: Placement,
  audience: Audience,
): readonly BrokerUse[] {
  const readers = [
    ...Object.entries(audience.groups),
    [UNMATCHED_GROUP, [UNMATCHED_TOPIC]] as const,
  ];
  return brokers.flatMap((name) => {
    const unmatched = placement[UNMATCHED_TOPIC] === name ? [UNMATCHED_TOPIC] : [];
    const topics = [...topicsOn(placement, name), ...unmatched];
    const groups = topics.map((topic) => [
      topic,
      readers.filter(([, heard]) => heard.includes(topic)).map(([group]) => group),
    ]);
    return topics.length === 0 ? [] : [{ name, topics, groups: Object.fromEntries(groups) }];
  });
}

function brokerSettingsOf({ kafka, redis, rabbitmq }: ShopConfig): BrokerSettings {
  return { kafka, redis, rabbitmq };
}

/** Every server that this process is going to use; absent: none. */
export function serversOf(config: ShopConfig, systems: Systems): ServersInUse | undefined {
  const { store, postgres, audit, analytics, mongodb, elasticsearch } = config;
  const uses =
    systems.kind === "embedded"
      ? usesOfLinks(linksOfBrokers(config))
      : usesOf(config, placesOf(systems.placement), audienceOf(systems.placement));
  const redisKeeps = redisMemoryOf(config) !== undefined;
  const stores = {
    ...(store === "postgres" ? { postgres } : {}),
    ...(analytics.store === "mongodb" ? { mongodb } : {}),
    ...(audit.store === "elasticsearch" ? { elasticsearch } : {}),
  };
  if (uses.length === 0 && !redisKeeps && Object.keys(stores).length === 0) return undefined;
  return { brokers: brokerSettingsOf(config), uses, redisKeeps, ...stores };
}

/** What this process keeps on Redis; absent: nothing. */
export function redisMemoryOf(config: ShopConfig): RedisMemoryData | undefined {
  const { redis: settings, fraud, inventory, retention } = config;
  const keepsFraud = fraud.state === "redis" && fraud.mode !== "off";
  const keepsStock = inventory.cache === "redis" && inventory.cacheTtlMs > 0;
  if (!keepsFraud && !keepsStock) return undefined;
  return {
    settings,
    ...(keepsFraud ? { fraudAgeMs: retention.fraudAgeMs } : {}),
    ...(keepsStock ? { stockTtlMs: inventory.cacheTtlMs } : {}),
  };
}
