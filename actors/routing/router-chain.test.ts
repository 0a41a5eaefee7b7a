/**
 * The policies of the way one by one, and the order in which the chains put them.
 *
 * Behind each stands a handler that answers by script and writes down what reached it.
 */

import { describe, expect, test } from "bun:test";

import type { VirtualEnvironment } from "../../runtime/virtual-environment.ts";
import type { Outcome } from "../delivery/outcome.ts";
import type { Middleware, Passage } from "./passage.ts";
import type { RoutePolicy, RouteRow } from "./route-row.ts";
import type { FrameFields } from "./routing-world.suite.ts";

import { ShopError } from "../../runtime/errors.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createBreaker } from "../delivery/breaker.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { compileRoutes } from "./compile-routes.ts";
import { createIdWindow } from "./id-window.ts";
import { circuit } from "./middleware/circuit.ts";
import { deduplication } from "./middleware/deduplication.ts";
import { failover } from "./middleware/failover.ts";
import { rateLimit } from "./middleware/rate-limit.ts";
import { routeRetry } from "./middleware/route-retry.ts";
import { timeToLive } from "./middleware/time-to-live.ts";
import { buryUnmatched } from "./middleware/unmatched.ts";
import { createRateGate } from "./rate-gate.ts";
import { BytesView } from "./route-view.ts";
import { egressChain, ingressChain } from "./router-chain.ts";
import { KNOWN, makeFrame } from "./routing-world.suite.ts";

const SETTINGS = {
  failuresToOpen: 1,
  clearIntervalMs: 60_000,
  halfOpenAfterMs: 1_000,
  trialsMax: 1,
};
const failure = new ShopError("INDETERMINATE", "no answer", "later");

function breakerOf(environment: VirtualEnvironment) {
  return createBreaker({
    environment,
    settings: SETTINGS,
    isFailure: () => true,
    refusal: (why) => new ShopError("CIRCUIT_OPEN", why, "later"),
  });
}

function passageOf(
  environment: VirtualEnvironment,
  policy: RoutePolicy = {},
  fields: FrameFields = {},
  to: RouteRow["to"] = [{ broker: "alpha", topic: "copies" }],
): Passage {
  const configured = [{ name: "own", to, policy }];
  const table = compileRoutes({ configured, builtIn: [], unmatched: "dead_letter" }, KNOWN);
  const bytes = makeFrame(environment, fields);
  const place = { group: "g", topic: "orders", partition: 0, sequence: 1, epoch: 1 };
  const delivery = { ...place, bytes, attempt: 1, notBeforeMs: 0 };
  const message = { delivery, frame: decodeFrame(bytes), attempt: 1, body: undefined };
  return { message, ...table.source("beta").decide(new BytesView("orders", bytes)) };
}

function behind(middleware: Middleware, answer: () => Outcome | Promise<Outcome> = () => ACK) {
  const reached: string[] = [];
  const handle = middleware(async (passages) => {
    reached.push(...passages.map(({ message }) => message.frame.key));
    return await Promise.all(passages.map(answer));
  });
  return { handle, reached };
}

test("what no route matches is buried as such, its neighbours go on in order", async () => {
  const environment = createVirtualEnvironment();
  const { handle, reached } = behind(buryUnmatched());
  const lost = { ...passageOf(environment, {}, { key: "lost" }), rows: [], copies: [] };
  const [a, b] = ["a", "b"].map((key) => passageOf(environment, {}, { key }));
  const outcomes = await handle([a, lost, b].flatMap((one) => one ?? []));
  expect(outcomes).toMatchObject([ACK, { kind: "bury", reason: "unmatched" }, ACK]);
  expect(reached).toEqual(["a", "b"]);
});

describe("time to live", () => {
  test("ends a frame that is too old for every row, and no other", async () => {
    const environment = createVirtualEnvironment();
    const { handle, reached } = behind(timeToLive(environment));
    const short = passageOf(environment, { ttlMs: 1_000 }, { key: "short" });
    const long = passageOf(environment, { ttlMs: 2_000 }, { key: "long" });
    const both = { ...short, rows: [...short.rows, ...long.rows] };
    await environment.advance(1_000);
    const outcomes = await handle([short, long, both]);
    expect(outcomes).toMatchObject([{ kind: "bury", reason: "expired" }, ACK, ACK]);
    expect(reached).toEqual(["long", "short"]);
  });
});

