/**
 * The router between brokers, in memory: outages, order per key, failover, retries, dead letters.
 *
 * The brokers fail on purpose; nothing may be lost, repeated in the log, or reordered for a key.
 */

import { describe, expect, test } from "bun:test";

import type { Broker, Outgoing } from "../brokers/broker.ts";
import type { Egress, EgressOptions } from "./egress.ts";
import type { RouteRow } from "./route-row.ts";
import type { FrameFields, World, WorldOptions } from "./routing-world.suite.ts";

import { ShopError } from "../../runtime/errors.ts";
import { DELIVERY_POLICY } from "../delivery/delivery-policy.ts";
import { redrive } from "../delivery/redrive.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { EGRESS_SETTINGS, startEgress } from "./egress.ts";
import { startIngress, startUnmatched } from "./ingress.ts";
import { LOCAL } from "./route-row.ts";
import { createWorld, listen, makeFrame, SLOTS } from "./routing-world.suite.ts";

const BOTH: readonly RouteRow[] = [
  {
    name: "copies",
    match: { types: ["order.*"] },
    to: [
      { broker: LOCAL, topic: "orders" },
      { broker: "alpha", topic: "copies" },
      { broker: "beta", topic: "copies" },
    ],
  },
];
const SMALL = { ...DELIVERY_POLICY, creditFrames: 8 };

async function startWorld(options: WorldOptions = {}, more: Partial<EgressOptions> = {}) {
  const world = createWorld({ routes: BOTH, ...options });
  const { environment, local, router, store, system } = world;
  const circuits: string[] = [];
  const start = (name: "alpha" | "beta", own: Partial<EgressOptions> = {}): Promise<Egress> =>
    startEgress({
      name,
      source: local.broker,
      target: world[name].broker,
      router,
      store,
      system,
      environment,
      onCircuit: (state) => void circuits.push(`${name} ${state}`),
      ...more,
      ...own,
    });
  return { ...world, circuits, start };
}

function send(
  world: Pick<World, "environment" | "store">,
  fields: FrameFields = {},
  topic = "orders",
) {
  const outgoing: Outgoing = { topic, frame: makeFrame(world.environment, fields) };
  return world.store.commit({ ...EMPTY_UNIT, outgoing: [outgoing] }, []);
}

/** What `heard` has of each key, in order. */
function byKey(heard: readonly string[]): Record<string, string[]> {
  const keys: Record<string, string[]> = {};
  for (const one of heard) {
    const [key = "", type = ""] = one.split("#");
    (keys[key] ??= []).push(type);
  }
  return keys;
}

