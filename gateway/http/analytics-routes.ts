/**
 * The endpoints of behaviour and analytics: record events, look at the day, ask a question.
 *
 * Events go to a shard and are answered after the commit; figures come from the view, which
 * follows the log. A question that would look at or answer too much is refused with the bound.
 */

import type { AnalyticsQuery } from "../../actors/analytics/analytics-query.ts";
import type { Dimension } from "../../actors/analytics/analytics-metrics.ts";
import type { AnalyticsReads } from "../../actors/analytics/analytics-reads.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import type { CommandPort } from "./command-port.ts";
import type { GatewayDeps } from "./gateway-ports.ts";

import { QUERY_WINDOWS, refuseQuery, AGGREGATES } from "../../actors/analytics/analytics-query.ts";
import { DIMENSIONS, metricNames } from "../../actors/analytics/analytics-metrics.ts";
import { DAY_MS, HOUR_MS, WINDOW_MS, windowStart } from "../../actors/analytics/event-windows.ts";
import { InvariantError } from "../../runtime/errors.ts";
import { GET_REALTIME, QUERY_ANALYTICS, RECORD_EVENTS } from "./analytics-operations.ts";
import { INSTANT_PATTERN, NewEventsSchema } from "./analytics-schemas.ts";
import { analyticsRealtimeJson, analyticsRowsJson } from "./analytics-view.ts";
import { recordBehaviorCommand } from "./behavior-intake.ts";
import { jsonResponse } from "./endpoint.ts";
import { idempotencyKeyOf } from "./idempotency.ts";
import { INSTANT_MS_MAX, instantMs } from "./instant-text.ts";
import { Problem } from "./problem.ts";
import { readQuery } from "./query-string.ts";
import { readJson } from "./request-body.ts";
import { traceparentOf } from "./request-trace.ts";
import { compileBodyCheck, invalidRequest } from "./schema-check.ts";
import { problemOfRefusal } from "./shop-problems.ts";

/** What a thousand events of any usual length need; orders are smaller, and so is their bound. */
const EVENTS_BODY_BYTES_MAX = 1_048_576;
/** How old an answer about the last 24 hours may be: many may watch, one looks. */
const REALTIME_AGE_MS = 250;
/** A look costs this thread its time: it rests nine times as long, and so takes a tenth at most. */
const REALTIME_REST_FACTOR = 9;

export interface AnalyticsRouteDeps {
  readonly environment: Pick<Environment, "nowMs" | "monotonicMs" | "newId">;
  readonly limits: Pick<GatewayDeps["limits"], "jsonDepth" | "commandTimeoutMs">;
  readonly commands: CommandPort;
  readonly analytics: Pick<AnalyticsReads, "query" | "realtime">;
}

const checkNewEvents = compileBodyCheck(NewEventsSchema);
const instantForm = new RegExp(INSTANT_PATTERN);
const currencyForm = /^[A-Z]{3}$/;
const PARAMETERS = [
  "metric",
  "from",
  "to",
  "granularity",
  "groupBy",
  "aggregates",
  "currency",
] as const;
type Given = ReadonlyMap<(typeof PARAMETERS)[number], string>;

export function analyticsRoutes(deps: AnalyticsRouteDeps): readonly Route[] {
  const limited = { admission: "limited" } as const;
  return [
    {
      ...limited,
      method: "POST",
      path: "/v1/events",
      endpoint: (call) => recordEvents(deps, call),
      operation: RECORD_EVENTS,
    },
    {
      ...limited,
      method: "GET",
      path: "/v1/analytics/realtime",
      endpoint: realtimeEndpoint(deps),
      operation: GET_REALTIME,
    },
    {
      ...limited,
      method: "GET",
      path: "/v1/analytics/query",
      endpoint: (call) => queryAnalytics(deps, call),
      operation: QUERY_ANALYTICS,
    },
  ];
}

async function recordEvents(deps: AnalyticsRouteDeps, call: Call): Promise<Answer> {
  const key = idempotencyKeyOf(call.request);
  if (key instanceof Problem) return key;
  const query = readQuery(call.request, []);
  if (query instanceof Problem) return query;
  const { jsonDepth } = deps.limits;
  const read = await readJson(call.request, { bodyBytes: EVENTS_BODY_BYTES_MAX, jsonDepth });
  if (read instanceof Problem) return read;
  const checked = checkNewEvents(read.value);
  if (checked instanceof Problem) return checked;
  const command = recordBehaviorCommand(checked.body, deps.environment, key);
  if (command instanceof Problem) return command;
  const traceparent = traceparentOf(call.request);
  const reply = await deps.commands.send(command, {
    deadlineMs: deps.limits.commandTimeoutMs,
    correlationId: call.correlationId,
    ...(traceparent === undefined ? {} : { traceparent }),
  });
  if (reply.kind === "refused") return problemOfRefusal(reply);
  if (reply.kind !== "recorded") throw new InvariantError(`events answered with ${reply.kind}`);
  const { batchId } = command;
  return jsonResponse(202, JSON.stringify({ accepted: reply.events, batchId }));
}

