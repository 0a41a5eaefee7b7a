/**
 * What is sent, in which order, how often, and what a publisher is told when it fails.
 *
 * A driver that the test answers for, on a virtual clock. No I/O.
 */

import { expect, test } from "bun:test";

import type { KafkaRecord } from "./kafka-driver.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { PublishQueue } from "./publish-queue.ts";

const TIMEOUT_MS = 1_000;

interface Limits {
  framesMax?: number;
  bytesMax?: number;
  batchFramesMax?: number;
  gatherMs?: number;
}

function setUp(limits: Limits = {}) {
  const environment = createVirtualEnvironment();
  const sent: string[][] = [];
  const calls: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  let renewals = 0;
  const queue = new PublishQueue({
    environment,
    timeoutMs: TIMEOUT_MS,
    framesMax: limits.framesMax ?? 100,
    bytesMax: limits.bytesMax ?? 1_000_000,
    batchFramesMax: limits.batchFramesMax ?? 10,
    gatherMs: limits.gatherMs ?? 0,
    produce: (records) => {
      sent.push(records.map(({ value }) => new TextDecoder().decode(value)));
      return new Promise<void>((resolve, reject) => void calls.push({ resolve, reject }));
    },
    renewProducer: () => {
      renewals++;
      return Promise.resolve();
    },
    onAttempt: () => undefined,
  });
  const outcomes: Record<string, string> = {};
  const publish = (...texts: readonly string[]): void => {
    const name = texts.join("+");
    queue.publish(texts.map((text) => record(text))).then(
      () => void (outcomes[name] = "stored"),
      (error: unknown) => void (outcomes[name] = isShopError(error) ? error.code : String(error)),
    );
  };
  return {
    queue,
    sent,
    outcomes,
    publish,
    renewals: () => renewals,
    pass: (ms = 0) => environment.advance(ms),
    async answer(error?: unknown): Promise<void> {
      const call = calls.shift();
      if (error === undefined) call?.resolve();
      else call?.reject(error);
      await environment.advance(0);
    },
  };
}

function record(text: string, partition = 0): KafkaRecord {
  const value = new TextEncoder().encode(text);
  return { topic: "t", partition, key: null, value, headers: {}, timestampMs: 0 };
}

const refused = new ShopError("STORAGE_FAULT", "nobody there", "later");
const unknown = new ShopError("INDETERMINATE", "no answer", "later");

test("what comes in one turn goes out together, what comes meanwhile with the next", async () => {
  const { publish, sent, pass, answer, outcomes } = setUp();
  publish("a");
  publish("b", "c");
  await pass();
  publish("d");
  publish("e");
  await pass();
  expect(sent).toEqual([["a", "b", "c"]]);
  await answer();
  expect(sent).toEqual([
    ["a", "b", "c"],
    ["d", "e"],
  ]);
  expect(outcomes).toEqual({ a: "stored", "b+c": "stored" });
});

test("a batch of unknown fate goes again as it was, and nothing overtakes it", async () => {
  const { publish, sent, pass, answer, outcomes, renewals } = setUp();
  publish("a");
  await pass();
  publish("b");
  await answer(unknown);
  await pass(200);
  expect(sent).toEqual([["a"], ["a"]]);
  await answer();
  await answer();
  expect(sent).toEqual([["a"], ["a"], ["b"]]);
  expect(outcomes).toEqual({ a: "stored", b: "stored" });
  expect(renewals()).toBe(0);
});

test("at its deadline what may be stored is indeterminate, what waited is refused", async () => {
  const { publish, sent, pass, answer, outcomes, renewals } = setUp();
  publish("a");
  await pass();
  publish("b");
  await pass(TIMEOUT_MS * 2);
  expect(outcomes).toEqual({ a: "INDETERMINATE", b: "STORAGE_FAULT" });
  // The numbers of the batch that was given up must not be used for another.
  await answer(unknown);
  await pass(200);
  publish("c");
  await pass();
  expect(sent).toEqual([["a"], ["c"]]);
  expect(renewals()).toBe(1);
});

test("a frame that is known not to be stored is told so at its deadline", async () => {
  const { publish, pass, answer, outcomes, sent, renewals } = setUp();
  publish("a");
  await pass();
  await answer(refused);
  for (let time = 0; time < 40; time++) {
    await pass(50);
    await answer(refused);
  }
  expect(outcomes).toEqual({ a: "STORAGE_FAULT" });
  expect(sent.length).toBeGreaterThan(2);
  expect(renewals()).toBe(0);
});

test("one doubtful attempt is not forgotten for the sake of a later refusal", async () => {
  const { publish, pass, answer, outcomes } = setUp();
  publish("a");
  await pass();
  await answer(unknown);
  for (let time = 0; time < 40; time++) {
    await pass(50);
    await answer(refused);
  }
  expect(outcomes).toEqual({ a: "INDETERMINATE" });
});

test("more than the buffer holds is refused at once, and fits again once some went", async () => {
  const { publish, queue, pass, answer, outcomes } = setUp({ framesMax: 2 });
  publish("a", "b");
  expect(() => queue.publish([record("c")])).toThrow("wait for Kafka");
  await pass();
  await answer();
  publish("d");
  await pass();
  await answer();
  expect(outcomes).toEqual({ "a+b": "stored", d: "stored" });
});

