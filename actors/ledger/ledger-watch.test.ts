/**
 * The ledger over the memory broker on a virtual clock: whatever happens, it balances; and whatever
 * goes wrong between the two ends is found.
 *
 * Members come, go and lose partitions, handlers fail, hang and go on after their commit, the
 * broker refuses settlements: none of it is an imbalance. Each saboteur breaks one promise once.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import type { Rig } from "../delivery/consumer-bench.suite.ts";
import type { Consumer } from "../delivery/consumer.ts";
import type { HandleOne } from "../delivery/outcome.ts";
import type { Delivery, Subscription } from "../brokers/broker.ts";
import type { LedgerWatch } from "./ledger-watch.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createRig, portOf } from "../delivery/consumer-bench.suite.ts";
import { redrive } from "../delivery/redrive.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { startLedgerWatch } from "./ledger-watch.ts";

const EVERY_MS = 500;
/** Storage may stay silent for a whole run of the simulation: nothing is to count as hung. */
const SETTINGS = { everyMs: EVERY_MS, hangRounds: 10_000 };
const MEMBERS_MAX = 3;
const HEARD = 1;
const UNHEARD = 2;

const FATES = ["ack", "settled", "late", "fail", "full", "never", "slow", "hang"] as const;
type Fate = (typeof FATES)[number];

interface World {
  readonly rig: Rig;
  readonly members: { readonly consumer: Consumer; readonly watch: LedgerWatch }[];
  readonly imbalances: string[];
  readonly fates: readonly Fate[];
  balanced: number;
  handled: number;
  /** Settlements are refused, or made without an answer that says so. */
  refusal: "none" | "refused" | "unsaid";
}

function createWorld(fates: readonly Fate[]): World {
  const rig = createRig();
  const world: World = {
    rig,
    members: [],
    imbalances: [],
    fates,
    balanced: 0,
    handled: 0,
    refusal: "none",
  };
  rig.interfere = (inner) => ({
    ack: (refs) => faulty(world, () => inner.ack(refs)),
    bury: (ref, burial) => faulty(world, () => inner.bury(ref, burial)),
  });
  return world;
}

async function faulty<Value>(world: World, settle: () => Promise<Value>): Promise<Value> {
  const { refusal } = world;
  if (refusal === "refused") throw new ShopError("STORAGE_FULL", "no room", "later");
  const value = await settle();
  if (refusal === "unsaid") throw new ShopError("INDETERMINATE", "cut off", "later");
  return value;
}

function handlerOf(world: World): HandleOne<string> {
  return async ({ delivery, attempt }) => {
    const { rig, fates } = world;
    const fate = fates[world.handled++ % Math.max(1, fates.length)] ?? "ack";
    if (fate === "slow") await sleep(rig, 700);
    if (fate === "hang") await sleep(rig, 9_000);
    if (fate === "fail") throw new Error(`attempt ${attempt}`);
    if (fate === "full") throw new ShopError("STORAGE_FULL", "no room", "later");
    if (fate === "never") throw new ShopError("BAD_MESSAGE", "cannot be", "never");
    if (fate !== "settled" && fate !== "late") return ACK;
    rig.broker.acknowledge([delivery]);
    if (fate === "late") await sleep(rig, 3_000);
    return SETTLED;
  };
}

function sleep(rig: Rig, durationMs: number): Promise<void> {
  return new Promise((resolve) => void rig.environment.startTimer(durationMs, resolve));
}

type Steal = (deliveries: readonly Delivery[]) => readonly Delivery[];

async function join(world: World, steal: Steal = (deliveries) => deliveries): Promise<void> {
  const { rig, imbalances } = world;
  const consumer = await rig.start(withPoison(handlerOf(world)), {
    types: [HEARD],
    broker: {
      async subscribe(options) {
        const inner = await rig.broker.subscribe({
          ...options,
          onDeliveries: (batch) => options.onDeliveries(steal(batch)),
        });
        return { ...portOf(inner), ...rig.interfere(inner) };
      },
    },
  });
  const watch = startLedgerWatch({
    environment: rig.environment,
    members: [{ group: "g", consumer }],
    settings: SETTINGS,
    onImbalance: (detail) => void imbalances.push(detail),
    onBalanced: () => void world.balanced++,
  });
  world.members.push({ consumer, watch });
}

