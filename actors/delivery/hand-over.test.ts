/**
 * A consumer that is about to lose partitions: what is under way may end, the rest goes back.
 *
 * Time is virtual, and the broker is the memory broker, whose subscription options are caught so
 * that the test can announce the loss itself.
 */

import { expect, test } from "bun:test";

import type { AtRest, SubscribeOptions } from "../brokers/broker.ts";
import type { Outcome } from "./outcome.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { createRig, portOf, totals } from "./consumer-bench.suite.ts";
import { startConsumer } from "./consumer.ts";
import { ACK } from "./outcome.ts";

async function begin(concurrencyMax: number, burying?: Promise<void>) {
  const rig = createRig();
  const finish: ((outcome: Outcome) => void)[] = [];
  const closes: boolean[] = [];
  /** Of tries to settle: how many there were, and with what the next fails. */
  const settling = { tries: 0, fails: undefined as ShopError | undefined };
  const attempt = (): void => {
    settling.tries++;
    if (settling.fails !== undefined) throw settling.fails;
  };
  let caught: SubscribeOptions | undefined;
  const consumer = await startConsumer<string>({
    broker: {
      async subscribe(options) {
        caught = options;
        const inner = await rig.broker.subscribe(options);
        const ack: typeof inner.ack = async (deliveries) => {
          attempt();
          return await inner.ack(deliveries);
        };
        const bury: typeof inner.bury = async (delivery, burial) => {
          attempt();
          await burying;
          return await inner.bury(delivery, burial);
        };
        const close: typeof inner.close = (isAtRest) => {
          closes.push(isAtRest);
          return inner.close(isAtRest);
        };
        return { ...portOf(inner), ack, bury, close };
      },
    },
    environment: rig.environment,
    group: "g",
    topics: ["t"],
    decode: () => "",
    handler: {
      kind: "single",
      concurrencyMax,
      handle: () => new Promise((resolve) => void finish.push(resolve)),
    },
  });
  assert(caught !== undefined, "the consumer has subscribed");
  return { rig, finish, consumer, subscribed: caught, closes, settling };
}

const ALL = Array.from({ length: 64 }, (_, index) => index);
const NOT_YET = { again: expect.any(Promise) };

/** Whether it has been told by now that it is worth asking anew. */
function watchAgain(atRest: AtRest | undefined) {
  const seen = { isTold: false };
  assert(typeof atRest === "object", "it is not at rest, and will tell");
  void atRest.again.then(() => (seen.isTold = true));
  return seen;
}

test("a hand-over waits for the handlers that are at it, and gives back the others", async () => {
  const { rig, finish, consumer, subscribed } = await begin(2);
  await rig.publish(["a", "b", "c", "d"]);
  await rig.environment.settle();
  expect(finish).toHaveLength(2);
  let isDone: AtRest = false;
  const ending = subscribed.onRevoking?.("t", ALL).then((isAtRest) => (isDone = isAtRest));
  await rig.environment.settle();
  expect(totals(consumer)).toMatchObject({ returned: 2, inFlight: 2, parked: 0 });
  finish[0]?.(ACK);
  await rig.environment.settle();
  expect(isDone).toBe(false);
  finish[1]?.(ACK);
  await rig.environment.settle();
  expect(isDone).toBe(true);
  await ending;
  expect(totals(consumer)).toMatchObject({ acked: 2, returned: 2, inFlight: 0 });
});

test("a hand-over of partitions with nothing in hand is over at once", async () => {
  const { rig, subscribed } = await begin(2);
  await rig.publish(["a"]);
  await rig.environment.settle();
  await subscribed.onRevoking?.("another topic", ALL);
});

test("a handler that hangs holds up a hand-over no longer than it may take", async () => {
  const { rig, subscribed } = await begin(1);
  await rig.publish(["a"]);
  await rig.environment.settle();
  let isDone = false;
  void subscribed.onRevoking?.("t", ALL).then(() => (isDone = true));
  await rig.environment.advance(120_000);
  expect(isDone).toBe(true);
});

test("a hand-over tells whether a call is not back, though it was given up", async () => {
  const { rig, finish, subscribed } = await begin(1);
  await rig.publish(["a"]);
  await rig.environment.settle();
  // Given up: what it was to do waits for another call, which comes back.
  await rig.environment.advance(31_000);
  await rig.environment.advance(5_000);
  expect(finish).toHaveLength(2);
  finish[1]?.(ACK);
  await rig.environment.settle();
  expect(await subscribed.onRevoking?.("another topic", ALL)).toBe(true);
  const seen = watchAgain(await subscribed.onRevoking?.("t", ALL));
  await rig.environment.settle();
  expect(seen.isTold).toBe(false);
  finish[0]?.(ACK);
  await rig.environment.settle();
  expect(seen.isTold).toBe(true);
  expect(await subscribed.onRevoking?.("t", ALL)).toBe(true);
});

test("who lost partitions is at rest once every call with something of them is back", async () => {
  const { rig, finish, subscribed } = await begin(2);
  await rig.publish(["a", "b"]);
  await rig.environment.settle();
  subscribed.onRevoked?.("t", ALL);
  const seen = watchAgain(await subscribed.onRevoking?.("t", ALL));
  finish[0]?.(ACK);
  await rig.environment.settle();
  expect(seen.isTold).toBe(false);
  finish[1]?.({ kind: "retry", error: new Error("not now") });
  await rig.environment.settle();
  expect(seen.isTold).toBe(true);
  expect(await subscribed.onRevoking?.("t", ALL)).toBe(true);
});