describe("deduplication", () => {
  const policy = { dedup: { windowMs: 1_000, idsMax: 2 } };
  test("acknowledges an id that went through within the window", async () => {
    const environment = createVirtualEnvironment();
    const { handle, reached } = behind(deduplication(environment), () => SETTLED);
    const passage = passageOf(environment, policy);
    expect(await handle([passage])).toEqual([SETTLED]);
    await environment.advance(999);
    expect(await handle([passage])).toEqual([ACK]);
    await environment.advance(1_000);
    expect(await handle([passage])).toEqual([SETTLED]);
    expect(reached).toHaveLength(2);
  });
  test("does not take a failed attempt for one that went through", async () => {
    const environment = createVirtualEnvironment();
    const failed: Outcome = { kind: "retry", error: failure };
    const answers = [failed, ACK];
    const { handle, reached } = behind(deduplication(environment), () => answers.shift() ?? ACK);
    const passage = passageOf(environment, policy);
    expect(await handle([passage])).toEqual([failed]);
    expect(await handle([passage])).toEqual([ACK]);
    expect(reached).toHaveLength(2);
  });
  test("remembers no more ids than it may, oldest out first", () => {
    const window = createIdWindow({ windowMs: 1_000, idsMax: 2 });
    for (const [at, id] of ["a", "b", "c"].entries()) window.add(id, at);
    expect(window.count()).toBe(2);
    expect(["a", "b", "c"].map((id) => window.has(id, 3))).toEqual([false, true, true]);
    window.add("d", 1_500);
    expect(window.count()).toBe(1);
  });
});

describe("the rate", () => {
  test("lets a burst through, then one at a time, each told when to come", () => {
    const gate = createRateGate({ perSecond: 10, burst: 2 });
    const waits = ["a", "b", "c", "d"].map((id) => gate.waitMs(id, 0));
    expect(waits).toEqual([0, 0, 100, 200]);
    expect(gate.waitMs("d", 150)).toBe(50);
    expect(gate.waitMs("c", 150)).toBe(0);
    // Its place was kept, and those who come later queue behind it.
    expect(gate.waitMs("e", 150)).toBe(150);
    expect(gate.waitMs("d", 200)).toBe(0);
  });
  test("fills up again to the burst and no further", () => {
    const gate = createRateGate({ perSecond: 10, burst: 2 });
    for (const id of ["a", "b"]) gate.waitMs(id, 0);
    expect(["c", "d", "e"].map((id) => gate.waitMs(id, 60_000))).toEqual([0, 0, 100]);
  });
  test("makes frames wait without blame, and has this shard's share alone", async () => {
    const environment = createVirtualEnvironment();
    const { handle, reached } = behind(rateLimit(environment, 0.5));
    const policy = { rate: { perSecond: 10, burst: 2 } };
    const passages = ["a", "b"].map((key) => passageOf(environment, policy, { key }));
    const outcomes = await handle(passages);
    expect(outcomes[1]).toMatchObject({
      kind: "retry",
      blameless: true,
      schedule: { delayMinMs: 200, delayMaxMs: 200, jitter: 0 },
    });
    await environment.advance(200);
    expect(await handle(passages.slice(1))).toEqual([ACK]);
    expect(reached).toEqual(["a", "b"]);
  });
});

describe("the retry policy of a route", () => {
  const retry = { attemptsMax: 3, delayMinMs: 7, delayMaxMs: 70, jitter: 0, deadlineMs: 900 };
  test("is the schedule of what fails behind it", async () => {
    const environment = createVirtualEnvironment();
    const { handle } = behind(routeRetry(), () => Promise.reject(failure));
    const [outcome] = await handle([passageOf(environment, { retry })]);
    expect(outcome).toEqual({ kind: "retry", error: failure, schedule: retry });
  });
  test("leaves the delay of a policy that knows better, and sets its deadline", async () => {
    const environment = createVirtualEnvironment();
    const schedule = { attemptsMax: 1, delayMinMs: 5, delayMaxMs: 5, jitter: 0 };
    const own: Outcome = { kind: "retry", error: failure, blameless: true, schedule };
    const { handle } = behind(routeRetry(), () => own);
    const [outcome] = await handle([passageOf(environment, { retry })]);
    expect(outcome).toEqual({ ...own, schedule: { ...schedule, deadlineMs: 900 } });
  });
  test("leaves a batch that failed as a whole to the consumer, which takes it apart", async () => {
    const environment = createVirtualEnvironment();
    const { handle } = behind(routeRetry(), () => Promise.reject(failure));
    const two = ["a", "b"].map((key) => passageOf(environment, { retry }, { key }));
    expect(handle(two)).rejects.toBe(failure);
  });
});

