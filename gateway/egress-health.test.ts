/**
 * Health of what goes to other brokers, from gauges that the tests set. Nothing is measured here.
 */

import { expect, test } from "bun:test";

import type { Sample } from "../runtime/threads/counter-page.ts";

import { egressHealth } from "./egress-health.ts";

const NOW_MS = 1_700_000_000_000;

interface Gauges {
  readonly circuit?: number;
  readonly depth?: number;
  readonly ageSeconds?: number;
  readonly published?: number;
  readonly failed?: number;
}

function healthOf(gauges: Gauges, broker = "kafka") {
  const { circuit = 0, depth = 0, ageSeconds = 0, published = 0, failed = 0 } = gauges;
  const gauge = (name: string, value: number, more: Record<string, string> = {}): Sample => ({
    kind: "gauge",
    name,
    help: "",
    labels: { broker, ...more },
    value,
  });
  const samples = [
    gauge("shopstream_egress_circuit", circuit),
    gauge("shopstream_outbox_depth", depth),
    gauge("shopstream_outbox_age_seconds", ageSeconds),
    gauge("shopstream_egress_frames", failed, { outcome: "failed" }),
    gauge("shopstream_egress_frames", published, { outcome: "published" }),
  ];
  return egressHealth(samples, NOW_MS);
}

test("a broker that nothing goes to has no part", () => {
  expect(healthOf({})).toEqual([]);
  expect(healthOf({ published: 5, depth: 1 }, "elsewhere")).toEqual([]);
});

test("one that takes what it is sent is up, whatever waits", () => {
  expect(healthOf({ published: 30, failed: 10, depth: 4, ageSeconds: 2 })).toEqual([
    {
      name: "egress.kafka",
      status: "up",
      latencyMs: 2_000,
      errorRate: 0.25,
      lastCheckedMs: NOW_MS,
    },
  ]);
});

test.each([
  ["open", 2],
  ["half open", 1],
])("while its circuit is %s it is degraded, and says what waits", (_state, circuit) => {
  expect(healthOf({ circuit, depth: 120, ageSeconds: 61, failed: 5 })).toMatchObject([
    {
      name: "egress.kafka",
      status: "degraded",
      errorRate: 1,
      detail: "its circuit is not closed: 120 frames wait, the oldest of them 61 s",
    },
  ]);
});

test("what waits for no broker is a part of its own, until it is gone", () => {
  expect(healthOf({ circuit: 2, depth: 7 }, "none")).toEqual([
    {
      name: "outbox",
      status: "degraded",
      latencyMs: 0,
      errorRate: 0,
      lastCheckedMs: NOW_MS,
      detail: "7 frames wait for topics that no setting names; the log says which",
    },
  ]);
  expect(healthOf({ depth: 0 }, "none")).toEqual([]);
});
