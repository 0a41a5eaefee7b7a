/**
 * The built-in routes: every event of the shop to the topic its contract names, at the local
 * broker.
 *
 * Rows of the configuration come before these, and one of the same name takes the place of one of
 * these; `actors/routing/route-row.ts` says what a row may hold. `describeRoutes` shows a compiled
 * table as an operator reads it. What is not an event of the shop has no route here.
 */

import type { RouteRules } from "./routing/compile-routes.ts";
import type { KnownBroker } from "./routing/route-refusals.ts";
import type { Place, RouteRow } from "./routing/route-row.ts";
import type { RouteTable } from "./routing/route-table.ts";

import { ShopError } from "../runtime/errors.ts";
import { EVENTS } from "./contracts/messages.ts";
import { NotificationDue } from "./contracts/platform-messages.ts";
import { GROUPS, TOPICS, VIEWS } from "./contracts/topics.ts";
import { NOTIFIED_CONTRACTS } from "./notification/notification.ts";
import { compileRoutes } from "./routing/compile-routes.ts";
import { LOCAL } from "./routing/route-row.ts";

export const TOPOLOGY: readonly RouteRow[] = [
  toLocal("order.created", "orders"),
  toLocal("order.ready_to_ship", "orders"),
  toLocal("order.shipped", "orders"),
  toLocal("order.delivered", "orders"),
  toLocal("order.cancelled", "orders"),
  toLocal("payment.processed", "payments"),
  toLocal("payment.refunded", "payments"),
  toLocal("inventory.reserved", "inventory"),
  toLocal("inventory.released", "inventory"),
  toLocal("reservation.lapsed", "inventory"),
  toLocal("shipment.packed", "shipping"),
  toLocal("shipment.delivered", "shipping"),
  toLocal("fraud.flagged", "fraud"),
  toLocal("user.behavior", "behavior"),
  toLocal("deadletter.redriven", "operations"),
  toLocal("deadletter.discarded", "operations"),
  toLocal("notification.due", "notifications"),
];

/**
 * The same where customers are told from a topic of its own, which may be on another broker: what
 * is told travels there as copies, and what falls due is noted for the audit besides.
 */
export const COPYING_TOPOLOGY: readonly RouteRow[] = TOPOLOGY.map((row) => {
  const copied = copiedTo(row.name);
  return copied === undefined ? row : { ...row, to: [...row.to, { broker: LOCAL, topic: copied }] };
});

function copiedTo(type: string): string | undefined {
  if (type === NotificationDue.type) return "operations";
  return NOTIFIED_CONTRACTS.some((each) => each.type === type) ? "notifications" : undefined;
}

function toLocal(type: string, topic: string): RouteRow {
  return { name: type, match: { types: [type] }, to: [{ broker: LOCAL, topic }] };
}

/**
 * The shop's table: the rows of the configuration before the built-in ones. `foreign`: the brokers
 * besides the local one, by name. Throws `BAD_CONFIGURATION` naming each bad row and why.
 */
export function compileTopology(
  rules: { readonly routes: readonly RouteRow[]; readonly unmatched: RouteRules["unmatched"] },
  foreign: ReadonlyMap<string, KnownBroker>,
  builtIn: readonly RouteRow[] = TOPOLOGY,
): RouteTable {
  const table = compileRoutes(
    { configured: rules.routes, builtIn, unmatched: rules.unmatched },
    { brokers: new Map([[LOCAL, { topics: TOPICS }], ...foreign]), types: EVENTS },
  );
  const mayComeBack = [...foreign.values()].some(
    ({ ingressTopics = [] }) => ingressTopics.length > 0,
  );
  const stranded = mayComeBack ? [] : strandedEvents(table);
  if (stranded.length > 0) throw new ShopError("BAD_CONFIGURATION", stranded.join("\n"), "never");
  return table;
}

/** Routes that take an event away from where services hear it: orders would wait for ever. */
function strandedEvents(table: RouteTable): readonly string[] {
  return EVENTS.flatMap(({ type, number, topic = "" }) => {
    const isHome = ({ broker, topic: to }: Place): boolean => broker === LOCAL && to === topic;
    const { rows } = table.source(LOCAL).lane(topic).candidates(number);
    for (const { index, name, also, to, conditions } of rows) {
      const isAlways = conditions.length === 0;
      if (to.some(isHome) && isAlways) return [];
      if (also || to.some(isHome)) continue;
      const where = `${LOCAL}/${topic}, where ${listenersOf(topic).join(", ")} hear it`;
      return [
        `route ${index} (${name}): takes ${type} from ${where}; add that place, or also = true`,
      ];
    }
    return [];
  });
}

function listenersOf(topic: string): readonly string[] {
  return Object.entries({ ...GROUPS, ...VIEWS })
    .filter(([, topics]) => topics.some((one) => one === topic))
    .map(([name]) => name);
}

/** One line for each row, in order of precedence. */
export function describeRoutes(table: RouteTable): readonly string[] {
  const lines = table.rows.map(({ name, scope, to, conditions, also, policy }) => {
    const places = to.map(({ broker, topic }) => `${broker}/${topic}`).join(" + ");
    const when = conditions.map(({ text }) => ` if ${text}`).join("");
    const policies = Object.keys(policy).join(", ");
    const rest = (also ? ", and on" : "") + (policies === "" ? "" : ` (${policies})`);
    return `${name}:${scope}${when} → ${places}${rest}`;
  });
  const { unmatched } = table;
  const rest = unmatched === undefined ? "dead letters" : `${unmatched.broker}/${unmatched.topic}`;
  return [...lines, `anything else → ${rest}`];
}