describe("the circuit", () => {
  test("lets frames come back for the trial, without blame", async () => {
    const environment = createVirtualEnvironment();
    const breaker = breakerOf(environment);
    const { handle, reached } = behind(circuit(breaker), () => Promise.reject(failure));
    const passage = passageOf(environment);
    expect(await handle([passage])).toMatchObject([{ error: failure, blameless: true }]);
    expect(breaker.state()).toBe("open");
    await environment.advance(400);
    expect(await handle([passage])).toMatchObject([
      { blameless: true, error: { code: "CIRCUIT_OPEN" }, schedule: { delayMinMs: 720 } },
    ]);
    expect(reached).toHaveLength(1);
  });
  test("counts attempts for a route with a retry policy, if they were made", async () => {
    const environment = createVirtualEnvironment();
    const { handle } = behind(circuit(breakerOf(environment)), () => Promise.reject(failure));
    const retry = { attemptsMax: 3, delayMinMs: 7, delayMaxMs: 70, jitter: 0 };
    const passage = passageOf(environment, { retry });
    expect(await handle([passage])).toMatchObject([{ blameless: false }]);
    expect(await handle([passage])).toMatchObject([{ blameless: true }]);
  });
  test("tells how long it has been down, failed trials included", async () => {
    const environment = createVirtualEnvironment();
    const breaker = breakerOf(environment);
    const fail = () => breaker.execute(() => Promise.reject(failure)).catch(() => undefined);
    await fail();
    expect(breaker.trialInMs()).toBe(1_000);
    await environment.advance(1_000);
    expect([breaker.trialInMs(), breaker.downForMs()]).toEqual([0, 1_000]);
    await fail();
    expect([breaker.state(), breaker.trialInMs()]).toEqual(["open", 1_000]);
    await environment.advance(1_500);
    expect(breaker.downForMs()).toBe(2_500);
    await breaker.execute(async () => "well");
    expect([breaker.state(), breaker.downForMs()]).toEqual(["closed", 0]);
  });
});

describe("the failover", () => {
  const place = { broker: "beta", topic: "copies" };
  const to = [{ broker: "alpha", topic: "copies", failover: place }];
  async function down(answer: () => Promise<void> = async () => undefined) {
    const environment = createVirtualEnvironment();
    const breaker = breakerOf(environment);
    const moved: string[] = [];
    const middleware = failover({
      breaker,
      afterMs: 500,
      async move(passages, copies) {
        await answer();
        for (const [at, { message }] of passages.entries()) {
          moved.push(`${message.frame.key} → ${copies[at]?.to.broker}/${copies[at]?.to.topic}`);
        }
      },
    });
    await breaker.execute(() => Promise.reject(failure)).catch(() => undefined);
    return { environment, moved, ...behind(middleware) };
  }

  test("moves frames of such routes once the circuit was open long enough", async () => {
    const { environment, moved, handle, reached } = await down();
    const withOne = passageOf(environment, {}, { key: "with" }, to);
    const without = passageOf(environment, {}, { key: "without" });
    await handle([withOne, without]);
    expect([moved, reached]).toEqual([[], ["with", "without"]]);
    await environment.advance(500);
    expect(await handle([withOne, without])).toEqual([SETTLED, ACK]);
    expect([moved, reached.slice(2)]).toEqual([["with → beta/copies"], ["without"]]);
  });
  test("lets the trial go to the broker itself", async () => {
    const { environment, moved, handle, reached } = await down();
    await environment.advance(1_000);
    await handle([passageOf(environment, {}, { key: "with" }, to)]);
    expect([moved, reached]).toEqual([[], ["with"]]);
  });
  test("tries again when the move is not committed", async () => {
    const { environment, moved, handle } = await down(() => Promise.reject(failure));
    await environment.advance(500);
    const [outcome] = await handle([passageOf(environment, {}, {}, to)]);
    expect(outcome).toEqual({ kind: "retry", error: failure });
    expect(moved).toEqual([]);
  });
});

describe("the order of the chain", () => {
  const rate = { perSecond: 1, burst: 1 };
  test("on the way in: a late frame and a repetition take no token from others", async () => {
    const environment = createVirtualEnvironment();
    const commit = async (passages: readonly Passage[]) => passages.map(() => ACK);
    const handle = ingressChain({ environment, rateShare: 1, commit });
    const dedup = { windowMs: 60_000, idsMax: 10 };
    const late = passageOf(environment, { ttlMs: 10, rate }, { key: "late" });
    const first = passageOf(environment, { dedup, rate }, { key: "first" });
    await environment.advance(10);
    expect(await handle([late, first])).toMatchObject([{ kind: "bury" }, ACK]);
    await environment.advance(1_000);
    const next = passageOf(environment, { rate }, { key: "next" });
    expect(await handle([first, next])).toEqual([ACK, ACK]);
  });
  test("on the way out: who waits is no trial, who fails over takes no token", async () => {
    const environment = createVirtualEnvironment();
    const breaker = breakerOf(environment);
    const published: string[] = [];
    const moved: string[] = [];
    const handle = egressChain({
      environment,
      breaker,
      rateShare: 1,
      failoverAfterMs: 0,
      move: async (passages) =>
        void moved.push(...passages.map(({ message }) => message.frame.key)),
      publish: async (passages) => {
        published.push(...passages.map(({ message }) => message.frame.key));
        throw failure;
      },
    });
    const to = [
      { broker: "alpha", topic: "copies", failover: { broker: "beta", topic: "copies" } },
    ];
    const slow = (key: string) => passageOf(environment, { rate }, { key });
    await handle([slow("a")]);
    await handle([passageOf(environment, { rate }, { key: "b" }, to), slow("c")]);
    expect([published, moved]).toEqual([["a"], ["b"]]);
    await environment.advance(1_000);
    expect(await handle([slow("d")])).toMatchObject([{ error: { code: "SATURATED" } }]);
    expect(breaker.trialInMs()).toBe(0);
    expect(published).toEqual(["a"]);
  });
});