describe("while one broker is down", () => {
  test("its frames wait in order, the others flow, and nothing is lost", async () => {
    const world = await startWorld();
    const { environment, alpha, beta, circuits } = world;
    const [here, atAlpha, atBeta] = await Promise.all([
      listen(environment, world.local.broker, "orders"),
      listen(environment, alpha.broker, "copies"),
      listen(environment, beta.broker, "copies"),
    ]);
    await world.start("alpha");
    const toBeta = await world.start("beta");
    beta.faults.ioFault = true;
    const keys = ["a", "b", "c", "d", "e", "f"];
    for (const type of [1, 2, 1, 2]) {
      for (const key of keys) await send(world, { key, type });
      await environment.advance(200);
    }
    expect([here.length, atAlpha.length, atBeta.length]).toEqual([24, 24, 0]);
    expect(toBeta.state()).toMatchObject({ circuit: "open", depth: 24, published: 0 });
    expect(toBeta.state().oldestAgeMs).toBe(800);
    expect(world.router.admission()).toBe("open");
    beta.faults.ioFault = false;
    await environment.advance(30_000);
    const inOrder = Object.fromEntries(keys.map((key) => [key, ["1", "2", "1", "2"]]));
    expect(byKey(atBeta)).toEqual(inOrder);
    expect(byKey(atAlpha)).toEqual(inOrder);
    expect(toBeta.state()).toMatchObject({ circuit: "closed", depth: 0, published: 24 });
    expect(circuits).toEqual(["beta open", "beta half_open", "beta closed"]);
    expect(await world.local.broker.deadLetters("outbox.beta", 0, 10)).toEqual([]);
  });
  test("for hours, no attempt is counted and nothing is buried", async () => {
    const world = await startWorld({}, { settings: { ...EGRESS_SETTINGS, batchMax: 1 } });
    const { environment, beta } = world;
    beta.faults.diskFull = true;
    const heard = await listen(environment, beta.broker, "copies");
    await world.start("beta");
    await send(world);
    await environment.advance(7_200_000);
    expect(heard).toEqual([]);
    beta.faults.diskFull = false;
    await environment.advance(20_000);
    expect(heard).toEqual(["k#1"]);
  });
  test("a publication that is never answered opens the circuit, and is sent again", async () => {
    const world = await startWorld();
    const { environment, alpha, circuits } = world;
    const heard = await listen(environment, alpha.broker, "copies");
    let isDead = true;
    const egress = await world.start("alpha", {
      target: {
        publish: (frames) =>
          isDead ? new Promise<void>(() => undefined) : alpha.broker.publish(frames),
      },
    });
    await send(world, { type: 1 });
    await environment.advance(40_000);
    await send(world, { type: 2 });
    await environment.advance(100);
    expect(circuits[0]).toBe("alpha open");
    expect(egress.state()).toMatchObject({ published: 0, depth: 2 });
    isDead = false;
    await environment.advance(30_000);
    expect(heard).toEqual(["k#1", "k#2"]);
    expect(egress.state()).toMatchObject({ published: 2, depth: 0 });
    expect(await world.local.broker.deadLetters("outbox.alpha", 0, 10)).toEqual([]);
  });
  test("a full outbox refuses new work, beyond what is in hand, and opens again", async () => {
    const world = await startWorld({ outboxFramesMax: 20 }, { policy: SMALL });
    const { environment, beta, router } = world;
    const egress = await world.start("beta", { depthAtStart: 0 });
    beta.faults.ioFault = true;
    for (let at = 0; at < 20; at++) await send(world, { key: `k${at % 5}` });
    await environment.advance(100);
    expect(router.admission()).toBe("open");
    await send(world, { key: "k21" });
    await environment.advance(100);
    expect(egress.state().depth).toBe(21);
    expect(router.admission()).toEqual({ reason: "21 frames wait for broker beta, at most 20" });
    beta.faults.ioFault = false;
    await environment.advance(30_000);
    expect(router.admission()).toBe("open");
    expect(egress.state()).toMatchObject({ depth: 0, published: 21 });
  });
  test("what waited before a restart is still counted after it", async () => {
    const world = await startWorld({ outboxFramesMax: 20 }, { policy: SMALL });
    for (let at = 0; at < 30; at++) await send(world, { key: `k${at}` });
    world.beta.faults.ioFault = true;
    await world.start("beta", { depthAtStart: 30 });
    await world.environment.advance(1_000);
    expect(world.router.admission()).toEqual({
      reason: "30 frames wait for broker beta, at most 20",
    });
  });
  test("a wrong count is set right by the broker's own", async () => {
    const world = await startWorld({}, { policy: SMALL });
    world.beta.faults.ioFault = true;
    for (let at = 0; at < 30; at++) await send(world, { key: `k${at}` });
    const egress = await world.start("beta", { depthAtStart: 500 });
    await world.environment.advance(100);
    expect(egress.state().depth).toBe(500);
    const books = egress.consumer.books();
    await world.environment.settle();
    await books;
    expect(egress.state().depth).toBe(30);
  });
  test("its frames fail over once it was down long enough, new ones return to it", async () => {
    const to = [
      { broker: "beta", topic: "copies", failover: { broker: "alpha", topic: "orders" } },
    ];
    const settings = { ...EGRESS_SETTINGS, failoverAfterMs: 10_000 };
    const routes = [{ name: "safe", match: { keyPrefix: "k" }, to }];
    const world = await startWorld({ routes }, { settings });
    const { environment, alpha, beta } = world;
    const atAlpha = await listen(environment, alpha.broker, "orders");
    const atBeta = await listen(environment, beta.broker, "copies");
    await world.start("alpha");
    const egress = await world.start("beta");
    beta.faults.ioFault = true;
    for (const type of [1, 2]) await send(world, { key: "k1", type });
    await environment.advance(9_000);
    expect(atAlpha).toEqual([]);
    await environment.advance(21_000);
    expect(atAlpha).toEqual(["k1#1", "k1#2"]);
    expect(egress.state()).toMatchObject({ failedOver: 2, depth: 0 });
    beta.faults.ioFault = false;
    await send(world, { key: "k2" });
    await environment.advance(30_000);
    expect([atBeta, atAlpha.length]).toEqual([["k2#1"], 2]);
    expect(egress.state().published).toBe(1);
  });
});

