/**
 * Conformance: frames that are given up on (B19 to B23).
 *
 * At any moment a frame is in the dead letters or unsettled at its source; these cases look for
 * the moment in which it is in neither.
 */

import { expect } from "bun:test";

import type { Broker, DeadLetter, Subscription } from "./broker.ts";
import type { Bench, BrokerCase } from "./broker-bench.suite.ts";

import { ShopError } from "../../runtime/errors.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { ACK } from "../delivery/outcome.ts";
import { redrive, REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { idOf, idsOf, sorted } from "./broker-bench.suite.ts";

const BURIAL = { reason: "test", attempts: 1, firstError: "first", lastError: "last" };
const LETTERS_MAX = 1_000;

export const DEAD_LETTER_CASES: readonly BrokerCase[] = [
  {
    name: "B19: a poisonous frame is tried 5 times and buried once, the others are done",
    run: poison,
  },
  {
    name: "B20: bytes that are no frame are buried as they came, without a call",
    run: undecodable,
  },
  {
    name: "B21: a burial cut short by a kill leaves the frame buried or at its source",
    needs: ["persistent", "restart"],
    run: burialIsAtomic,
  },
  {
    name: "B22: while the dead letters refuse, nothing is dropped and only that key waits",
    run: refused,
  },
  {
    name: "B23: redriven dead letters are handled anew, even when redriven twice over a kill",
    needs: ["persistent", "restart"],
    run: redriven,
  },
  {
    name: "B23: dead letters are listed oldest first, page by page",
    run: async (bench) => {
      await bench.start();
      await buryAll(bench, idsOf(1, 7));
      const pages = [];
      for (let after = 0; pages.length < 3; after = pages.at(-1)?.at(-1)?.id ?? 0) {
        pages.push(await bench.within(bench.broker.deadLetters(bench.topic, after, 3)));
      }
      expect(pages.map((page) => page.length)).toEqual([3, 3, 1]);
      const ids = pages.flat().map(({ id }) => id);
      expect(ids).toEqual(ids.toSorted((a, b) => a - b));
      expect(sorted(pages.flat().map(idOf))).toEqual(sorted(idsOf(1, 7)));
    },
  },
];

async function poison(bench: Bench): Promise<void> {
  await bench.start();
  const { consumer, calls } = await bench.consume({
    handle: ({ body, attempt }) =>
      body === "p1-50" ? Promise.reject(new Error(`failure ${attempt}`)) : Promise.resolve(ACK),
  });
  const beforeMs = bench.environment.nowMs();
  await bench.publish(idsOf(1, 100));
  await bench.eventually("all are settled", () => settledBy(consumer) === 100);
  expect(calls.filter(({ id }) => id === "p1-50").map(({ attempt }) => attempt)).toEqual([
    1, 2, 3, 4, 5,
  ]);
  expect(calls).toHaveLength(104);
  const letters = await lettersOf(bench);
  expect(letters).toHaveLength(1);
  const [letter] = letters;
  expect(letter).toMatchObject({ group: "g", topic: bench.topic });
  expect(letter?.burial).toEqual({
    reason: "poison",
    attempts: 5,
    firstError: "Error: failure 1",
    lastError: "Error: failure 5",
  });
  expect(decodeFrame(letter?.bytes ?? new Uint8Array(0)).key).toBe("p1-50");
  expect(letter?.buriedAtMs).toBeGreaterThanOrEqual(beforeMs);
  const tally = consumer.stats().partitions.find(({ buried }) => buried > 0);
  expect(tally).toMatchObject({ partition: letter?.partition ?? -1, buried: 1, inFlight: 0 });
}

async function undecodable(bench: Bench): Promise<void> {
  await bench.start();
  const good = bench.frame("good", { key: "k" }).frame;
  const truncated = good.slice(0, good.length - 1);
  const flipped = good.slice();
  flipped[good.length - 1] = (flipped[good.length - 1] ?? 0) ^ 1;
  const newer = good.slice();
  newer[4] = 99;
  const bad = [truncated, flipped, newer];
  for (const frame of bad)
    await bench.within(bench.broker.publish([{ topic: bench.topic, frame }]));
  const unfit = bench.frame("unfit", { key: "k" });
  await bench.within(bench.broker.publish([unfit]));
  const { consumer, calls } = await bench.consume({
    checkBody: (body) => {
      if (body === "unfit") throw new ShopError("BAD_MESSAGE", "no such event", "never");
    },
  });
  await bench.publish(["p1-1"], { key: "k" });
  await bench.eventually("all are settled", () => settledBy(consumer) === 5);
  expect(calls.map(({ id }) => id)).toEqual(["p1-1"]);
  const letters = await lettersOf(bench);
  expect(letters.map(({ burial }) => burial.reason).toSorted()).toEqual([
    "bad_frame",
    "bad_frame",
    "bad_frame",
    "bad_message",
  ]);
  const hashes = [...bad, unfit.frame].map((bytes) => Bun.hash(bytes));
  expect(new Set(letters.map(({ bytes }) => Bun.hash(bytes)))).toEqual(new Set(hashes));
}

async function burialIsAtomic(bench: Bench): Promise<void> {
  await bench.start();
  const atSource = new Set(idsOf(1, 12));
  await bench.publish([...atSource]);
  for (const id of idsOf(1, 12)) {
    const answered = Number(id.slice(3)) % 2 === 0;
    const member = await bench.probe();
    await bench.eventually("all are here", () => member.deliveries.length === atSource.size);
    const burying = member.subscription.bury(member.find(id), BURIAL).catch(() => undefined);
    // Killed before the burial is answered, or just after.
    if (answered) await bench.within(burying);
    await bench.restart("kill");
    const buried = (await lettersOf(bench)).map(idOf);
    expect(new Set(buried).size).toBe(buried.length);
    if (answered) expect(buried).toContain(id);
    for (const each of buried) atSource.delete(each);
    const heir = await bench.probe();
    await bench.eventually("the rest came back", () => heir.deliveries.length >= atSource.size);
    expect(sorted(heir.ids())).toEqual(sorted(atSource));
    await bench.within(heir.subscription.close(false));
  }
}

async function refused(bench: Bench): Promise<void> {
  await bench.start();
  let refusals = 0;
  let refusing = true;
  const bury: Subscription["bury"] = () => {
    refusals++;
    return Promise.reject(new ShopError("STORAGE_FAULT", "the dead letters are down", "later"));
  };
  const { consumer, calls, events } = await bench.consume({
    broker: withSubscription(bench.broker, (inner) => ({
      ...portOf(inner),
      bury: (ref, burial) => (refusing ? bury(ref, burial) : inner.bury(ref, burial)),
    })),
    handle: ({ body }) =>
      body === "bad"
        ? Promise.reject(new ShopError("BAD_MESSAGE", "cannot be", "never"))
        : Promise.resolve(ACK),
  });
  await bench.publish(["bad", "behind"], { key: "k" });
  await bench.publish(idsOf(1, 50));
  await bench.eventually("other keys are done", () => settledBy(consumer) === 50);
  await bench.eventually("it was tried again", () => refusals >= 3);
  expect(calls.filter(({ id }) => id === "bad")).toHaveLength(1);
  expect(calls.some(({ id }) => id === "behind")).toBe(false);
  expect(await lettersOf(bench)).toEqual([]);
  expect(events.some((event) => event.kind === "settle_failed" && event.what === "bury")).toBe(
    true,
  );
  expect(consumer.stats().settleFailures).toBeGreaterThanOrEqual(3);
  refusing = false;
  await bench.eventually("all are settled", () => settledBy(consumer) === 52);
  expect((await lettersOf(bench)).map(idOf)).toEqual(["bad"]);
}

async function redriven(bench: Bench): Promise<void> {
  await bench.start();
  const ids = idsOf(1, 10);
  await buryAll(bench, ids);
  const letters = await lettersOf(bench);
  expect(letters).toHaveLength(10);
  await bench.within(redrive(bench.broker, letters.slice(0, 5)));
  await bench.restart("kill");
  // Whoever redrives cannot know how far it came, and starts over.
  await bench.within(redrive(bench.broker, await lettersOf(bench)));
  const effects = new Map<string, number>();
  const headers = new Set<string | undefined>();
  const inbox = new Set<string>();
  const { consumer, calls } = await bench.consume({
    handle: ({ frame, body }) => {
      headers.add(frame.headers[REDRIVEN_HEADER]?.split("/")[0]);
      if (!inbox.has(frame.id)) effects.set(body, (effects.get(body) ?? 0) + 1);
      inbox.add(frame.id);
      return Promise.resolve(ACK);
    },
  });
  await bench.eventually("all are settled", () => settledBy(consumer) === 15);
  expect(sorted(effects.keys())).toEqual(sorted(ids));
  expect([...effects.values()].every((times) => times === 1)).toBe(true);
  expect(calls.every(({ attempt }) => attempt === 1)).toBe(true);
  expect([...headers]).toEqual(["g"]);
}

async function buryAll(bench: Bench, ids: readonly string[]): Promise<void> {
  const member = await bench.probe();
  await bench.publish(ids);
  await bench.eventually("they are here", () => member.deliveries.length === ids.length);
  for (const delivery of member.deliveries) {
    await bench.within(member.subscription.bury(delivery, BURIAL));
  }
  await bench.within(member.subscription.close(false));
}

function lettersOf(bench: Bench): Promise<readonly DeadLetter[]> {
  return bench.within(bench.broker.deadLetters(bench.topic, 0, LETTERS_MAX));
}

function settledBy(consumer: {
  stats(): { partitions: readonly { acked: number; buried: number }[] };
}): number {
  return consumer.stats().partitions.reduce((sum, each) => sum + each.acked + each.buried, 0);
}

/** `broker` with something put between it and its members. */
function withSubscription(
  broker: Broker,
  wrap: (inner: Subscription) => Subscription,
): Pick<Broker, "subscribe"> {
  return { subscribe: async (options) => wrap(await broker.subscribe(options)) };
}

/** The methods of a subscription apart from their object, so that one can be replaced. */
function portOf(inner: Subscription): Subscription {
  return {
    ack: (deliveries) => inner.ack(deliveries),
    postpone: (ref, postponement) => inner.postpone(ref, postponement),
    bury: (ref, burial) => inner.bury(ref, burial),
    standing: (look) => inner.standing(look),
    pause: () => inner.pause(),
    resume: () => inner.resume(),
    close: (isAtRest) => inner.close(isAtRest),
  };
}
