/**
 * The consumer: what reaches the handler, what becomes of it, and that nothing is lost between.
 *
 * Time is virtual. Cases that every adapter must carry as well are in the broker suite; here are
 * those about the consumer alone.
 */

import { describe, expect, test } from "bun:test";

import type { Broker } from "../brokers/broker.ts";
import type { HandleBatch, HandleOne, Outcome } from "./outcome.ts";

import { ShopError } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createRig, POLICY, totals } from "./consumer-bench.suite.ts";
import { ACK, SETTLED } from "./outcome.ts";

describe("outcomes", () => {
  test("a unit of work that settled the delivery is believed, nothing is sent", async () => {
    const rig = createRig();
    let acks = 0;
    rig.interfere = (inner) => ({ ack: (refs) => (acks++, inner.ack(refs)) });
    const consumer = await rig.start((message) => {
      expect(rig.broker.acknowledge([message.delivery])).toEqual(["settled"]);
      return Promise.resolve(SETTLED);
    });
    await rig.publish(["a", "b"]);
    await rig.environment.advance(1_000);
    expect(acks).toBe(0);
    expect(totals(consumer)).toMatchObject({ received: 2, acked: 2, inFlight: 0, parked: 0 });
  });

  test("acknowledgements of one turn go out together", async () => {
    const rig = createRig();
    const sizes: number[] = [];
    rig.interfere = (inner) => ({ ack: (refs) => (sizes.push(refs.length), inner.ack(refs)) });
    await rig.start();
    await rig.publish(["a", "b", "c", "d"]);
    await rig.environment.settle();
    expect(sizes).toEqual([4]);
  });

  test("an error that can never succeed buries the frame under its code, at once", async () => {
    const rig = createRig();
    const refusal = new ShopError("BAD_MESSAGE", "cannot be", "never");
    await rig.start(() => Promise.reject(refusal));
    await rig.publish(["a"]);
    await rig.environment.settle();
    expect(rig.calls).toEqual(["a#1"]);
    expect(await rig.buried()).toEqual([
      {
        body: "a",
        reason: "bad_message",
        attempts: 1,
        firstError: "BAD_MESSAGE: cannot be",
        lastError: "BAD_MESSAGE: cannot be",
      },
    ]);
  });

  test("a handler may bury and retry by its answer as well", async () => {
    const rig = createRig();
    const answers: Outcome[] = [
      { kind: "retry", error: new Error("once more") },
      { kind: "bury", reason: "given_up", error: "enough" },
    ];
    await rig.start(() => Promise.resolve(answers.shift() ?? ACK));
    await rig.publish(["a"]);
    await rig.environment.advance(1_000);
    const [burial] = await rig.buried();
    expect(burial).toMatchObject({ reason: "given_up", attempts: 2, lastError: "enough" });
    expect(burial?.firstError).toBe("Error: once more");
  });

  test("a handler that throws before it answers a promise is a failed attempt", async () => {
    const rig = createRig();
    await rig.start(() => {
      if (rig.calls.length === 1) throw new Error("in the caller's stack");
      return Promise.resolve(ACK);
    });
    await rig.publish(["a"]);
    await rig.environment.advance(1_000);
    expect(rig.calls).toEqual(["a#1", "a#2"]);
  });

  test.each([
    ["STORAGE_FULL", "later"],
    ["STORAGE_FAULT", "later"],
    ["SATURATED", "later"],
    // An unreadable row is no fault of the frame that needs it.
    ["DATA_DAMAGED", "never"],
  ] as const)(
    "%s does not count towards the attempts, however often it comes",
    async (code, retry) => {
      const rig = createRig();
      const consumer = await rig.start(() =>
        rig.calls.length <= 40
          ? Promise.reject(new ShopError(code, "no room", retry))
          : Promise.resolve(ACK),
      );
      await rig.publish(["a"]);
      await rig.environment.advance(60_000);
      expect(rig.calls).toHaveLength(41);
      expect(new Set(rig.calls)).toEqual(new Set(["a#1"]));
      expect(await rig.buried()).toEqual([]);
      expect(totals(consumer).acked).toBe(1);
    },
  );

  test("a frame that was given out too often without an outcome is buried unhandled", async () => {
    const rig = createRig();
    await rig.publish(["killer"]);
    for (let life = 1; life <= 20; life++) {
      // Each life ends with the handler still at it, as when the process dies of the frame.
      const member = await rig.start(() => new Promise<Outcome>(() => undefined));
      await rig.environment.settle();
      await member.close();
    }
    expect(rig.calls).toHaveLength(20);
    await rig.start();
    await rig.environment.settle();
    expect(rig.calls).toHaveLength(20);
    expect(await rig.buried()).toMatchObject([{ body: "killer", reason: "poison", attempts: 21 }]);
  });
});

