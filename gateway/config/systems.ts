/**
 * What the settings say together about the systems in use: one machine with its journal, or many
 * processes on servers.
 *
 * Pure. Refuses, naming the settings, what cannot work: a store for many without a broker, a topic
 * placed on a broker that is not in use, a view for many in a file of one.
 */

import type { BrokerName, Placement } from "../../actors/grounds/placement.ts";
import type { ShopConfig } from "./config-schema.ts";

import { TOPICS } from "../../actors/contracts/topics.ts";
import { audienceOf } from "../../actors/grounds/placement.ts";
import { COMMANDS_TOPIC } from "../../actors/commands/owner-handler.ts";

export type Systems =
  | { readonly kind: "embedded"; readonly brokers: readonly BrokerName[] }
  | {
      readonly kind: "remote";
      readonly brokers: readonly BrokerName[];
      readonly placement: Placement;
    };

/** The part of the configuration that is looked at. */
export type SystemsConfig = Pick<ShopConfig, "store" | "brokers" | "placement" | "roles"> & {
  readonly audit: Pick<ShopConfig["audit"], "store">;
  readonly analytics: Pick<ShopConfig["analytics"], "store">;
};

/** The first of these that is in use carries what has no place of its own. */
const LOG_ORDER: readonly BrokerName[] = ["kafka", "redis", "rabbitmq"];
const VIEW_NAMES = ["audit", "analytics"] as const;
/** Where topics go that need not be on the log, if that broker is in use. */
const PREFERRED: Readonly<Record<string, BrokerName>> = {
  fraud: "redis",
  notifications: "rabbitmq",
};

export function resolveSystems(config: SystemsConfig): Systems {
  const { store, brokers } = config;
  if (store === "embedded") return { kind: "embedded", brokers };
  const log = LOG_ORDER.find((name) => brokers.includes(name));
  const placement = Object.fromEntries(
    [...TOPICS, COMMANDS_TOPIC].map((topic) => {
      // Its keys are the topics.
      const chosen = config.placement[topic as keyof typeof config.placement];
      const preferred = PREFERRED[topic];
      const free = preferred !== undefined && brokers.includes(preferred) ? preferred : log;
      return [topic, chosen === "auto" ? (free ?? "kafka") : chosen];
    }),
  );
  return { kind: "remote", brokers, placement };
}

/** One line for each contradiction. */
export function contradictorySystems(config: SystemsConfig): readonly string[] {
  const { store, brokers, placement, roles, audit, analytics } = config;
  const found: string[] = [];
  const placed = Object.entries(placement).filter(([, broker]) => broker !== "auto");
  if (store === "embedded") {
    for (const [topic, broker] of placed) {
      found.push(`placement.${topic} = ${broker} needs store = postgres`);
    }
    return found;
  }
  if (brokers.length === 0) {
    const allowed = LOG_ORDER.join(", ");
    found.push(`store = postgres needs a broker for the shop's topics: brokers, any of ${allowed}`);
  }
  for (const [topic, broker] of placed) {
    if (brokers.some((name) => name === broker)) continue;
    found.push(`placement.${topic} = ${broker}, which is not among brokers`);
  }
  found.push(...splitGroups(config));
  const views = VIEW_NAMES.filter((name) => roles.includes(name));
  if (views.length > 0 && brokers.length === 1 && brokers[0] === "rabbitmq") {
    const names = views.join(" and ");
    found.push(`${names} read what brokers keep, and rabbitmq keeps nothing: add kafka or redis`);
  }
  if (roles.includes("audit") && audit.store === "embedded") {
    found.push("store = postgres needs audit.store = elasticsearch, or roles without audit");
  }
  if (roles.includes("analytics") && analytics.store === "embedded") {
    found.push("store = postgres needs analytics.store = mongodb, or roles without analytics");
  }
  return found;
}

/** Brokers assign slots each by itself, and a slot of a group has one owner. */
function splitGroups(config: SystemsConfig): readonly string[] {
  const systems = resolveSystems(config);
  if (systems.kind === "embedded") return [];
  const { placement } = systems;
  return Object.entries(audienceOf(placement).groups).flatMap(([group, topics]) => {
    const brokers = new Set(topics.map((topic) => placement[topic]));
    if (brokers.size <= 1) return [];
    const heard = topics.map((topic) => `placement.${topic}`).join(", ");
    return [`${heard} must be the same broker: ${group} hears them`];
  });
}