test("bytes are counted for each partition of each topic by itself", async () => {
  const { queue, sent, pass } = setUp({ bytesMax: 10_000_000 });
  const large = "x".repeat(300_000);
  const places = ["t", "u"].flatMap((topic) => [0, 1].map((partition) => ({ topic, partition })));
  const round = places.map((place) => ({ ...record(large), ...place }));
  void queue.publish([...round, ...round, ...round.toReversed()]);
  await pass();
  // Two of each fit; the third does not.
  expect(sent.map((texts) => texts.length)).toEqual([8]);
});

test("a request takes so many frames and bytes of one partition, but always one", async () => {
  const { queue, sent, pass, answer } = setUp({ batchFramesMax: 3, bytesMax: 1e9 });
  const large = "x".repeat(600_000);
  void queue.publish([record("1"), record("2"), record("3"), record(large), record(large, 1)]);
  void queue.publish([record(large), record("x".repeat(1_000_000))]);
  for (let time = 0; time < 5; time++) {
    await pass();
    await answer();
  }
  expect(sent.map((batch) => batch.map(({ length }) => length))).toEqual([
    [1, 1, 1],
    [600_000, 600_000],
    [600_000],
    [1_000_000],
  ]);
});

test("a close sends what waits, and settles what does not go in time", async () => {
  const { queue, publish, pass, answer, outcomes } = setUp({ batchFramesMax: 1 });
  publish("a");
  publish("b");
  publish("c");
  await pass();
  const closing = queue.close(500);
  expect(() => queue.publish([record("late")])).toThrow("closed");
  await answer();
  await pass(600);
  await closing;
  expect(outcomes).toEqual({ a: "stored", b: "INDETERMINATE", c: "CLOSED" });
});

test("under traffic a request waits for company, the first ones after a rest do not", async () => {
  const { publish, sent, pass, answer } = setUp({ gatherMs: 10 });
  for (let request = 0; request < 8; request++) {
    publish(`at once ${request}`);
    await pass();
    await answer();
  }
  expect(sent).toHaveLength(8);
  publish("a");
  await pass(4);
  publish("b");
  await pass(5);
  expect(sent).toHaveLength(8);
  await pass(1);
  expect(sent.slice(8)).toEqual([["a", "b"]]);
  await answer();
  await pass(1_000);
  publish("c");
  await pass();
  expect(sent.slice(9)).toEqual([["c"]]);
});

test("a request does not wait that has company enough, nor when the queue closes", async () => {
  const { queue, publish, sent, pass, answer, outcomes } = setUp({
    gatherMs: 500,
    framesMax: 1_000,
    batchFramesMax: 1_000,
  });
  for (let request = 0; request < 8; request++) {
    publish(`at once ${request}`);
    await pass();
    await answer();
  }
  const many = Array.from({ length: 256 }, (_, index) => String(index));
  publish(...many.slice(0, 255));
  await pass(1);
  expect(sent).toHaveLength(8);
  publish(...many.slice(255));
  await pass();
  expect(sent.slice(8)).toEqual([many]);
  await answer();
  publish("last");
  await pass(1);
  expect(sent).toHaveLength(9);
  const closed = queue.close(1_000);
  await pass();
  expect(sent.slice(9)).toEqual([["last"]]);
  await answer();
  await closed;
  expect(outcomes["last"]).toBe("stored");
});

test("after a flood of full requests a single frame waits no longer than any other", async () => {
  const { publish, sent, pass, answer } = setUp({
    gatherMs: 10,
    framesMax: 1_000,
    batchFramesMax: 1_000,
  });
  for (let request = 0; request < 200; request++) {
    publish(...Array.from({ length: 256 }, (_, index) => `${request}/${index}`));
    await pass(1);
    await answer();
  }
  expect(sent).toHaveLength(200);
  publish("single");
  await pass(10);
  expect(sent.slice(200)).toEqual([["single"]]);
});

test("of several that went out together only that with the refused frame is refused", async () => {
  const { publish, sent, pass, answer, outcomes } = setUp();
  const tooLarge = new ShopError("PAYLOAD_TOO_LARGE", "too large", "never");
  publish("good");
  publish("bad", "beside");
  publish("fine");
  await pass();
  await answer(tooLarge);
  await answer();
  await answer(tooLarge);
  await answer();
  expect(sent).toEqual([["good", "bad", "beside", "fine"], ["good"], ["bad", "beside"], ["fine"]]);
  expect(outcomes).toEqual({
    good: "stored",
    "bad+beside": "PAYLOAD_TOO_LARGE",
    fine: "stored",
  });
});

test("what may be stored is told as such also when it is refused then", async () => {
  const { publish, sent, pass, answer, outcomes } = setUp();
  publish("good");
  publish("bad");
  await pass();
  await answer(unknown);
  await pass(TIMEOUT_MS / 2);
  await answer(new ShopError("PAYLOAD_TOO_LARGE", "too large", "never"));
  expect(sent).toHaveLength(2);
  expect(outcomes).toEqual({ good: "INDETERMINATE", bad: "INDETERMINATE" });
});