describe("postponed deliveries", () => {
  test("come back after the recorded wait", async () => {
    const rig = createRig();
    await rig.publish(["a"]);
    const first = await rig.start(() => Promise.reject(new Error("not yet")));
    await rig.environment.advance(50);
    await first.close();
    await rig.start();
    await rig.environment.advance(49);
    expect(rig.calls).toEqual(["a#1"]);
    await rig.environment.advance(2);
    // The second attempt was given back with the first member: this is the third.
    expect(rig.calls).toEqual(["a#1", "a#3"]);
  });

  test("wait no longer than any retry would, however far the wall clock jumped back", async () => {
    const rig = createRig();
    await rig.publish(["a"]);
    const first = await rig.start(() => Promise.reject(new Error("not yet")));
    await rig.environment.settle();
    await first.close();
    rig.environment.jumpWallClock(-3_600_000);
    await rig.start();
    await rig.environment.advance(POLICY.retry.delayMaxMs);
    expect(rig.calls).toEqual(["a#1", "a#3"]);
  });
});

describe("deadlines", () => {
  test.each([
    ["bury", 1, 0],
    ["drop", 0, 1],
  ] as const)("a frame past its deadline meets the policy: %s", async (expired, buried, acked) => {
    const rig = createRig();
    const deadlineMs = rig.environment.nowMs() + 1_000;
    await rig.publish(["late"], { deadlineMs });
    await rig.environment.advance(1_000);
    const consumer = await rig.start(undefined, { policy: { ...POLICY, expired } });
    await rig.environment.settle();
    expect(rig.calls).toEqual([]);
    expect(totals(consumer)).toMatchObject({ received: 1, acked, buried });
    expect(consumer.stats().expired).toBe(1);
    expect((await rig.buried()).map(({ reason }) => reason)).toEqual(buried ? ["expired"] : []);
  });

  test("a deadline that passes during the retries ends them", async () => {
    const rig = createRig();
    const deadlineMs = rig.environment.nowMs() + 250;
    await rig.start(() => Promise.reject(new Error("not yet")));
    await rig.publish(["a"], { deadlineMs });
    await rig.environment.advance(10_000);
    expect(rig.calls).toEqual(["a#1", "a#2"]);
    expect(await rig.buried()).toMatchObject([{ reason: "expired", firstError: "Error: not yet" }]);
  });
});

