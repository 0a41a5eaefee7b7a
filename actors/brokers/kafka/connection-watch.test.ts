/**
 * What counts as an outage of the cluster, and when. No I/O, a virtual clock.
 */

import { expect, test } from "bun:test";

import type { ConnectionState } from "../broker.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { ConnectionWatch } from "./connection-watch.ts";
import { PassingFault } from "./kafka-driver.ts";

const gone = new ShopError("STORAGE_FAULT", "nobody there", "later");
const loading = new PassingFault("kafka: COORDINATOR_LOAD_IN_PROGRESS", undefined);

function setUp() {
  const environment = createVirtualEnvironment();
  const told: ConnectionState[] = [];
  const watch = new ConnectionWatch(environment, (state) => void told.push(state));
  return { environment, told, watch };
}

test("an outage and its end are told once each", () => {
  const { told, watch } = setUp();
  for (const each of [undefined, gone, gone, undefined, undefined]) watch.attempted(each);
  expect(told).toEqual([
    { isUp: false, detail: "nobody there" },
    { isUp: true, detail: "" },
  ]);
});

test("a refusal that only a server can give is no outage", () => {
  const { told, watch } = setUp();
  watch.attempted(new ShopError("STALE", "out of the group", "never"));
  expect(told).toEqual([]);
});

test("a state that passes within ten seconds is no outage", async () => {
  const { environment, told, watch } = setUp();
  watch.attempted(loading);
  await environment.advance(9_999);
  watch.attempted(loading);
  watch.attempted(undefined);
  await environment.advance(9_999);
  watch.attempted(loading);
  expect(told).toEqual([]);
});

test("a state that ought to pass and does not is an outage", async () => {
  const { environment, told, watch } = setUp();
  watch.attempted(loading);
  await environment.advance(10_000);
  watch.attempted(loading);
  expect(told).toEqual([{ isUp: false, detail: "kafka: COORDINATOR_LOAD_IN_PROGRESS" }]);
});

test("a passing state does not end an outage", () => {
  const { told, watch } = setUp();
  watch.attempted(gone);
  watch.attempted(loading);
  expect(told).toEqual([{ isUp: false, detail: "nobody there" }]);
});

test("passing states with a long silence between them are no outage", async () => {
  const { environment, told, watch } = setUp();
  for (let minute = 0; minute < 5; minute++) {
    watch.attempted(loading);
    await environment.advance(60_000);
  }
  expect(told).toEqual([]);
});

test("a run of passing states counts from its own begin", async () => {
  const { environment, told, watch } = setUp();
  watch.attempted(loading);
  await environment.advance(60_000);
  for (let time = 0; time < 2; time++) {
    watch.attempted(loading);
    await environment.advance(5_000);
  }
  expect(told).toEqual([]);
  watch.attempted(loading);
  expect(told).toEqual([{ isUp: false, detail: "kafka: COORDINATOR_LOAD_IN_PROGRESS" }]);
});

test("what cannot be read is told beside what works, until the last of it can be", () => {
  const { told, watch } = setUp();
  watch.unreadable("a", "a is odd");
  watch.attempted(undefined);
  watch.unreadable("b", "b is odd");
  watch.attempted(gone);
  watch.attempted(undefined);
  watch.unreadable("a", undefined);
  watch.unreadable("b", undefined);
  watch.unreadable("b", undefined);
  expect(told.map(({ isUp, detail }) => (isUp ? "up" : detail))).toEqual([
    "a is odd",
    "nobody there",
    "a is odd",
    "b is odd",
    "up",
  ]);
});
