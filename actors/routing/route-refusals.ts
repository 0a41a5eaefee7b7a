/**
 * What a route table may not say: each refusal names the row and the reason.
 *
 * Here is what one row, or the destinations of all of them, can get wrong; whether a row can match
 * at all is found out while compiling. All problems are collected, so that an operator mends a
 * table in one go.
 */

import { Value } from "@sinclair/typebox/value";

import type { Place, RouteRow } from "./route-row.ts";

import { LOCAL, RouteRowSchema } from "./route-row.ts";

/** Topics of the local broker in which frames wait for their egress. */
export const OUTBOX_PREFIX = "outbox.";

export interface KnownBroker {
  /** Absent: any topic may be there. */
  readonly topics?: readonly string[];
  /** Topics that this process takes frames from. */
  readonly ingressTopics?: readonly string[];
}

export interface KnownWorld {
  /** By name; the local broker is among them. */
  readonly brokers: ReadonlyMap<string, KnownBroker>;
  readonly types: readonly { readonly type: string; readonly number: number }[];
}

/** Reasons why `row` cannot be in a table, apart from what the other rows say. */
export function refusalsOf(row: RouteRow, known: KnownWorld): readonly string[] {
  const fault = Value.Errors(RouteRowSchema, row).First();
  if (fault !== undefined) return [`${fault.path || "/"}: ${fault.message}`];
  return [
    ...matchRefusals(row, known),
    ...policyRefusals(row),
    ...idleRefusals(row, known),
    ...targetRefusals(row, known),
  ];
}

function matchRefusals({ match = {} }: RouteRow, known: KnownWorld): readonly string[] {
  const found: string[] = [];
  for (const broker of match.from ?? []) {
    if (!known.brokers.has(broker)) found.push(unknownBroker(broker, known));
  }
  const sources = [...known.brokers].filter(([name]) => match.from?.includes(name) ?? true);
  for (const topic of match.topics ?? []) {
    const isKnown = sources.some(
      ([, { topics, ingressTopics = [] }]) =>
        topics === undefined || topics.includes(topic) || ingressTopics.includes(topic),
    );
    if (!isKnown) found.push(`matches topic ${topic}, which no broker it comes from has`);
  }
  for (const pattern of match.types ?? []) {
    if (numbersOf([pattern], known).size > 0) continue;
    found.push(`matches type ${pattern}; there are ${known.types.map(typeName).join(", ")}`);
  }
  return found;
}

function policyRefusals({ to, policy = {} }: RouteRow): readonly string[] {
  const found: string[] = [];
  const { retry } = policy;
  if (to.length === 0) found.push("to names no destination");
  if (retry !== undefined && retry.delayMinMs > retry.delayMaxMs) {
    found.push(`retry.delayMinMs ${retry.delayMinMs} exceeds delayMaxMs ${retry.delayMaxMs}`);
  }
  if (retry?.deadlineMs !== undefined && retry.deadlineMs < retry.delayMinMs) {
    found.push(`retry.deadlineMs ${retry.deadlineMs} leaves no room for a second attempt`);
  }
  return found;
}

/** Policies that nothing would ever carry out: who asks for a rate must not believe in one. */
function idleRefusals(
  { match = {}, to, policy = {} }: RouteRow,
  { brokers }: KnownWorld,
): readonly string[] {
  const found: string[] = [];
  const comesIn = [...brokers].some(
    ([name, { ingressTopics = [] }]) =>
      ingressTopics.length > 0 && (match.from?.includes(name) ?? true),
  );
  const goesOut = to.some(({ broker }) => broker !== LOCAL);
  if (policy.dedup !== undefined && !comesIn) {
    found.push("dedup has no effect: its frames come in from no other broker");
  }
  for (const name of ["retry", "rate"] as const) {
    if (policy[name] === undefined || comesIn || goesOut) continue;
    found.push(`${name} has no effect: its frames neither come from another broker nor go to one`);
  }
  return found;
}

function targetRefusals({ match = {}, to }: RouteRow, known: KnownWorld): readonly string[] {
  const found: string[] = [];
  const places = new Set<string>();
  for (const destination of to) {
    const { broker, topic, failover } = destination;
    found.push(...placeRefusals(destination, known));
    if (places.has(placeName(destination))) found.push(`goes to ${placeName(destination)} twice`);
    places.add(placeName(destination));
    const returns = known.brokers.get(broker)?.ingressTopics?.includes(topic) === true;
    const takesOwn = match.from?.includes(broker) ?? true;
    if (returns && takesOwn && (match.topics?.includes(topic) ?? true)) {
      found.push(`sends what comes from ${placeName(destination)} back to where it came from`);
    }
    if (failover === undefined) continue;
    found.push(...placeRefusals(failover, known));
    if (broker === LOCAL) found.push(`${LOCAL} needs no failover: without it nothing is committed`);
    if (failover.broker === broker) found.push(`fails over from ${broker} to ${broker} itself`);
  }
  return found;
}

/** Why frames cannot be sent to `place`. */
export function placeRefusals(place: Place, known: KnownWorld): readonly string[] {
  const broker = known.brokers.get(place.broker);
  if (broker === undefined) return [unknownBroker(place.broker, known)];
  if (place.broker === LOCAL && place.topic.startsWith(OUTBOX_PREFIX)) {
    return [`${placeName(place)} is for frames on their way to an egress only`];
  }
  if (broker.topics?.includes(place.topic) ?? true) return [];
  return [`no topic ${place.topic} at ${place.broker}; there are ${broker.topics?.join(", ")}`];
}

/** The rows whose failovers lead back to where they began, with that way. */
export function failoverCycles(rows: readonly RouteRow[]): ReadonlyMap<RouteRow, string> {
  const edges = new Map<string, { readonly row: RouteRow; readonly next: string }[]>();
  for (const row of rows) {
    for (const { broker, topic, failover } of row.to) {
      if (failover === undefined) continue;
      const from = placeName({ broker, topic });
      edges.set(from, [...(edges.get(from) ?? []), { row, next: placeName(failover) }]);
    }
  }
  const cycles = new Map<RouteRow, string>();
  for (const [start, first] of edges) {
    for (const { row, next } of first) {
      if (cycles.has(row)) continue;
      const way = wayBack(edges, next, start, [start]);
      if (way !== undefined) cycles.set(row, way.join(" → "));
    }
  }
  return cycles;
}

function wayBack(
  edges: ReadonlyMap<string, readonly { readonly next: string }[]>,
  at: string,
  start: string,
  way: readonly string[],
): readonly string[] | undefined {
  if (at === start) return [...way, at];
  if (way.includes(at)) return undefined;
  for (const { next } of edges.get(at) ?? []) {
    const found = wayBack(edges, next, start, [...way, at]);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Numbers of the types that one of `patterns` names. */
export function numbersOf(patterns: readonly string[], known: KnownWorld): ReadonlySet<number> {
  const matching = known.types.filter(({ type }) =>
    patterns.some((pattern) =>
      pattern.endsWith(".*") ? type.startsWith(pattern.slice(0, -1)) : type === pattern,
    ),
  );
  return new Set(matching.map(({ number }) => number));
}

export function placeName({ broker, topic }: Place): string {
  return `${broker}/${topic}`;
}

function typeName({ type }: { readonly type: string }): string {
  return type;
}

function unknownBroker(broker: string, known: KnownWorld): string {
  return `no broker ${broker}; there are ${[...known.brokers.keys()].join(", ")}`;
}