describe("types of no concern", () => {
  test("are passed by by a broker that filters, and do not arrive", async () => {
    const rig = createRig();
    const consumer = await rig.start(undefined, { types: [1] });
    await rig.publish(["heard"], { key: "k" });
    await rig.publish(["unheard"], { key: "k", type: 2 });
    await rig.environment.advance(100);
    expect(rig.calls).toEqual(["heard#1"]);
    expect(totals(consumer)).toMatchObject({ received: 1, acked: 1, inFlight: 0 });
  });

  test("are acknowledged without a call otherwise, and do not wait behind their key", async () => {
    const rig = createRig();
    const never = new Promise<Outcome>(() => undefined);
    const broker: Pick<Broker, "subscribe"> = {
      subscribe: ({ types: _unknown, ...options }) => rig.broker.subscribe(options),
    };
    const consumer = await rig.start(() => never, { broker, types: [1] });
    await rig.publish(["heard"], { key: "k" });
    await rig.publish(["ignored"], { key: "k", type: 2 });
    await rig.environment.advance(100);
    expect(rig.calls).toEqual(["heard#1"]);
    expect(totals(consumer)).toMatchObject({ received: 2, acked: 1, inFlight: 1 });
  });

  test("are handled when they are named", async () => {
    const rig = createRig();
    await rig.start(undefined, { types: [1, 3] });
    await rig.publish(["named"], { type: 3 });
    await rig.environment.advance(100);
    expect(rig.calls).toEqual(["named#1"]);
  });

  test("are buried when their bytes are damaged: the type may be what was hit", async () => {
    const rig = createRig();
    await rig.start(undefined, { types: [1] });
    const damaged = encodeFrame({
      type: 2,
      slot: 0,
      key: "k",
      payload: new Uint8Array(8),
      id: rig.environment.newId(),
      timeMs: rig.environment.nowMs(),
    });
    damaged[damaged.length - 1] = 1;
    await rig.broker.publish([{ topic: "t", frame: damaged }]);
    await rig.environment.advance(100);
    expect(rig.calls).toEqual([]);
    expect((await rig.broker.deadLetters("t", 0, 10)).map(({ burial }) => burial.reason)).toEqual([
      "bad_frame",
    ]);
  });
});

describe("keys", () => {
  test("frames of one key from two topics are handled one at a time", async () => {
    const rig = createRig(4, ["t", "u"]);
    const open: ((outcome: Outcome) => void)[] = [];
    await rig.start(() => new Promise((resolve) => void open.push(resolve)));
    await rig.publish(["t1"], { key: "K" });
    await rig.publish(["u1"], { key: "K", topic: "u" });
    await rig.environment.settle();
    expect(rig.calls).toHaveLength(1);
    open[0]?.(ACK);
    await rig.environment.settle();
    expect(rig.calls).toHaveLength(2);
  });

  test("the next of a key starts once its predecessor's settlement is durable", async () => {
    const rig = createRig();
    const releases: (() => void)[] = [];
    rig.interfere = (inner) => ({
      ack: async (refs) => {
        await new Promise<void>((resolve) => void releases.push(resolve));
        return inner.ack(refs);
      },
    });
    await rig.start();
    await rig.publish(["a", "b"], { key: "K" });
    await rig.environment.advance(1_000);
    expect(rig.calls).toEqual(["a#1"]);
    releases[0]?.();
    await rig.environment.settle();
    expect(rig.calls).toEqual(["a#1", "b#1"]);
  });

  test("concurrency is bounded over all keys", async () => {
    const rig = createRig();
    let running = 0;
    let runningMax = 0;
    const consumer = await rig.start(async () => {
      runningMax = Math.max(runningMax, ++running);
      await new Promise<void>((resolve) => void rig.environment.startTimer(10, resolve));
      running--;
      return ACK;
    });
    await rig.publish(Array.from({ length: 100 }, (_, index) => `m${index}`));
    await rig.environment.advance(1_000);
    expect(runningMax).toBe(8);
    expect(totals(consumer).acked).toBe(100);
  });
});

