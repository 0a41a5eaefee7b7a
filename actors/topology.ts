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
import type { RouteRow } from "./routing/route-row.ts";
import type { RouteTable } from "./routing/route-table.ts";

import { EVENTS } from "./contracts/messages.ts";
import { TOPICS } from "./contracts/topics.ts";
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
  toLocal("user.behavior", "behavior"),
  toLocal("deadletter.redriven", "operations"),
  toLocal("deadletter.discarded", "operations"),
  toLocal("notification.due", "notifications"),
];

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
): RouteTable {
  return compileRoutes(
    { configured: rules.routes, builtIn: TOPOLOGY, unmatched: rules.unmatched },
    { brokers: new Map([[LOCAL, { topics: TOPICS }], ...foreign]), types: EVENTS },
  );
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