describe("an egress", () => {
  test("takes frames of the high lane first, and leaves the normal one its share", async () => {
    const routes: readonly RouteRow[] = [
      {
        name: "vip",
        match: { keyPrefix: "v" },
        to: [{ broker: "beta", topic: "copies" }],
        policy: { priority: "high" },
      },
      { name: "rest", to: [{ broker: "beta", topic: "copies" }] },
    ];
    const batches: string[][] = [];
    const target: Pick<Broker, "publish"> = {
      publish: async (frames) => {
        batches.push(frames.map(({ frame }) => new TextDecoder().decode(frame.slice(80, 82))));
      },
    };
    const settings = { ...EGRESS_SETTINGS, batchMax: 4 };
    const world = await startWorld({ routes }, { target, settings });
    for (const key of ["n1", "n2", "n3", "v1", "v2", "v3", "v4", "v5"]) await send(world, { key });
    await world.start("beta");
    await world.environment.advance(1_000);
    // Partitions come one after the other, so what is ready together is not what was sent together.
    const flat = batches.flat();
    expect(flat.toSorted()).toEqual(["n1", "n2", "n3", "v1", "v2", "v3", "v4", "v5"]);
    for (const batch of batches) {
      const lanes = batch.map((key) => key.charAt(0)).join("");
      expect(lanes).toMatch(/^v*n*$/);
    }
    expect(batches.length).toBeLessThanOrEqual(4);
  });
  test("buries the one frame that the broker never takes, and sends its neighbours", async () => {
    const sent: number[] = [];
    const target: Pick<Broker, "publish"> = {
      publish: async (frames) => {
        if (frames.some(({ topic }) => topic === "orders")) {
          throw new ShopError("UNKNOWN_TOPIC", "gone", "never");
        }
        sent.push(frames.length);
      },
    };
    const routes: readonly RouteRow[] = [
      { name: "bad", match: { keyPrefix: "bad" }, to: [{ broker: "beta", topic: "orders" }] },
      { name: "good", to: [{ broker: "beta", topic: "copies" }] },
    ];
    const world = await startWorld({ routes }, { target });
    for (const key of ["a", "bad", "c"]) await send(world, { key });
    const egress = await world.start("beta");
    await world.environment.advance(1_000);
    const letters = await world.local.broker.deadLetters("outbox.beta", 0, 10);
    expect(letters.map(({ burial }) => burial.reason)).toEqual(["unknown_topic"]);
    expect(sent.reduce((sum, frames) => sum + frames, 0)).toBe(2);
    expect(egress.state().circuit).toBe("closed");
  });
  test("sends a topic once though another of the same broker is never confirmed", async () => {
    const sent = new Map<string, number>();
    const target: Pick<Broker, "publish"> = {
      publish: async (frames) => {
        for (const { topic } of frames) sent.set(topic, (sent.get(topic) ?? 0) + 1);
        if (frames.some(({ topic }) => topic === "orders")) {
          throw new ShopError("INDETERMINATE", "some found no queue", "later");
        }
      },
    };
    const routes: readonly RouteRow[] = [
      { name: "bad", match: { keyPrefix: "bad" }, to: [{ broker: "beta", topic: "orders" }] },
      { name: "good", to: [{ broker: "beta", topic: "copies" }] },
    ];
    const world = await startWorld({ routes }, { target });
    for (const key of ["a", "bad", "c", "d"]) await send(world, { key });
    const egress = await world.start("beta");
    await world.environment.advance(60_000);
    expect(sent.get("copies")).toBe(3);
    expect(sent.get("orders")).toBeGreaterThan(1);
    expect(egress.state()).toMatchObject({ depth: 1, published: 3 });
  });
  test("buries by the deadline of a route even while the circuit is open", async () => {
    const retry = {
      attemptsMax: 100,
      delayMinMs: 100,
      delayMaxMs: 1_000,
      jitter: 0,
      deadlineMs: 9_000,
    };
    const routes = [
      { name: "brief", to: [{ broker: "beta", topic: "copies" }], policy: { retry } },
    ];
    const world = await startWorld({ routes });
    world.beta.faults.ioFault = true;
    await world.start("beta");
    await send(world);
    await world.environment.advance(60_000);
    const [letter] = await world.local.broker.deadLetters("outbox.beta", 0, 10);
    expect(letter?.burial.reason).toBe("too_late");
  });
  test.each([
    ["at rest when nothing is being sent", true],
    ["not at rest while its broker has not answered", false],
  ])("leaves its outbox %s", async (_how, isAtRest) => {
    const world = await startWorld();
    const { environment, local } = world;
    const left: unknown[] = [];
    const source: Pick<Broker, "subscribe"> = {
      async subscribe(options) {
        const inner = await local.broker.subscribe(options);
        const close = inner.close.bind(inner);
        inner.close = (how) => (left.push(how), close(how));
        return inner;
      },
    };
    const target: Pick<Broker, "publish"> = {
      publish: () => (isAtRest ? Promise.resolve() : new Promise(() => undefined)),
    };
    const egress = await world.start("beta", { source, target });
    await send(world);
    await environment.advance(100);
    const draining = egress.drain(200);
    await environment.advance(200);
    await draining;
    expect(left).toEqual([isAtRest]);
  });
  test("that goes away gives back what it has, and the next one sends it once", async () => {
    const world = await startWorld();
    const { environment, beta } = world;
    const heard = await listen(environment, beta.broker, "copies");
    beta.faults.ioFault = true;
    const first = await world.start("beta");
    for (let at = 0; at < 10; at++) await send(world, { key: `k${at}` });
    await environment.advance(500);
    const draining = first.drain(100);
    await environment.advance(200);
    await draining;
    beta.faults.ioFault = false;
    await world.start("beta");
    await environment.advance(10_000);
    expect(heard.toSorted()).toEqual(Array.from({ length: 10 }, (_, at) => `k${at}#1`));
  });
});