test("a call that is still under way when the time is over counts as not back", async () => {
  const { rig, subscribed } = await begin(1);
  await rig.publish(["a"]);
  await rig.environment.settle();
  let isAtRest: AtRest | undefined;
  void subscribed.onRevoking?.("t", ALL).then((rest) => (isAtRest = rest));
  await rig.environment.advance(120_000);
  expect(isAtRest).toEqual(NOT_YET);
});

test("what fails while it is being handed over is left to the next owner", async () => {
  const { rig, finish, consumer, subscribed } = await begin(1);
  await rig.publish(["a"]);
  await rig.environment.settle();
  const ending = subscribed.onRevoking?.("t", ALL);
  finish[0]?.({ kind: "retry", error: new Error("not now") });
  await rig.environment.settle();
  await ending;
  await rig.environment.advance(10_000);
  expect(finish).toHaveLength(1);
  expect(totals(consumer)).toMatchObject({ returned: 1, inFlight: 0, parked: 0 });
});

test("a hand-over leaves alone what comes after one of its partitions is back", async () => {
  const { rig, finish, consumer, subscribed } = await begin(2);
  await rig.publish(["a", "c"]);
  await rig.environment.settle();
  const [a, b] = consumer.stats().partitions.map(({ partition }) => partition);
  assert(a !== undefined && b !== undefined, "the keys are of two partitions");
  const ending = subscribed.onRevoking?.("t", [a, b]);
  subscribed.onRevoked?.("t", [a]);
  await rig.publish(["later"], { key: "a" });
  await rig.environment.settle();
  finish[1]?.(ACK);
  await rig.environment.settle();
  await ending;
  expect(totals(consumer)).toMatchObject({ acked: 1, returned: 1, parked: 1 });
  finish[0]?.(ACK);
  await rig.environment.settle();
  expect(finish).toHaveLength(3);
});

test("a burial that is under way counts as not back, though its partition is lost", async () => {
  const burying = Promise.withResolvers<void>();
  const { rig, finish, subscribed } = await begin(1, burying.promise);
  await rig.publish(["a"]);
  await rig.environment.settle();
  finish[0]?.({ kind: "bury", reason: "odd", error: new Error("odd") });
  await rig.environment.settle();
  let isAtRest: AtRest | undefined;
  void subscribed.onRevoking?.("t", ALL).then((rest) => (isAtRest = rest));
  await rig.environment.advance(120_000);
  expect(isAtRest).toEqual(NOT_YET);
  subscribed.onRevoked?.("t", ALL);
  const seen = watchAgain(await subscribed.onRevoking?.("t", ALL));
  await rig.environment.settle();
  expect(seen.isTold).toBe(false);
  burying.resolve();
  await rig.environment.settle();
  expect(seen.isTold).toBe(true);
  expect(await subscribed.onRevoking?.("t", ALL)).toBe(true);
});

test("who closes with a burial of a lost partition under way is not at rest", async () => {
  const burying = Promise.withResolvers<void>();
  const { rig, finish, consumer, subscribed, closes } = await begin(1, burying.promise);
  await rig.publish(["a"]);
  await rig.environment.settle();
  finish[0]?.({ kind: "bury", reason: "odd", error: new Error("odd") });
  await rig.environment.settle();
  subscribed.onRevoked?.("t", ALL);
  void consumer.close();
  expect(closes).toEqual([false]);
});

test.each(["bury", "ack"] as const)(
  "a hand-over whose time is over lets no failed %s be tried again",
  async (what) => {
    const { rig, finish, consumer, subscribed, settling } = await begin(1);
    await rig.publish(["a"]);
    await rig.environment.settle();
    settling.fails = new ShopError("STORAGE_FAULT", "not now", "later");
    const burial: Outcome = { kind: "bury", reason: "odd", error: new Error("odd") };
    finish[0]?.(what === "bury" ? burial : ACK);
    await rig.environment.settle();
    let isAtRest: AtRest | undefined;
    void subscribed.onRevoking?.("t", ALL).then((rest) => (isAtRest = rest));
    await rig.environment.advance(29_000);
    expect(isAtRest).toBeUndefined();
    await rig.environment.advance(2_000);
    expect(isAtRest).toBe(true);
    expect(totals(consumer)).toMatchObject({ returned: 1, inFlight: 0, parked: 0 });
    const tried = settling.tries;
    expect(tried).toBeGreaterThan(1);
    settling.fails = undefined;
    await rig.environment.advance(120_000);
    expect(settling.tries).toBe(tried);
    expect(await rig.buried()).toEqual([]);
  },
);

test("a hand-over takes a second try that is with the broker for one under way", async () => {
  const burying = Promise.withResolvers<void>();
  const { rig, finish, consumer, subscribed, settling } = await begin(1, burying.promise);
  await rig.publish(["a"]);
  await rig.environment.settle();
  settling.fails = new ShopError("STORAGE_FAULT", "not now", "later");
  finish[0]?.({ kind: "bury", reason: "odd", error: new Error("odd") });
  await rig.environment.settle();
  settling.fails = undefined;
  await rig.environment.advance(10_000);
  expect(settling.tries).toBe(2);
  let isAtRest: AtRest | undefined;
  void subscribed.onRevoking?.("t", ALL).then((rest) => (isAtRest = rest));
  await rig.environment.advance(120_000);
  expect(isAtRest).toEqual(NOT_YET);
  expect(totals(consumer)).toMatchObject({ returned: 0, inFlight: 1 });
  burying.resolve();
  await rig.environment.settle();
  expect(totals(consumer)).toMatchObject({ returned: 0, inFlight: 0, buried: 1 });
});