describe("settlements that fail", () => {
  test("an acknowledgement is tried again without another call of the handler", async () => {
    const rig = createRig();
    let refusals = 3;
    rig.interfere = (inner) => ({
      ack: (refs) =>
        refusals-- > 0
          ? Promise.reject(new ShopError("STORAGE_FAULT", "not now", "later"))
          : inner.ack(refs),
    });
    const consumer = await rig.start();
    await rig.publish(["a", "b"], { key: "K" });
    await rig.environment.advance(10_000);
    expect(rig.calls).toEqual(["a#1", "b#1"]);
    expect(totals(consumer).acked).toBe(2);
    expect(consumer.stats().settleFailures).toBe(3);
  });

  test("a retry whose record fails waits and comes all the same", async () => {
    const rig = createRig();
    rig.interfere = () => ({
      postpone: () => Promise.reject(new ShopError("STORAGE_FULL", "no room", "later")),
    });
    const consumer = await rig.start(() =>
      rig.calls.length === 1 ? Promise.reject(new Error("once")) : Promise.resolve(ACK),
    );
    await rig.publish(["a"]);
    await rig.environment.advance(1_000);
    expect(rig.calls).toEqual(["a#1", "a#2"]);
    expect(consumer.stats()).toMatchObject({ retries: 1, settleFailures: 1 });
  });

  test("a retry whose record is stale is not made", async () => {
    const rig = createRig();
    rig.interfere = () => ({ postpone: () => Promise.resolve("stale") });
    const consumer = await rig.start(() => Promise.reject(new Error("not yet")));
    await rig.publish(["a"]);
    await rig.environment.advance(3_000);
    expect(rig.calls).toEqual(["a#1"]);
    expect(totals(consumer)).toMatchObject({ received: 1, returned: 1, parked: 0 });
  });

  test("what turns out stale is given up without a second call", async () => {
    const rig = createRig();
    rig.interfere = () => ({ ack: (refs) => Promise.resolve(refs.map(() => "stale" as const)) });
    const consumer = await rig.start();
    await rig.publish(["a"]);
    await rig.environment.settle();
    expect(rig.calls).toEqual(["a#1"]);
    expect(totals(consumer)).toMatchObject({ received: 1, acked: 0, returned: 1, inFlight: 0 });
  });

  test("a broker that is gone takes the deliveries with it", async () => {
    const rig = createRig();
    const consumer = await rig.start(() => {
      rig.broker.kill();
      return Promise.resolve(ACK);
    });
    await rig.publish(["a"]);
    await rig.environment.advance(10_000);
    expect(totals(consumer)).toMatchObject({ received: 1, returned: 1, inFlight: 0, parked: 0 });
    expect(consumer.stats().settleFailures).toBe(1);
  });
});

describe("leases", () => {
  test("what waits for its key or its retry is kept alive, uncounted", async () => {
    const rig = createRig();
    const slowRetries = { attemptsMax: 9, delayMinMs: 4_000, delayMaxMs: 4_000, jitter: 0 };
    const consumer = await rig.start(
      () => (rig.calls.length <= 6 ? Promise.reject(new Error("not yet")) : Promise.resolve(ACK)),
      { policy: { ...POLICY, retry: slowRetries } },
    );
    await rig.publish(["a", "b"], { key: "K" });
    await rig.environment.advance(40_000);
    // Four leases long, `b` was behind `a`; had either been taken away, its attempts would tell.
    expect(rig.calls).toEqual(["a#1", "a#2", "a#3", "a#4", "a#5", "a#6", "a#7", "b#1"]);
    expect(totals(consumer)).toMatchObject({ received: 2, acked: 2, returned: 0 });
  });
});

