/**
 * Which broker carries which topic, when the log is not the journal's.
 *
 * Work for the services goes through the log, in order per key; what the fraud check finds and what
 * customers are told may go elsewhere. Refuses a topic without a place.
 */

import type { FOREIGN_BROKERS } from "../contracts/topics.ts";
import type { BrokerLink, BrokerUse } from "./open-brokers.ts";

import { COMMANDS_TOPIC } from "../commands/owner-handler.ts";
import { GROUPS, TOPICS, VIEWS } from "../contracts/topics.ts";

export type BrokerName = (typeof FOREIGN_BROKERS)[number];

/** By topic of the shop, `commands` included. */
export type Placement = Readonly<Record<string, BrokerName>>;

/** What each service and view listens to under a placement. */
export interface Audience {
  readonly groups: Readonly<Record<keyof typeof GROUPS, readonly string[]>>;
  readonly views: Readonly<Record<keyof typeof VIEWS, readonly string[]>>;
  /** What customers are told of travels on a topic of its own, as copies. */
  readonly copiesNotices: boolean;
}

/** They forget a message once it is handled: a view that comes later reads nothing there. */
const FORGETFUL: readonly BrokerName[] = ["rabbitmq"];

export function audienceOf(placement: Placement): Audience {
  const copiesNotices = placement["notifications"] !== placement["orders"];
  const lasting = (topic: string): boolean => {
    const broker = placement[topic];
    return broker !== undefined && !FORGETFUL.includes(broker);
  };
  return {
    groups: {
      ...GROUPS,
      order: [...GROUPS.order, COMMANDS_TOPIC],
      notification: copiesNotices ? ["notifications"] : GROUPS.notification,
    },
    views: {
      // Copies are the same events under the same ids, and what is due is noted under operations.
      audit: VIEWS.audit.filter((topic) => lasting(topic) && !isCopy(topic, copiesNotices)),
      analytics: VIEWS.analytics.filter(lasting),
    },
    copiesNotices,
  };
}

function isCopy(topic: string, copiesNotices: boolean): boolean {
  return copiesNotices && topic === "notifications";
}

/** Topics that are carried by `broker`. */
export function topicsOn(placement: Placement, broker: BrokerName): readonly string[] {
  return [...TOPICS, COMMANDS_TOPIC].filter((topic) => placement[topic] === broker);
}

/** Brokers beside the journal, each with the groups that take in from it. */
export function usesOfLinks(links: readonly BrokerLink[]): readonly BrokerUse[] {
  return links.map(({ name, topics, ingressTopics }) => ({
    name,
    topics,
    groups: Object.fromEntries(ingressTopics.map((topic) => [topic, [`ingress.${name}`]])),
  }));
}