function withPoison(handle: HandleOne<string>): HandleOne<string> {
  return (message, signal) => {
    if (message.body === "acked") return Promise.resolve(ACK);
    if (message.body !== "poison") return handle(message, signal);
    return Promise.resolve({ kind: "bury", reason: "poison", error: "as it says" });
  };
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ publish: fc.constantFrom("a", "b", "c", "d", "e") }) },
  { weight: 2, arbitrary: fc.record({ unheard: fc.constantFrom("a", "b", "c") }) },
  { weight: 3, arbitrary: fc.record({ passMs: fc.integer({ min: 0, max: 3_000 }) }) },
  { weight: 1, arbitrary: fc.record({ ask: fc.constant(true) }) },
  { weight: 1, arbitrary: fc.record({ refusal: fc.constantFrom("none", "refused", "unsaid") }) },
  { weight: 1, arbitrary: fc.record({ member: fc.constantFrom("join", "close", "drain") }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

async function act(world: World, one: Step): Promise<void> {
  const { rig, members } = world;
  if ("publish" in one) await rig.publish(["x"], { key: one.publish, type: HEARD });
  else if ("unheard" in one) await rig.publish(["y"], { key: one.unheard, type: UNHEARD });
  else if ("passMs" in one) await rig.environment.advance(one.passMs);
  else if ("ask" in one) void members[0]?.watch.rows();
  else if ("refusal" in one) world.refusal = one.refusal;
  else if (one.member === "join") {
    if (members.length < MEMBERS_MAX) await join(world);
  } else {
    const leaving = members.shift();
    if (leaving === undefined) return;
    const left = one.member === "drain" ? leaving.consumer.drain(500) : leaving.consumer.close();
    await rig.environment.advance(500);
    await left;
    leaving.watch.stop();
  }
}

test("whatever members, handlers and storage do, no ledger is ever out of balance", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 50 }),
      fc.array(fc.constantFrom(...FATES), { maxLength: 12 }),
      async (script, fates) => {
        const world = createWorld(fates);
        await join(world);
        for (const one of script) await act(world, one);
        world.refusal = "none";
        await world.rig.environment.advance(4_000);
        expect(world.imbalances).toEqual([]);
        for (const { watch } of world.members) watch.stop();
        await world.rig.broker.close();
      },
    ),
    { numRuns: 150 },
  );
});

/** Breaks one promise once, when told to; says whether it did. */
interface Saboteur {
  armed: boolean;
  done: boolean;
}

type Crime = (saboteur: Saboteur, inner: Subscription) => Partial<Subscription>;

const strike = (saboteur: Saboteur): boolean => {
  if (!saboteur.armed || saboteur.done) return false;
  saboteur.done = true;
  return true;
};

const CRIMES: Readonly<Record<string, Crime>> = {
  "an acknowledgement is skipped": (saboteur, inner) => ({
    ack: (refs) =>
      strike(saboteur) ? Promise.resolve(refs.map(() => "settled")) : inner.ack(refs),
  }),
  "an acknowledgement is never answered": (saboteur, inner) => ({
    async ack(refs) {
      const results = await inner.ack(refs);
      return strike(saboteur) ? new Promise(() => undefined) : results;
    },
  }),
  "a burial is taken and said to be stale": (saboteur, inner) => ({
    async bury(ref, burial) {
      const result = await inner.bury(ref, burial);
      return strike(saboteur) ? "stale" : result;
    },
  }),
  "a burial is skipped": (saboteur, inner) => ({
    bury: (ref, burial) =>
      strike(saboteur) ? Promise.resolve("settled") : inner.bury(ref, burial),
  }),
};

const THEFTS: Readonly<Record<string, Steal>> = {
  "a delivery is dropped": (deliveries) => deliveries.slice(1),
  "a delivery comes twice": (deliveries) => [...deliveries, ...deliveries.slice(-1)],
};

const busy = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ publish: fc.constantFrom("a", "b", "c", "d", "e") }) },
    { weight: 2, arbitrary: fc.record({ unheard: fc.constantFrom("a", "b", "c") }) },
    { weight: 2, arbitrary: fc.record({ passMs: fc.integer({ min: 0, max: 1_000 }) }) },
  ),
  { minLength: 3, maxLength: 25 },
);
const calm = fc.array(fc.constantFrom<Fate>("ack", "settled", "fail", "full", "slow"), {
  maxLength: 8,
});

