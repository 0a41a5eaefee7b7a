/**
 * Units of work on their way through the table: what changes, what does not, and all or nothing.
 *
 * The store commits by script where a commit must be refused.
 */

import { describe, expect, test } from "bun:test";

import type { CommitResult, Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { RouteRow } from "./route-row.ts";

import { decodeFrame } from "../../runtime/frames/frame.ts";
import { FRAME_BYTES_MAX } from "../../runtime/limits.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { LOCAL } from "./route-row.ts";
import { routeStore } from "./route-store.ts";
import { createWorld, makeFrame } from "./routing-world.suite.ts";

const FAN_OUT: RouteRow = {
  name: "fan-out",
  match: { keyPrefix: "eu-" },
  to: [
    { broker: LOCAL, topic: "orders" },
    { broker: "alpha", topic: "copies" },
    { broker: "beta", topic: "copies" },
  ],
};

function unitOf(...outgoing: UnitOfWork["outgoing"]): UnitOfWork {
  return { ...EMPTY_UNIT, outgoing };
}

describe("a unit", () => {
  test("that goes where it says stays the same object", () => {
    const { environment, router } = createWorld({ routes: [FAN_OUT] });
    const frame = makeFrame(environment, { key: "us-1" });
    const timer = { id: "t", dueAtMs: 0, outgoing: { topic: "orders", frame } };
    const unit = { ...unitOf({ topic: "orders", frame }), timersStarted: [timer] };
    const routed = router.routeUnit(unit);
    expect(routed.unit).toBe(unit);
    expect(routed.remote).toBeUndefined();
  });
  test("is sent to every place of a fan-out under one message id, in one commit", async () => {
    const { environment, router } = createWorld({ routes: [FAN_OUT] });
    const committed: UnitOfWork[] = [];
    const inner: Store = {
      acknowledges: true,
      load: () => Promise.resolve([]),
      commit: async (unit) => {
        committed.push(unit);
        return { kind: "committed" };
      },
    };
    const frame = makeFrame(environment, { key: "eu-1", headers: { own: "kept" } });
    await routeStore(inner, router).commit(unitOf({ topic: "orders", frame }), []);
    expect(committed).toHaveLength(1);
    const [outgoing = []] = committed.map((unit) => unit.outgoing);
    expect(outgoing.map(({ topic }) => topic)).toEqual(["orders", "outbox.alpha", "outbox.beta"]);
    expect(outgoing[0]?.frame).toBe(frame);
    const ids = outgoing.map((one) => decodeFrame(one.frame).id);
    expect(new Set(ids).size).toBe(1);
    expect(decodeFrame(outgoing[1]?.frame ?? frame).headers).toEqual({
      own: "kept",
      routetopic: "copies",
      route: "fan-out",
    });
  });
  test("is counted as waiting only once it is committed", async () => {
    const { environment, router } = createWorld({ routes: [FAN_OUT] });
    const appended: number[] = [];
    router.watch({
      broker: "alpha",
      depth: () => 0,
      appended: (frames) => void appended.push(frames),
    });
    const answers: CommitResult[] = [
      { kind: "conflict", table: "orders", key: "o", version: 1 },
      { kind: "committed" },
    ];
    const inner: Store = {
      acknowledges: true,
      load: () => Promise.resolve([]),
      commit: async () => answers.shift() ?? { kind: "committed" },
    };
    const unit = unitOf({ topic: "orders", frame: makeFrame(environment, { key: "eu-1" }) });
    await routeStore(inner, router).commit(unit, []);
    expect(appended).toEqual([]);
    await routeStore(inner, router).commit(unit, []);
    expect(appended).toEqual([1]);
  });
  test("takes its timers along: each copy falls due, and cancelling takes all of them back", () => {
    const { environment, router } = createWorld({ routes: [FAN_OUT] });
    const outgoing = { topic: "orders", frame: makeFrame(environment, { key: "eu-1" }) };
    const timersStarted = [{ id: "t", dueAtMs: 5, outgoing }];
    const started = router.routeUnit({ ...EMPTY_UNIT, timersStarted }).unit.timersStarted;
    expect(started.map(({ id, outgoing: { topic } }) => [id, topic])).toEqual([
      ["t", "orders"],
      ["t#1", "outbox.alpha"],
      ["t#2", "outbox.beta"],
    ]);
    const cancelled = router.routeUnit({ ...EMPTY_UNIT, timersCancelled: ["t"] }).unit;
    expect(cancelled.timersCancelled).toEqual(["t", "t#1", "t#2"]);
  });
  test("has the deadline and the lane of its route written into its frames", () => {
    const policy = { ttlMs: 1_000, priority: "high" as const };
    const to = [{ broker: LOCAL, topic: "orders" }];
    const { environment, router } = createWorld({ routes: [{ name: "orders", to, policy }] });
    const nowMs = environment.nowMs();
    const routed = (deadlineMs: number) => {
      const frame = makeFrame(environment, { deadlineMs });
      const [outgoing] = router.routeUnit(unitOf({ topic: "orders", frame })).unit.outgoing;
      return decodeFrame(outgoing?.frame ?? frame);
    };
    expect(routed(0)).toMatchObject({ deadlineMs: nowMs + 1_000, headers: { priority: "high" } });
    expect(routed(nowMs + 10).deadlineMs).toBe(nowMs + 10);
    expect(routed(nowMs + 9_999).deadlineMs).toBe(nowMs + 1_000);
  });
});

describe("a frame", () => {
  test("that no row matches waits to be buried, with the topic it was for", () => {
    const { environment, router } = createWorld();
    const frame = makeFrame(environment, { type: 999 });
    const [outgoing] = router.routeUnit(unitOf({ topic: "orders", frame })).unit.outgoing;
    expect(outgoing?.topic).toBe("outbox.unmatched");
    expect(decodeFrame(outgoing?.frame ?? frame).headers).toEqual({ routetopic: "orders" });
  });
  test("that no row matches goes where the configuration says", () => {
    const unmatched = { broker: LOCAL, topic: "payments" };
    const { environment, router } = createWorld({ unmatched });
    const frame = makeFrame(environment, { type: 999 });
    const { unit } = router.routeUnit(unitOf({ topic: "orders", frame }));
    expect(unit.outgoing).toEqual([{ topic: "payments", frame }]);
  });
  test("that is redriven goes back to the one topic it was buried in", () => {
    const { environment, router } = createWorld({ routes: [FAN_OUT] });
    const headers = { redriven: "g/orders/0/1" };
    const again = makeFrame(environment, { key: "eu-1", headers });
    const inOutbox = makeFrame(environment, { key: "eu-1" });
    const unit = unitOf(
      { topic: "orders", frame: again },
      { topic: "outbox.alpha", frame: inOutbox },
    );
    expect(router.routeUnit(unit).unit).toBe(unit);
  });
});

test("a frame that its new headers make too large rejects the commit, and nothing is sent", () => {
  const { environment, store } = createWorld({ routes: [FAN_OUT] });
  const room = FRAME_BYTES_MAX - makeFrame(environment, { key: "eu-1" }).byteLength - 8;
  const body = new Uint8Array(room);
  const unit = unitOf({ topic: "orders", frame: makeFrame(environment, { key: "eu-1", body }) });
  expect(store.commit(unit, [])).rejects.toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
});

test("new work is refused while more waits for one broker than may, and by its name", () => {
  const { router } = createWorld({ outboxFramesMax: 10 });
  let depth = 0;
  router.watch({ broker: "alpha", depth: () => 0, appended: () => undefined });
  router.watch({ broker: "beta", depth: () => depth, appended: () => undefined });
  expect(router.admission()).toBe("open");
  depth = 10;
  expect(router.admission()).toBe("open");
  depth = 11;
  expect(router.admission()).toEqual({ reason: "11 frames wait for broker beta, at most 10" });
});
