/** The watch over the connection: each change is told once, and an outage ends by itself. */

import { expect, test } from "bun:test";

import type { ConnectionState } from "../../brokers/broker.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { OutageWatch } from "./outage-watch.ts";

function setUp() {
  const environment = createVirtualEnvironment();
  const states: ConnectionState[] = [];
  const server = { isUp: false, probes: 0 };
  const watch = new OutageWatch({
    environment,
    probe: async () => {
      server.probes++;
      if (!server.isUp) throw new Error("still down");
    },
    onConnection: (state) => void states.push(state),
  });
  return { environment, states, server, watch };
}

test("an outage is told once, probed ever more slowly, and its end is told", async () => {
  const { environment, states, server, watch } = setUp();
  watch.succeeded();
  expect(states).toEqual([]);
  watch.failed(new Error("gone"));
  watch.failed(new Error("again"));
  expect(states).toEqual([{ isUp: false, detail: "gone" }]);
  await environment.advance(60_000);
  const { probes } = server;
  expect(probes).toBeGreaterThan(10);
  expect(probes).toBeLessThan(40);
  server.isUp = true;
  await environment.advance(6_000);
  expect(states).toEqual([
    { isUp: false, detail: "gone" },
    { isUp: true, detail: "" },
  ]);
  await environment.advance(60_000);
  expect(environment.pendingTimers()).toBe(0);
});

test("whoever reaches the server ends the outage, and a closed watch is silent", async () => {
  const { environment, states, watch } = setUp();
  watch.failed(new Error("gone"));
  watch.succeeded();
  expect(states.map(({ isUp }) => isUp)).toEqual([false, true]);
  expect(environment.pendingTimers()).toBe(0);
  watch.failed(new Error("gone"));
  watch.close();
  watch.succeeded();
  expect(environment.pendingTimers()).toBe(0);
  expect(states).toHaveLength(3);
});