describe("handlers that hang", () => {
  const never = new Promise<Outcome>(() => undefined);

  test("are given up and called again, and no other key waits for them", async () => {
    const rig = createRig();
    let isMended = false;
    const consumer = await rig.start(({ body }) =>
      body === "bad" && !isMended ? never : Promise.resolve(ACK),
    );
    await rig.publish(["bad", "behind"], { key: "K" });
    await rig.publish(["other"], { key: "L" });
    await rig.environment.advance(1_000);
    expect(rig.calls).toEqual(["bad#1", "other#1"]);
    isMended = true;
    await rig.environment.advance(10_000);
    expect(rig.calls).toEqual(["bad#1", "other#1", "bad#1", "behind#1"]);
    expect(totals(consumer)).toMatchObject({ acked: 3, buried: 0, returned: 0, inFlight: 0 });
  });

  test("bury their message in the end, when others come back and it never does", async () => {
    const rig = createRig();
    await rig.start(({ body }) => (body === "bad" ? never : Promise.resolve(ACK)));
    await rig.publish(["bad"], { key: "K" });
    for (let round = 0; round < 30; round++) {
      await rig.publish([`other ${round}`], { key: `L${round}` });
      await rig.environment.advance(1_000);
    }
    expect(await rig.buried()).toMatchObject([{ body: "bad", reason: "hang" }]);
    expect(rig.calls.filter((call) => call.startsWith("bad"))).toHaveLength(POLICY.hangsMax);
  });

  test("blame nobody while none of them comes back: then it is not the message", async () => {
    const rig = createRig();
    let isStuck = true;
    const consumer = await rig.start(() => (isStuck ? never : Promise.resolve(ACK)));
    await rig.publish(["a", "b", "c"], { key: "K" });
    await rig.publish(["d"], { key: "L" });
    await rig.environment.advance(10 * 60_000);
    expect(await rig.buried()).toEqual([]);
    isStuck = false;
    await rig.environment.advance(20_000);
    expect(await rig.buried()).toEqual([]);
    expect(totals(consumer)).toMatchObject({ acked: 4, inFlight: 0, parked: 0 });
  });

  test("free their place among those that may run, long before they are given up", async () => {
    const rig = createRig();
    const handle: HandleOne<string> = ({ body }) => (body === "bad" ? never : Promise.resolve(ACK));
    const handler = { kind: "single", concurrencyMax: 1, handle } as const;
    const consumer = await rig.start(undefined, { handler });
    await rig.publish(["bad"], { key: "K" });
    await rig.environment.advance(100);
    await rig.publish(["other"], { key: "L" });
    await rig.environment.advance(500);
    expect(totals(consumer)).toMatchObject({ acked: 0 });
    await rig.environment.advance(1_000);
    expect(totals(consumer)).toMatchObject({ acked: 1, inFlight: 1 });
  });

  test("in a batch are told apart: only the culprit is buried", async () => {
    const rig = createRig();
    const handle: HandleBatch<string> = (messages) =>
      messages.some(({ body }) => body === "bad")
        ? new Promise(() => undefined)
        : Promise.resolve(messages.map(() => ACK));
    const consumer = await rig.start(undefined, {
      handler: { kind: "batch", concurrencyMax: 1, batchMax: 8, handle },
    });
    for (const body of ["a", "bad", "c"]) await rig.publish([body], { key: body });
    await rig.environment.advance(60_000);
    for (const body of ["d", "e"]) await rig.publish([body], { key: body });
    await rig.environment.advance(60_000);
    expect(await rig.buried()).toMatchObject([{ body: "bad", reason: "hang" }]);
    expect(totals(consumer)).toMatchObject({ acked: 4, buried: 1, inFlight: 0, parked: 0 });
  });
});

