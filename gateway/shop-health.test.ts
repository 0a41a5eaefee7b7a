/**
 * Health on a virtual clock, from counters that the tests set. Nothing is measured here.
 */

import { expect, test } from "bun:test";

import type { Sample } from "../runtime/threads/counter-page.ts";

import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { ShopHealth } from "./shop-health.ts";

function createHealth() {
  const environment = createVirtualEnvironment();
  const counted = {
    ok: 0,
    dead: 0,
    seconds: 0,
    timed: 0,
    commitSeconds: 0,
    commits: 0,
    units: 0,
    refusedUnits: 0,
    circuit: 0,
  };
  let active = 2;
  const sample = (status: "ok" | "dead"): Sample => ({
    kind: "counter",
    name: "shopstream_messages_processed_total",
    help: "",
    labels: { service: "payment", topic: "orders", status },
    value: counted[status],
  });
  const units = (answer: string, value: number): Sample => ({
    kind: "counter",
    name: "shopstream_store_units_total",
    help: "",
    labels: { answer },
    value,
  });
  const health = new ShopHealth({
    environment,
    services: ["payment"],
    samples: () => [
      sample("ok"),
      sample("dead"),
      {
        kind: "histogram",
        name: "shopstream_message_processing_duration_seconds",
        help: "",
        labels: { service: "payment", topic: "orders" },
        buckets: [],
        sum: counted.seconds,
        count: counted.timed,
      },
      {
        kind: "histogram",
        name: "shopstream_store_commit_duration_seconds",
        help: "",
        labels: {},
        buckets: [],
        sum: counted.commitSeconds,
        count: counted.commits,
      },
      {
        kind: "gauge",
        name: "shopstream_egress_circuit",
        help: "",
        labels: { broker: "kafka" },
        value: counted.circuit,
      },
      units("committed", counted.units),
      units("refused", counted.refusedUnits),
    ],
    views: [],
    viewsRunning: () => true,
    lagDegradedMs: 10_000,
    shards: () => ({ specs: 2, active }),
  });
  return {
    environment,
    health,
    counted,
    setActive: (count: number) => (active = count),
    service: (name: string) => health.report().services.find((one) => one.name === name),
  };
}

test("a shop that did nothing yet is up, and says when it looked", () => {
  const { environment, health } = createHealth();
  const report = health.report();
  expect(report.status).toBe("up");
  expect(report.services.map(({ name }) => name)).toEqual([
    "payment",
    "journal",
    "ledger",
    "shards",
  ]);
  expect(report.services[0]?.lastCheckedMs).toBe(environment.nowMs());
});

test("latency is the mean of late, and errors older than the window are forgotten", async () => {
  const { environment, counted, service } = createHealth();
  Object.assign(counted, { ok: 10, dead: 0, seconds: 1, timed: 10 });
  await environment.advance(1_000);
  expect(service("payment")?.latencyMs).toBeCloseTo(100);
  counted.dead = 90;
  await environment.advance(1_000);
  expect(service("payment")).toMatchObject({ status: "degraded", errorRate: 0.9 });
  expect(service("payment")?.detail).toBe("90 of 100 attempts failed");
  await environment.advance(20_000);
  expect(service("payment")).toMatchObject({ status: "up", errorRate: 0 });
});

test("a few failures say nothing", async () => {
  const { environment, counted, service } = createHealth();
  counted.dead = 4;
  await environment.advance(1_000);
  expect(service("payment")?.status).toBe("up");
});

test("the journal's latency is its commits' mean, and refused units are its errors", async () => {
  const { environment, counted, service } = createHealth();
  Object.assign(counted, { commitSeconds: 0.5, commits: 100, units: 300, refusedUnits: 100 });
  await environment.advance(1_000);
  expect(service("journal")).toMatchObject({ status: "up", errorRate: 0.25 });
  expect(service("journal")?.latencyMs).toBeCloseTo(5);
});

test("a refusal of storage degrades the journal for a while", async () => {
  const { environment, health, service } = createHealth();
  health.refused("the disk is full");
  expect(service("journal")).toMatchObject({ status: "degraded", detail: "the disk is full" });
  expect(health.report().status).toBe("degraded");
  await environment.advance(6_000);
  expect(service("journal")?.status).toBe("up");
});

test("a group that holds much of the log degrades the journal, named, until it is well", () => {
  const { health, service } = createHealth();
  health.holding("");
  expect(service("journal")?.status).toBe("up");
  health.holding("notification holds 51 % of what the log may be: 9 records");
  expect(service("journal")).toMatchObject({ status: "degraded" });
  expect(service("journal")?.detail).toStartWith("notification holds 51 %");
  health.damaged("a record");
  expect(service("journal")?.detail).toBe("a record");
  health.holding("");
  expect(service("journal")?.detail).toBe("a record");
});

test("a shard that does not run degrades the shop", () => {
  const { setActive, service, health } = createHealth();
  setActive(1);
  expect(service("shards")).toMatchObject({ status: "degraded", detail: "1 of 2 run" });
  expect(health.report().status).toBe("degraded");
});

test("a broker whose circuit is open degrades the shop until it is closed", () => {
  const { counted, health, service } = createHealth();
  expect(service("egress.kafka")).toBeUndefined();
  counted.circuit = 2;
  expect(service("egress.kafka")).toMatchObject({ status: "degraded" });
  expect(health.report().status).toBe("degraded");
  counted.circuit = 0;
  expect(health.report().status).toBe("up");
});

test("stopped, it looks no more", () => {
  const { environment, health } = createHealth();
  health.stop();
  expect(environment.pendingTimers()).toBe(0);
});

test("a damaged record degrades the journal until the shop is started again", async () => {
  const { environment, health, service } = createHealth();
  health.damaged("row cup of stock");
  await environment.advance(3_600_000);
  expect(service("journal")).toMatchObject({ status: "degraded", detail: "row cup of stock" });
  expect(health.report().status).toBe("degraded");
});
