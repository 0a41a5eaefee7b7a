/** What is told of a broker to which the relay and an egress lead. States are made up, no I/O. */

import { expect, test } from "bun:test";

import type { EgressState } from "../routing/egress.ts";
import type { RelayLaneState } from "../stores/postgres/outbox-relay-lane.ts";

import { outboxRefusal, wayStates } from "./outbox-samples.ts";

const LANE: RelayLaneState = {
  name: "redis",
  depth: 3,
  isUp: true,
  detail: "",
  published: 100,
  failed: 4,
  refused: 0,
  readsBack: false,
};
const EGRESS: EgressState = {
  circuit: "closed",
  depth: 20,
  oldestAgeMs: 700,
  published: 50,
  failed: 1,
  failedOver: 2,
};
const NOTHING = { depth: 0, published: 0, failed: 0, oldestAgeMs: 0, failedOver: 0 };

const egress = (name: string, state: Partial<EgressState> = {}) => ({
  name,
  state: () => ({ ...EGRESS, ...state }),
});

test("one way to a broker is told as it is", () => {
  const states = wayStates([{ ...LANE, name: "kafka" }], [egress("redis")]);
  expect([...states.keys()]).toEqual(["kafka", "redis"]);
  expect(states.get("kafka")).toEqual({
    ...NOTHING,
    circuit: "closed",
    depth: 3,
    published: 100,
    failed: 4,
  });
  expect(states.get("redis")).toEqual(EGRESS);
});

test("two ways to one broker are one figure: sums, the older age", () => {
  expect(wayStates([LANE], [egress("redis")]).get("redis")).toEqual({
    circuit: "closed",
    depth: 23,
    oldestAgeMs: 700,
    published: 150,
    failed: 5,
    failedOver: 2,
  });
});

test.each([
  [true, "closed", "closed"],
  [true, "half_open", "half_open"],
  [true, "open", "open"],
  [false, "closed", "open"],
  [false, "half_open", "open"],
] as const)("relay up: %p, circuit %s: the broker is %s", (isUp, circuit, together) => {
  const states = wayStates([{ ...LANE, isUp }], [egress("redis", { circuit })]);
  expect(states.get("redis")?.circuit).toBe(together);
});

test("without any there is nothing to show", () => {
  expect(wayStates([], []).size).toBe(0);
});

test("a full outbox refuses new work and names its broker", () => {
  const lanes = [
    { name: "kafka", depth: 10 },
    { name: "redis", depth: 9 },
    { name: "rabbitmq", depth: 25 },
    { name: "none", depth: 99 },
  ];
  expect(outboxRefusal(lanes, 10)).toMatchObject({
    code: "SATURATED",
    retry: "later",
    message: "10 frames wait for broker kafka, 25 frames wait for broker rabbitmq, at most 10",
  });
  expect(outboxRefusal(lanes, 26)).toBeUndefined();
});
