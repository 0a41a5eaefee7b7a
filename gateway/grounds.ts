/**
 * What the shards of this process stand on, as the settings say: the journal of this machine, or
 * servers that many share.
 *
 * Plain values that are sent to threads; nothing is opened here. Refuses nothing: what does not fit
 * together was refused when the settings were read.
 */

import type { ShardThreadData } from "../actors/shard-main.ts";
import type { ServersInUse } from "../actors/grounds/inspect-servers.ts";
import type { BrokerLink, BrokerSettings, BrokerUse } from "../actors/grounds/open-brokers.ts";
import type { RedisMemoryData } from "../actors/grounds/redis-memory.ts";
import type { Audience, Placement } from "../actors/grounds/placement.ts";
import type { ViewsGroundData } from "../actors/views/views-carrier.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { Systems } from "./config/systems.ts";

import { audienceOf, usesOfLinks } from "../actors/grounds/placement.ts";
import { egressGroup } from "../actors/routing/egress.ts";
import { UNMATCHED_GROUP } from "../actors/routing/ingress.ts";
import { outboxTopic, outboxTopics, UNMATCHED_TOPIC } from "../actors/routing/routed-frame.ts";
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

/** Where every topic is, the router's own on the log among them. */
function placesOf(placement: Placement, links: readonly BrokerLink[]): Placement {
  const log = placement["orders"] ?? "kafka";
  const own = outboxTopics(links.map(({ name }) => name)).map((topic) => [topic, log] as const);
  return { ...placement, ...Object.fromEntries(own) };
}

/** Brokers that have topics beside the shop's own: without any there is nothing to carry there. */
function linksInUse(config: ShopConfig): readonly BrokerLink[] {
  return linksOfBrokers(config).filter(({ topics }) => topics.length > 0);
}

function remote(config: ShopConfig, placement: Placement, process: string): SystemsOfShards {
  const audience = audienceOf(placement);
  const links = linksInUse(config);
  const places = placesOf(placement, links);
  const uses = usesOf(config, placement, links);
  const { retention, slots, postgres, cluster } = config;
  const heard = new Set(Object.values(audience.views).flat());
  return {
    kind: "remote",
    audience,
    ground: (shard) => ({
      kind: "remote",
      brokers: brokerSettingsOf(config),
      uses,
      links,
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
      uses: uses.flatMap((use) => {
        const topics = use.topics.filter((topic) => heard.has(topic));
        return topics.length === 0 ? [] : [{ ...use, topics, groups: {} }];
      }),
      placement: places,
      slots,
      topics: audience.views,
    }),
  };
}

/** Each broker that carries something, the shop's own or for routes, with who reads it. */
export function usesOf(
  { brokers }: Pick<ShopConfig, "brokers">,
  placement: Placement,
  links: readonly BrokerLink[],
): readonly BrokerUse[] {
  const places = placesOf(placement, links);
  const linked = new Map(usesOfLinks(links).map((use) => [use.name, use]));
  const readers: readonly (readonly [string, readonly string[]])[] = [
    ...Object.entries(audienceOf(placement).groups),
    [UNMATCHED_GROUP, [UNMATCHED_TOPIC]],
    ...links.map(({ name }) => [egressGroup(name), [outboxTopic(name)]] as const),
  ];
  return brokers.flatMap((name) => {
    const own = Object.keys(places).filter((topic) => places[topic] === name);
    const groups = own.map((topic) => [
      topic,
      readers.filter(([, heard]) => heard.includes(topic)).map(([group]) => group),
    ]);
    const link = linked.get(name);
    const topics = [...own, ...(link?.topics ?? [])];
    if (topics.length === 0) return [];
    return [{ name, topics, groups: { ...Object.fromEntries(groups), ...link?.groups } }];
  });
}

function brokerSettingsOf({ kafka, redis, rabbitmq }: ShopConfig): BrokerSettings {
  return { kafka, redis, rabbitmq };
}

/**
 * Every server that this process cannot do without; absent: none. What it only reads when it is
 * asked, because the role is another's, may be away.
 */
export function serversOf(config: ShopConfig, systems: Systems): ServersInUse | undefined {
  const { store, roles, postgres, audit, analytics, mongodb, elasticsearch } = config;
  const uses =
    systems.kind === "embedded"
      ? usesOfLinks(linksOfBrokers(config))
      : usesOf(config, systems.placement, linksInUse(config));
  const redisKeeps = redisMemoryOf(config) !== undefined;
  const stores = {
    ...(store === "postgres" ? { postgres } : {}),
    ...(analytics.store === "mongodb" && roles.includes("analytics") ? { mongodb } : {}),
    ...(audit.store === "elasticsearch" && roles.includes("audit") ? { elasticsearch } : {}),
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