function realtimeEndpoint({ environment, analytics }: AnalyticsRouteDeps) {
  let lastJson = "";
  let freshUntilMs = 0;
  let looking: Promise<void> | undefined;

  async function look(): Promise<void> {
    const startMs = environment.monotonicMs();
    const nowMs = environment.nowMs();
    lastJson = analyticsRealtimeJson(await analytics.realtime(nowMs), nowMs);
    const endMs = environment.monotonicMs();
    freshUntilMs = endMs + Math.max(REALTIME_AGE_MS, REALTIME_REST_FACTOR * (endMs - startMs));
  }

  return async ({ request }: Call): Promise<Answer> => {
    const query = readQuery(request, []);
    if (query instanceof Problem) return query;
    if (lastJson === "" || environment.monotonicMs() >= freshUntilMs) {
      // Who comes while somebody looks waits for what is found.
      looking ??= look().finally(() => (looking = undefined));
      await looking;
    }
    return jsonResponse(200, lastJson, { "cache-control": "no-store" });
  };
}

async function queryAnalytics(
  { environment, analytics }: AnalyticsRouteDeps,
  call: Call,
): Promise<Answer> {
  const given = readQuery(call.request, PARAMETERS);
  if (given instanceof Problem) return given;
  const query = parseQuery(given, environment.nowMs());
  if (query instanceof Problem) return query;
  const answer = await analytics.query(query);
  if (answer.kind === "rows") return jsonResponse(200, analyticsRowsJson(query, answer.rows));
  const detail =
    answer.what === "rows"
      ? `the answer has more than ${answer.limit} rows; ask for less time or another grouping`
      : `more than ${answer.limit} values of windows would be looked at; ask for less time`;
  return invalidRequest([{ parameter: "from", detail }]);
}

/** The question in the parameters, with every default filled in. */
function parseQuery(given: Given, nowMs: number): AnalyticsQuery | Problem {
  const metric = oneOf(given, "metric", metricNames());
  if (metric instanceof Problem) return metric;
  if (metric === undefined) return invalid("metric", `is missing: ${metricNames().join(", ")}`);
  const window = oneOf(given, "granularity", QUERY_WINDOWS) ?? "hour";
  if (window instanceof Problem) return window;
  const groupBy: Dimension | Problem = oneOf(given, "groupBy", DIMENSIONS) ?? "all";
  if (groupBy instanceof Problem) return groupBy;
  const aggregates = (given.get("aggregates") ?? "count").split(",").map(aggregateOf);
  const known = aggregates.filter((name) => name !== undefined);
  if (known.length < aggregates.length || new Set(known).size < known.length) {
    return invalid("aggregates", `must be some of ${AGGREGATES.join(", ")}, each once`);
  }
  const currency = given.get("currency");
  if (currency !== undefined && !currencyForm.test(currency)) {
    return invalid("currency", "must be three capital letters");
  }
  const refused = refuseQuery(metric, groupBy, known, currency);
  if (refused !== undefined) return invalid(refused.part, refused.detail);
  const range = parseRange(given, window === "minute" ? WINDOW_MS.minute : HOUR_MS, nowMs);
  if (range instanceof Problem) return range;
  const shared = { metric, ...range, window, groupBy, aggregates: known };
  return currency === undefined ? shared : { ...shared, currency };
}

function parseRange(given: Given, windowMs: number, nowMs: number) {
  const to = parseInstant(given, "to") ?? nowMs;
  if (to instanceof Problem) return to;
  const from = parseInstant(given, "from") ?? Math.max(0, to - DAY_MS);
  if (from instanceof Problem) return from;
  if (from >= to) return invalid("from", "must be before `to`");
  // To is exclusive: on a boundary it stays, else the window it is in counts whole.
  const toMs = windowStart(to + windowMs - 1, windowMs);
  if (toMs > INSTANT_MS_MAX) return invalid("to", "must be in a window that ends before 10000");
  return { fromMs: windowStart(from, windowMs), toMs };
}

function parseInstant(given: Given, name: "from" | "to"): number | Problem | undefined {
  const text = given.get(name);
  if (text === undefined) return undefined;
  const atMs = instantForm.test(text) ? instantMs(text) : undefined;
  return (
    atMs ?? invalid(name, "must be a time of RFC 3339 from 1970 to 9999, as 2026-01-31T09:30:00Z")
  );
}

function oneOf<const Name extends string>(
  given: Given,
  parameter: (typeof PARAMETERS)[number],
  names: readonly Name[],
): Name | Problem | undefined {
  const text = given.get(parameter);
  if (text === undefined) return undefined;
  return (
    names.find((name) => name === text) ?? invalid(parameter, `must be one of ${names.join(", ")}`)
  );
}

function aggregateOf(text: string) {
  return AGGREGATES.find((name) => name === text);
}

function invalid(parameter: string, detail: string): Problem {
  return invalidRequest([{ parameter, detail }]);
}
