/**
 * The endpoint of the ledger: what became of every record, by group, topic and partition.
 *
 * It adds up and filters what the shards answer, and refuses groups and topics that the shop does
 * not have: an empty answer would look like a ledger that balances.
 */

import { Type } from "@sinclair/typebox";

import type { LedgerRow } from "../../actors/contracts/order-state.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import type { ParameterSpec } from "./api-operation.ts";
import type { LedgerPort } from "./gateway-ports.ts";

import { GROUPS, TOPICS } from "../../actors/contracts/topics.ts";
import { foldRows, LEDGER_ROWS_MAX, sumOfRows } from "../../actors/ledger/ledger-rows.ts";
import { UNMATCHED_GROUP } from "../../actors/routing/ingress.ts";
import { UNMATCHED_TOPIC } from "../../actors/routing/routed-frame.ts";
import { operation } from "./api-operation.ts";
import { jsonResponse } from "./endpoint.ts";
import { LEDGER_EXAMPLE } from "./ledger-schemas.ts";
import { Problem } from "./problem.ts";
import { readQuery } from "./query-string.ts";
import { invalidRequest } from "./schema-check.ts";

export interface LedgerRoutesDeps {
  readonly ledger: LedgerPort;
}

/** What each parameter may be. */
const ALLOWED = {
  group: [...Object.keys(GROUPS), UNMATCHED_GROUP],
  topic: [...TOPICS, UNMATCHED_TOPIC],
  imbalanced: ["true", "false"],
} as const satisfies Record<string, readonly string[]>;
type Name = keyof typeof ALLOWED;
const NAMES: readonly Name[] = ["group", "topic", "imbalanced"];

function parameter(name: Name, description: string): ParameterSpec {
  const schema = Type.Union(ALLOWED[name].map((value) => Type.Literal(value)));
  return { name, in: "query", description, schema };
}

const GET_LEDGER = operation({
  operationId: "getLedger",
  summary: "Where every record is",
  description:
    "Two independent counts, the broker's and the group's own, compared at one place in the " +
    "stream between them. What does not add up is named, and turns health degraded.",
  tag: "operations",
  parameters: [
    parameter("group", "Only this group."),
    parameter("topic", "Only this topic."),
    parameter("imbalanced", "`true`: only partitions that do not balance; `false`: only others."),
  ],
  answers: {
    200: {
      description: "The ledger as of now.",
      content: { mediaType: "application/json", schema: "Ledger", example: LEDGER_EXAMPLE },
    },
  },
  problems: ["invalid_request", "saturated", "unavailable", "not_ready", "timed_out"],
});

export function ledgerRoutes(deps: LedgerRoutesDeps): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/admin/ledger",
      admission: "limited",
      endpoint: (call) => getLedger(deps, call),
      operation: GET_LEDGER,
    },
  ];
}

async function getLedger({ ledger }: LedgerRoutesDeps, { request }: Call): Promise<Answer> {
  const query = readQuery(request, NAMES);
  if (query instanceof Problem) return query;
  for (const [name, value] of query) {
    const allowed: readonly string[] = ALLOWED[name];
    if (allowed.includes(value)) continue;
    const detail = `must be one of ${allowed.join(", ")}`;
    return invalidRequest([{ parameter: name, detail }]);
  }
  const body = ledgerView(await ledger.read(), query);
  return jsonResponse(200, JSON.stringify(body), { "cache-control": "no-store" });
}

/** The ledger of `rows`, as far as `query` asks for it, in order of group, topic, partition. */
export function ledgerView(rows: readonly LedgerRow[], query: ReadonlyMap<Name, string>): object {
  const group = query.get("group");
  const topic = query.get("topic");
  const imbalanced = query.get("imbalanced");
  const asked = rows.filter(
    (row) =>
      (group === undefined || row.group === group) &&
      (topic === undefined || row.topic === topic) &&
      (imbalanced === undefined || (row.imbalance !== undefined) === (imbalanced === "true")),
  );
  const totals = [...Map.groupBy(asked, (row) => row.group)].map(([name, of]) => ({
    group: name,
    ...sumOfRows(of),
  }));
  return {
    balanced: rows.every(({ imbalance }) => imbalance === undefined),
    rows: foldRows(asked, LEDGER_ROWS_MAX).toSorted(inOrder),
    totals: totals.toSorted((left, right) => (left.group < right.group ? -1 : 1)),
  };
}

function inOrder(left: LedgerRow, right: LedgerRow): number {
  if (left.group !== right.group) return left.group < right.group ? -1 : 1;
  if (left.topic !== right.topic) return left.topic < right.topic ? -1 : 1;
  return left.partition - right.partition;
}
