/**
 * Where the threads of a shop are in the mesh, which rings join them, and what a shard is told.
 *
 * Plain values; starting anything is the business of `shop.ts`.
 */

import type { Group } from "../actors/contracts/topics.ts";
import type { Audience } from "../actors/grounds/placement.ts";
import type { BrokerLink } from "../actors/grounds/open-brokers.ts";
import type { RouterSettings } from "../actors/shard-routing.ts";
import type { ShardSettings } from "../actors/shard-services.ts";
import type { ViewsSettings } from "../actors/views/view-list.ts";
import type { MeshLink } from "../runtime/threads/mesh.ts";
import type { ShopConfig } from "./config/config-schema.ts";

import { GROUPS, TOPICS } from "../actors/contracts/topics.ts";
import { checkThresholds } from "../actors/fraud/thresholds.ts";
import { checkNotificationSettings } from "../actors/notification/notification-policy.ts";
import { egressGroup } from "../actors/routing/egress.ts";
import { UNMATCHED_GROUP } from "../actors/routing/ingress.ts";
import { outboxTopics } from "../actors/routing/routed-frame.ts";
import { compileTopology } from "../actors/topology.ts";
import { VIEW_SETTINGS } from "../actors/views/view-settings.ts";
import { ledgerSettingsOf } from "./config/ledger-settings.ts";
import { notificationSettings } from "./config/notification-settings.ts";
import { viewsOf } from "./views-child.ts";

/** Indices in the mesh. */
export const GATEWAY = 0;
export const JOURNAL = 1;
export const FIRST_SHARD = 2;

const COMMAND_RING_BYTES = 4 * 1024 * 1024;
const JOURNAL_RING_BYTES = 16 * 1024 * 1024;
/** The views only tell the journal what it need not keep, and hear that it knows. */
const VIEWS_RING_BYTES = 1024 * 1024;

/** Index of the thread of the views, behind the shards. */
export function viewsThread(shards: number): number {
  return FIRST_SHARD + shards;
}

/**
 * A ring each way between every shard and the gateway and, if there is a journal, between every
 * shard and it, and between the views, if there are any, and it.
 */
export function linksOf(
  shards: number,
  { hasJournal, hasViews }: { readonly hasJournal: boolean; readonly hasViews: boolean },
): readonly MeshLink[] {
  const links: MeshLink[] = [];
  for (let index = 0; index < shards; index++) {
    const shard = FIRST_SHARD + index;
    links.push(
      { from: GATEWAY, to: shard, ringBytes: COMMAND_RING_BYTES },
      { from: shard, to: GATEWAY, ringBytes: COMMAND_RING_BYTES },
    );
    if (!hasJournal) continue;
    links.push(
      { from: shard, to: JOURNAL, ringBytes: JOURNAL_RING_BYTES },
      { from: JOURNAL, to: shard, ringBytes: JOURNAL_RING_BYTES },
    );
  }
  if (hasJournal && hasViews) {
    const views = viewsThread(shards);
    links.push(
      { from: views, to: JOURNAL, ringBytes: VIEWS_RING_BYTES },
      { from: JOURNAL, to: views, ringBytes: VIEWS_RING_BYTES },
    );
  }
  return links;
}

/** The part of the configuration that a shard needs. */
export function settingsOf(
  config: ShopConfig,
  shard: number,
  shards: number,
  audience?: Audience,
): ShardSettings {
  const { state: _isOfTheGround, ...fraud } = config.fraud;
  return {
    slots: config.slots,
    roles: groupsOf(config.roles),
    residentMax: config.limits.residentMax,
    mailboxMax: config.limits.mailboxMax,
    payment: config.payment,
    reservationTtlMs: config.inventory.reservationTtlMs,
    shipping: config.shipping,
    fraud,
    notification: notificationSettings(config.notification),
    ledger: ledgerSettingsOf(config.ledger),
    router: {
      ...routerSettingsOf(config, shards),
      copiesNotices: audience?.copiesNotices === true,
    },
    ...(audience === undefined ? {} : { topics: audience.groups }),
    directory: config.data,
    shard,
  };
}

function routerSettingsOf({ router }: ShopConfig, shards: number): RouterSettings {
  const { links: _ofTheGround, ...settings } = router;
  return { ...settings, shards };
}

/** Groups that the shards join, so that the log is kept for them whatever its size. */
export function readersOf(config: ShopConfig): readonly string[] {
  const { roles, brokers } = config;
  // A view with a sink on a server is a group like any other.
  const { views, servers } = viewsSettingsOf(config);
  const members = views.filter((name) => Object.hasOwn(servers, name));
  return [...groupsOf(roles), UNMATCHED_GROUP, ...brokers.map(egressGroup), ...members];
}

/** Topics of the local log: those of the shop, and those in which the router keeps frames. */
export function logTopicsOf({ brokers }: Pick<ShopConfig, "brokers">): readonly string[] {
  return [...TOPICS, ...outboxTopics(brokers)];
}

/** What there is at each broker beside the shop's own topics. */
export function linksOfBrokers({
  brokers,
  router,
}: Pick<ShopConfig, "brokers" | "router">): readonly BrokerLink[] {
  return brokers.map((name) => {
    const link = router.links.find(({ broker }) => broker === name);
    const ingressTopics = link?.ingress ?? [];
    return {
      name,
      topics: [...new Set([...(link?.topics ?? []), ...ingressTopics])],
      ingressTopics,
    };
  });
}

/** Throws `BAD_CONFIGURATION` for what a thread would refuse, before there is any. */
export function checkSettings(config: ShopConfig): void {
  const links = linksOfBrokers(config);
  compileTopology(config.router, new Map(links.map((link) => [link.name, link])));
  checkThresholds(config.fraud);
  checkNotificationSettings(notificationSettings(config.notification));
}

/** The part of the configuration that the views' thread needs. */
export function viewsSettingsOf(config: ShopConfig): ViewsSettings {
  const { store: auditStore, ...audit } = config.audit;
  const { store: analyticsStore, ...analytics } = config.analytics;
  return {
    views: viewsOf(config.roles),
    reading: {
      ...VIEW_SETTINGS,
      recordsMax: config.views.batchRecords,
      bytesMax: config.views.batchBytes,
      flushMs: config.views.flushMs,
      gatherMs: config.views.gatherMs,
    },
    audit,
    analytics,
    servers: {
      ...(auditStore === "elasticsearch" ? { audit: config.elasticsearch } : {}),
      ...(analyticsStore === "mongodb" ? { analytics: config.mongodb } : {}),
    },
  };
}

function groupsOf(roles: readonly string[]): readonly Group[] {
  return roles.filter((role): role is Group => Object.hasOwn(GROUPS, role));
}