/** Lets things run, arms the saboteur, goes on, and answers what the ledger said. */
async function watchCrime(
  world: World,
  saboteur: Saboteur,
  before: readonly Step[],
  after: readonly Step[],
): Promise<readonly string[]> {
  for (const one of before) await act(world, one);
  expect(world.imbalances).toEqual([]);
  saboteur.armed = true;
  // One that is acknowledged and one that is buried: there is an occasion for every crime.
  await world.rig.publish(["acked", "poison"], { key: "occasion", type: HEARD });
  for (const one of after) await act(world, one);
  await world.rig.environment.advance(2 * EVERY_MS);
  const found = [...world.imbalances];
  for (const { watch } of world.members) watch.stop();
  await world.rig.broker.close();
  return saboteur.done ? found : ["there was no occasion"];
}

describe("is found whenever it happens:", () => {
  test.each(Object.entries(CRIMES))("%s", async (_name, crime) => {
    await fc.assert(
      fc.asyncProperty(busy, busy, calm, async (before, after, fates) => {
        const world = createWorld(fates);
        const saboteur: Saboteur = { armed: false, done: false };
        world.rig.interfere = (inner) => crime(saboteur, inner);
        await join(world);
        const found = await watchCrime(world, saboteur, before, after);
        expect(found.join()).toContain("ledger of group g t/");
      }),
      { numRuns: 40 },
    );
  });

  test.each(Object.entries(THEFTS))("%s", async (_name, steal) => {
    await fc.assert(
      fc.asyncProperty(busy, busy, calm, async (before, after, fates) => {
        const world = createWorld(fates);
        const saboteur: Saboteur = { armed: false, done: false };
        await join(world, (batch) => (strike(saboteur) ? steal(batch) : batch));
        const found = await watchCrime(world, saboteur, before, after);
        expect(found.join()).toMatch(/ledger of group g t\/\d: \d+ sent, but \d+ received/);
      }),
      { numRuns: 40 },
    );
  });
});

test("an imbalance is told once, and its end when the broker gave the delivery again", async () => {
  const world = createWorld([]);
  const saboteur: Saboteur = { armed: true, done: false };
  await join(world, (batch) => (strike(saboteur) ? [] : batch));
  await world.rig.publish(["lost"], { key: "a", type: HEARD });
  await world.rig.environment.advance(4 * EVERY_MS);
  expect(world.imbalances).toHaveLength(1);
  expect(world.balanced).toBe(0);
  // Its lease runs out, and with it the epoch in which it was lost.
  await world.rig.environment.advance(20_000);
  expect(world.imbalances).toHaveLength(1);
  expect(world.balanced).toBe(1);
  expect(world.rig.calls).toEqual(["lost#2"]);
});

test("rows are fresh, and leave out what does not concern the group", async () => {
  const world = createWorld(["ack"]);
  await join(world);
  await world.rig.publish(["x", "y"], { key: "a", type: HEARD });
  await world.rig.publish(["z"], { key: "a", type: UNHEARD });
  await world.rig.environment.settle();
  const asking = world.members[0]?.watch.rows();
  await world.rig.environment.settle();
  const rows = (await asking) ?? [];
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({ group: "g", topic: "t", published: 2, acked: 2, inFlight: 0 });
  for (const { watch } of world.members) watch.stop();
});

test("deliveries of redriven dead letters are counted on their own", async () => {
  const world = createWorld(["ack"]);
  await join(world);
  const { rig } = world;
  await rig.publish(["poison"], { key: "a", type: HEARD });
  await rig.environment.settle();
  await redrive(rig.broker, await rig.broker.deadLetters("t", 0, 10));
  await rig.environment.settle();
  const asking = world.members[0]?.watch.rows();
  await rig.environment.settle();
  expect((await asking)?.[0]).toMatchObject({ published: 2, dead: 2, redriven: 1 });
  for (const { watch } of world.members) watch.stop();
});

test("a broker that refuses to answer is asked again, and is no imbalance", async () => {
  const world = createWorld(["ack"]);
  let refused = 0;
  world.rig.interfere = (inner) => ({
    standing(look) {
      if (refused++ > 2) return inner.standing(look);
      return Promise.reject(new ShopError("SATURATED", "not now", "later"));
    },
  });
  await join(world);
  await world.rig.publish(["x"], { key: "a", type: HEARD });
  await world.rig.environment.advance(6 * EVERY_MS);
  expect(refused).toBeGreaterThan(3);
  expect(world.imbalances).toEqual([]);
});

test("nothing is asked any more once it was stopped", async () => {
  const world = createWorld([]);
  await join(world);
  const [member] = world.members;
  const before = world.rig.environment.pendingTimers();
  member?.watch.stop();
  expect(world.rig.environment.pendingTimers()).toBe(before - 1);
});
