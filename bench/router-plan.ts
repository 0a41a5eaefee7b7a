/**
 * What the threads of `router.bench.ts` agree on: records, routes, clock, and what a run must show.
 *
 * A record in a ring is the time at which it should have been sent, its number, and the frame.
 * Nothing here measures.
 */

import type { RouteTable } from "../actors/routing/route-table.ts";

import { compileRoutes } from "../actors/routing/compile-routes.ts";
import { LOCAL } from "../actors/routing/route-row.ts";
import { encodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";

export const INSTANCE = "router-bench";
export const SENDER = 0;
export const SHARD = 1;

export const SLOTS = 64;
export const KEYS = 8_192;
export const INBOUND = "inbound";
/** Where each type goes; the index is what a record between rings carries as its kind. */
export const TOPICS = ["orders", "payments", "inventory", "shipping"] as const;
/** f64 of the intended time, then u32 of the record's number, then nothing. */
export const PREFIX_BYTES = 16;
export const NUMBER_AT = 8;
const PAYLOAD_BYTES = 96;

export interface Task {
  readonly mode: "broker" | "ring";
  /** Messages a second; 0: as fast as they are taken. */
  readonly ratePerSecond: number;
  /** All messages; the first `warmUp` of them, a multiple of 8, are not measured. */
  readonly count: number;
  readonly warmUp: number;
}

/** Sent when the warm-up is over. */
export interface Warm {
  readonly kind: "warm";
}

export interface ThreadData extends Task {
  readonly toShard: SharedArrayBuffer;
  readonly toSender: SharedArrayBuffer;
}

/** What the thread at the end of the way found. */
export interface Verdict {
  readonly kind: "verdict";
  readonly count: number;
  /** Out of their key's order, twice, or in the wrong place. */
  readonly wrong: number;
  /** Since the warm-up. */
  readonly elapsedMs: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export function benchTable(): RouteTable {
  const types = TOPICS.map((topic, at) => ({ type: `${topic}.happened`, number: at + 1 }));
  const builtIn = TOPICS.map((topic) => ({
    name: topic,
    match: { types: [`${topic}.happened`] },
    to: [{ broker: LOCAL, topic }],
  }));
  return compileRoutes(
    { configured: [], builtIn, unmatched: "dead_letter" },
    {
      brokers: new Map([
        [LOCAL, { topics: [...TOPICS] }],
        ["source", { topics: [INBOUND], ingressTopics: [INBOUND] }],
      ]),
      types,
    },
  );
}

/** Message `number`; those of one key come round every `KEYS` messages. */
export function messageOf(number: number): Uint8Array {
  const key = `order-${number % KEYS}`;
  const payload = new Uint8Array(PAYLOAD_BYTES);
  new DataView(payload.buffer).setFloat64(0, number, true);
  return encodeFrame({
    type: 1 + (number % TOPICS.length),
    slot: slotOf(key, SLOTS),
    key,
    payload,
    id: `0190163d-8a7f-7c3e-9f2a-${number.toString(16).padStart(12, "0")}`,
    timeMs: 1_700_000_000_000,
  });
}

/** The same on every thread, in milliseconds with fractions. */
export function clockMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Of `latenciesMs`, which is sorted in place, and of what else was counted. */
export function verdictOf(
  latenciesMs: Float64Array,
  counts: Pick<Verdict, "count" | "wrong" | "elapsedMs">,
): Verdict {
  latenciesMs.sort();
  const samples = latenciesMs.length;
  const at = (share: number): number =>
    latenciesMs[Math.min(samples - 1, Math.floor(samples * share))] ?? Number.NaN;
  const [p50Ms, p95Ms, p99Ms, maxMs] = [at(0.5), at(0.95), at(0.99), at(1)];
  return { kind: "verdict", ...counts, p50Ms, p95Ms, p99Ms, maxMs };
}