describe("an ingress", () => {
  async function startIn(options: WorldOptions) {
    const world = await startWorld(options);
    const { environment, alpha, local, router, store } = world;
    const ingress = await startIngress({
      name: "alpha",
      source: alpha.broker,
      topics: ["inbound"],
      router,
      store: world.inner,
      environment,
      slots: SLOTS,
    });
    const heard = await listen(environment, local.broker, "orders");
    const arrive = (fields: FrameFields = {}) =>
      alpha.broker.publish([{ topic: "inbound", frame: makeFrame(environment, fields) }]);
    const letters = async () => {
      const all = await alpha.broker.deadLetters("inbound", 0, 10);
      return all.map(({ burial }) => burial.reason);
    };
    expect(store).toBeDefined();
    return { ...world, ingress, heard, arrive, letters };
  }

  test("commits what it is given and then acknowledges it at its source", async () => {
    const { environment, ingress, heard, arrive } = await startIn({ routes: [] });
    for (const key of ["a", "b", "a"]) await arrive({ key });
    await environment.advance(100);
    expect(heard.toSorted()).toEqual(["a#1", "a#1", "b#1"]);
    const acked = ingress.stats().partitions.reduce((sum, one) => sum + one.acked, 0);
    expect(acked).toBe(3);
  });
  test("buries what no route matches, and holds nobody up by it", async () => {
    const { environment, arrive, letters, heard } = await startIn({ routes: [] });
    await arrive({ type: 999, key: "k" });
    await arrive({ type: 1, key: "k" });
    await environment.advance(100);
    expect(await letters()).toEqual(["unmatched"]);
    expect(heard).toEqual(["k#1"]);
  });
  test("lets a repetition change nothing, in memory or by its inbox mark", async () => {
    const to = [{ broker: LOCAL, topic: "orders" }];
    const policy = { dedup: { windowMs: 1_000, idsMax: 10 } };
    const routes = [{ name: "once", match: { types: ["order.created"] }, to, policy }];
    const { environment, arrive, heard, inner } = await startIn({ routes });
    const id = environment.newId();
    for (let at = 0; at < 3; at++) {
      await arrive({ id });
      await environment.advance(600);
    }
    // The third comes after the window: only the mark still knows it.
    expect(heard).toEqual(["k#1"]);
    expect(inner.hasMark("ingress.alpha", id)).toBe(true);
  });
  test("holds up only the key whose route fails, by that route's schedule", async () => {
    const retry = { attemptsMax: 4, delayMinMs: 1_000, delayMaxMs: 1_000, jitter: 0 };
    const rows = [
      { name: "slow", match: { keyPrefix: "s" }, to: BOTH[0]?.to ?? [], policy: { retry } },
    ];
    const world = await startIn({ routes: rows });
    const { environment, heard, arrive, inner } = world;
    const commit = inner.commit.bind(inner);
    let refusals = 2;
    inner.commit = (unit, deliveries) =>
      unit.outgoing.some(({ topic }) => topic === "outbox.alpha") && refusals-- > 0
        ? Promise.reject(new ShopError("INDETERMINATE", "no answer", "later"))
        : commit(unit, deliveries);
    await arrive({ key: "s" });
    await environment.advance(10);
    for (const [key, type] of [
      ["s", 2],
      ["x", 1],
      ["x", 2],
    ] as const)
      await arrive({ key, type });
    await environment.advance(500);
    expect(heard.toSorted()).toEqual(["x#1", "x#2"]);
    await environment.advance(2_000);
    expect(heard.slice(2)).toEqual(["s#1", "s#2"]);
  });
  test("keeps to the rate of a route, and lets other routes pass", async () => {
    const to = [{ broker: LOCAL, topic: "orders" }];
    const policy = { rate: { perSecond: 10, burst: 2 } };
    const routes = [{ name: "slow", match: { keyPrefix: "s" }, to, policy }];
    const { environment, arrive, heard, letters } = await startIn({ routes });
    for (let at = 0; at < 22; at++) await arrive({ key: `s${at}` });
    await arrive({ key: "x" });
    await environment.advance(500);
    expect(heard).toContain("x#1");
    expect(heard.length).toBeWithin(7, 9);
    await environment.advance(1_600);
    expect(heard).toHaveLength(23);
    expect(await letters()).toEqual([]);
  });
  test("sends all copies of a frame or none: a commit that fails leaves no trace", async () => {
    const { environment, heard, arrive, storeFaults, local } = await startIn({});
    storeFaults.isDown = true;
    await arrive({ key: "a" });
    await environment.advance(2_000);
    const waiting = (): number => local.log.logBytes;
    expect([heard, waiting()]).toEqual([[], 0]);
    storeFaults.isDown = false;
    await environment.advance(10_000);
    expect(heard).toEqual(["a#1"]);
    const toAlpha = await listen(environment, local.broker, "outbox.alpha");
    const toBeta = await listen(environment, local.broker, "outbox.beta");
    await environment.settle();
    expect([toAlpha.length, toBeta.length]).toEqual([1, 1]);
  });
});

test("a unit's frame that no route matches is a dead letter until a route does", async () => {
  const world = await startWorld({ routes: [] });
  const { environment, local } = world;
  const common = { source: local.broker, environment, slots: SLOTS, store: world.inner };
  const burying = await startUnmatched({ ...common, router: world.router });
  await send(world, { type: 999 }, "orders");
  await environment.advance(100);
  const [letter] = await local.broker.deadLetters("outbox.unmatched", 0, 10);
  expect(letter?.burial.reason).toBe("unmatched");
  await burying.close();
  const mended = createWorld({
    routes: [{ name: "any", to: [{ broker: LOCAL, topic: "payments" }] }],
  });
  const heard = await listen(environment, local.broker, "payments");
  await startUnmatched({ ...common, router: mended.router });
  await redrive(local.broker, letter === undefined ? [] : [letter]);
  await environment.advance(100);
  expect(heard).toEqual(["k#999"]);
});
