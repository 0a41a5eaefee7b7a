/**
 * What `router.links` may not say, given the brokers in use and who carries the shop's own topics.
 *
 * Pure. Refuses, naming the setting, a link that would do nothing and one that would mix what is
 * somebody else's with the shop's own; what routes say about the topics is refused when the table
 * is compiled.
 */

import type { RouteRow } from "../../actors/routing/route-row.ts";
import type { ShopConfig } from "./config-schema.ts";

import { COMMANDS_TOPIC } from "../../actors/commands/owner-handler.ts";
import { TOPICS } from "../../actors/contracts/topics.ts";
import { OUTBOX_PREFIX } from "../../actors/routing/route-refusals.ts";

/** The part of the configuration that is looked at. */
export type LinksConfig = Pick<ShopConfig, "store" | "brokers"> & {
  readonly router: Pick<ShopConfig["router"], "links" | "routes" | "unmatched">;
};

/** One line for each contradiction. */
export function contradictoryLinks(config: LinksConfig): readonly string[] {
  const { store, brokers, router } = config;
  const found: string[] = [];
  const seen = new Set<string>();
  for (const { broker, topics = [], ingress = [] } of router.links) {
    if (topics.length + ingress.length === 0) {
      found.push(`router.links: ${broker} has neither topics nor ingress; take it out`);
    }
    if (seen.has(broker)) found.push(`router.links names ${broker} twice`);
    else if (!brokers.includes(broker)) {
      found.push(`router.links names ${broker}, which is not among brokers`);
    }
    seen.add(broker);
  }
  return store === "postgres" ? [...found, ...unlinked(config), ...mixed(config)] : found;
}

/** Brokers that carry the shop's topics have none for routes until a link says which. */
function unlinked({ brokers, router }: LinksConfig): readonly string[] {
  const { links, routes, unmatched } = router;
  const named = new Set([
    ...routes.flatMap(brokersOf),
    ...(unmatched === "dead_letter" ? [] : [unmatched.broker]),
  ]);
  return brokers.flatMap((name) => {
    const link = links.find(({ broker }) => broker === name);
    const hasTopics = [...(link?.topics ?? []), ...(link?.ingress ?? [])].length > 0;
    if (hasTopics || !named.has(name)) return [];
    return [`router.routes name ${name}, for which router.links has no topics`];
  });
}

function brokersOf({ match = {}, to }: RouteRow): readonly string[] {
  const places = to.flatMap(({ broker, failover }) => [broker, failover?.broker ?? broker]);
  return [...(match.from ?? []), ...places];
}

/** The shop's topics are its own wherever they are, and a topic is taken in from one place. */
function mixed({ router }: LinksConfig): readonly string[] {
  const found: string[] = [];
  const takenIn = new Map<string, string>();
  for (const { broker, topics = [], ingress = [] } of router.links) {
    for (const topic of new Set([...topics, ...ingress])) {
      if (!isOfTheShop(topic)) continue;
      found.push(`router.links: ${topic} at ${broker} is a topic of the shop's own; name another`);
    }
    for (const topic of ingress) {
      const other = takenIn.get(topic);
      takenIn.set(topic, broker);
      if (other === undefined || other === broker) continue;
      found.push(`router.links takes in ${topic} from ${other} and from ${broker}; from one only`);
    }
  }
  return found;
}

function isOfTheShop(topic: string): boolean {
  return (
    TOPICS.some((own) => own === topic) ||
    topic === COMMANDS_TOPIC ||
    topic.startsWith(OUTBOX_PREFIX)
  );
}
