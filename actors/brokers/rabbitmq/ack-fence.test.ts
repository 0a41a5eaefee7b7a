/**
 * When an acknowledgement counts as certain: after its queue answered and something was stored
 * behind it, in this order.
 *
 * Queues and store are promises that the test settles by hand.
 */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { AckFence } from "./ack-fence.ts";

function createRig() {
  const environment = createVirtualEnvironment();
  const stores: PromiseWithResolvers<void>[] = [];
  const fence = new AckFence(() => {
    const store = Promise.withResolvers<void>();
    stores.push(store);
    return store.promise;
  });
  const answers: PromiseWithResolvers<boolean>[] = [];
  const claim = {
    barrier: () => {
      const answer = Promise.withResolvers<boolean>();
      answers.push(answer);
      return answer.promise;
    },
  };
  const pass = (): { certain: string } => {
    const seen = { certain: "not yet" };
    void fence.pass(claim).then((isCertain) => (seen.certain = String(isCertain)));
    return seen;
  };
  return { environment, stores, answers, pass };
}

test("an acknowledgement is certain after its queue answered and then the store", async () => {
  const { environment, stores, answers, pass } = createRig();
  const passing = pass();
  await environment.settle();
  expect([answers.length, stores.length]).toEqual([1, 0]);
  answers[0]?.resolve(true);
  await environment.settle();
  expect([passing.certain, stores.length]).toEqual(["not yet", 1]);
  stores[0]?.resolve();
  await environment.settle();
  expect(passing.certain).toBe("true");
});

test("what comes while a round is under way shares the next", async () => {
  const { environment, stores, answers, pass } = createRig();
  const first = pass();
  await environment.settle();
  const others = [pass(), pass(), pass()];
  answers[0]?.resolve(true);
  await environment.settle();
  stores[0]?.resolve();
  await environment.settle();
  expect(first.certain).toBe("true");
  expect([answers.length, ...others.map(({ certain }) => certain)]).toEqual([
    2,
    "not yet",
    "not yet",
    "not yet",
  ]);
  answers[1]?.resolve(true);
  await environment.settle();
  stores[1]?.resolve();
  await environment.settle();
  expect(others.map(({ certain }) => certain)).toEqual(["true", "true", "true"]);
});

test("a lost channel makes it uncertain; a store that refuses does not", async () => {
  const { environment, stores, answers, pass } = createRig();
  const lost = pass();
  await environment.settle();
  answers[0]?.resolve(false);
  await environment.settle();
  stores[0]?.resolve();
  const kept = pass();
  await environment.settle();
  answers[1]?.resolve(true);
  await environment.settle();
  stores[1]?.reject(new Error("full"));
  await environment.settle();
  expect([lost.certain, kept.certain]).toEqual(["false", "true"]);
});
