/**
 * A consumer that is about to lose partitions: what is under way may end, the rest goes back.
 *
 * Time is virtual, and the broker is the memory broker, whose subscription options are caught so
 * that the test can announce the loss itself.
 */

import { expect, test } from "bun:test";

import type { SubscribeOptions } from "../brokers/broker.ts";
import type { Outcome } from "./outcome.ts";

import { assert } from "../../runtime/errors.ts";
import { createRig, totals } from "./consumer-bench.suite.ts";
import { startConsumer } from "./consumer.ts";
import { ACK } from "./outcome.ts";

async function begin(concurrencyMax: number) {
  const rig = createRig();
  const finish: ((outcome: Outcome) => void)[] = [];
  let caught: SubscribeOptions | undefined;
  const consumer = await startConsumer<string>({
    broker: {
      subscribe(options) {
        caught = options;
        return rig.broker.subscribe(options);
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
  return { rig, finish, consumer, subscribed: caught };
}

const ALL = Array.from({ length: 64 }, (_, index) => index);

test("a hand-over waits for the handlers that are at it, and gives back the others", async () => {
  const { rig, finish, consumer, subscribed } = await begin(2);
  await rig.publish(["a", "b", "c", "d"]);
  await rig.environment.settle();
  expect(finish).toHaveLength(2);
  let isDone = false;
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
  expect(await subscribed.onRevoking?.("t", ALL)).toBe(false);
  finish[0]?.(ACK);
  await rig.environment.settle();
  expect(await subscribed.onRevoking?.("t", ALL)).toBe(true);
});

test("a call that is still under way when the time is over counts as not back", async () => {
  const { rig, subscribed } = await begin(1);
  await rig.publish(["a"]);
  await rig.environment.settle();
  let isAtRest: boolean | undefined;
  void subscribed.onRevoking?.("t", ALL).then((rest) => (isAtRest = rest));
  await rig.environment.advance(120_000);
  expect(isAtRest).toBe(false);
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