describe("the life of a consumer", () => {
  test("no delivery is lost that comes before the subscription stands", async () => {
    const rig = createRig();
    await rig.publish(["a", "b"]);
    const subscribe = rig.broker.subscribe.bind(rig.broker);
    const starting = rig.start(undefined, {
      broker: {
        subscribe: async (options) => {
          const subscription = await subscribe(options);
          await rig.environment.settle();
          expect(rig.calls).toEqual([]);
          return subscription;
        },
      },
    });
    const consumer = await starting;
    await rig.environment.settle();
    expect(totals(consumer)).toMatchObject({ received: 2, acked: 2 });
  });

  test("a broken subscription closes the consumer and is told on", async () => {
    const rig = createRig();
    const failures: unknown[] = [];
    let fail: ((error: unknown) => void) | undefined;
    const signals: AbortSignal[] = [];
    const consumer = await rig.start(
      (_message, signal) => {
        signals.push(signal);
        return new Promise<Outcome>(() => undefined);
      },
      {
        broker: {
          subscribe: (options) => {
            fail = options.onFailure;
            return rig.broker.subscribe(options);
          },
        },
        onFailure: (error) => void failures.push(error),
      },
    );
    await rig.publish(["a"]);
    await rig.environment.settle();
    fail?.("beyond repair");
    expect(failures).toEqual(["beyond repair"]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    expect(totals(consumer)).toMatchObject({ received: 1, returned: 1, inFlight: 0 });
    await consumer.drain(1_000);
    await consumer.close();
  });

  test("a drain starts nothing new while it waits for others", async () => {
    const rig = createRig();
    const open: ((outcome: Outcome) => void)[] = [];
    const consumer = await rig.start(() => new Promise((resolve) => void open.push(resolve)));
    await rig.publish(["a", "b"], { key: "K" });
    await rig.publish(["other"]);
    await rig.environment.settle();
    const draining = consumer.drain(5_000);
    open[0]?.(ACK);
    await rig.environment.advance(1_000);
    expect(rig.calls).toEqual(["a#1", "other#1"]);
    open[1]?.(ACK);
    await rig.environment.settle();
    await draining;
    expect(totals(consumer)).toMatchObject({ acked: 2, returned: 1 });
  });

  test("a drain starts nothing new and leaves no timer behind", async () => {
    const rig = createRig();
    const open: ((outcome: Outcome) => void)[] = [];
    const consumer = await rig.start(() => new Promise((resolve) => void open.push(resolve)));
    await rig.publish(["a", "b"], { key: "K" });
    await rig.environment.settle();
    const draining = consumer.drain(5_000);
    open[0]?.(ACK);
    await rig.environment.settle();
    await draining;
    expect(rig.calls).toEqual(["a#1"]);
    expect(totals(consumer)).toMatchObject({ acked: 1, returned: 1, parked: 0, inFlight: 0 });
    await rig.broker.close();
    expect(rig.environment.pendingTimers()).toBe(0);
  });

  test.each([
    ["at rest once all is settled", 100, true],
    ["with work under way that outlasts it", 1_000, false],
  ])("a drain closes its subscription %s", async (_, tookMs, isAtRest) => {
    const rig = createRig();
    const closed: unknown[] = [];
    rig.interfere = (inner) => ({ close: (how) => (closed.push(how), inner.close(how)) });
    const open: ((outcome: Outcome) => void)[] = [];
    const consumer = await rig.start(() => new Promise((resolve) => void open.push(resolve)));
    await rig.publish(["a"]);
    await rig.environment.settle();
    rig.environment.startTimer(tookMs, () => open[0]?.(ACK));
    const draining = consumer.drain(500);
    await rig.environment.advance(500);
    await draining;
    expect(closed).toEqual([isAtRest]);
  });

  test.each([
    ["not at rest while a call that was given up is out", false],
    ["at rest once that has come back as well", true],
  ])("a drain closes its subscription %s", async (_, isBack) => {
    const rig = createRig();
    const closed: unknown[] = [];
    rig.interfere = (inner) => ({ close: (how) => (closed.push(how), inner.close(how)) });
    const lost = Promise.withResolvers<Outcome>();
    const consumer = await rig.start(() =>
      rig.calls.length === 1 ? lost.promise : Promise.resolve(ACK),
    );
    await rig.publish(["a"]);
    await rig.environment.advance(2 * POLICY.handleTimeoutMs);
    expect(rig.calls).toEqual(["a#1", "a#1"]);
    expect(totals(consumer)).toMatchObject({ acked: 1, inFlight: 0, parked: 0 });
    if (isBack) lost.resolve(ACK);
    await rig.environment.settle();
    await consumer.drain(500);
    expect(closed).toEqual([isBack]);
  });

  test("a policy whose numbers contradict each other is refused at the start", async () => {
    const rig = createRig();
    const tooShort = { ...POLICY, leaseMs: 1_000, handleTimeoutMs: 900 };
    const noCredit = { ...POLICY, creditFrames: 7 };
    const noMargin = { ...POLICY, deliveriesMax: 5 };
    await expect(rig.start(undefined, { policy: tooShort })).rejects.toThrow("leaseMs");
    await expect(rig.start(undefined, { policy: noCredit })).rejects.toThrow("creditFrames");
    await expect(rig.start(undefined, { policy: noMargin })).rejects.toThrow("deliveriesMax");
  });
});
