/** A view as a member of a group, on a clock of the test: pace, failures, hand-overs, stops. */

import { describe, expect, test } from "bun:test";

import type { Exit, RunningChild } from "../../runtime/supervision/child.ts";
import type { FeedRecord } from "../brokers/feed.ts";
import type { ViewEvent } from "./view-runner.ts";

import { InvariantError, ShopError } from "../../runtime/errors.ts";
import { encodeFrame, frameKey } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { startViewMember } from "./view-member.ts";
import { VIEW_SETTINGS } from "./view-settings.ts";

const TOPIC = "orders";
const BYTES_MAX = 10_000_000;
const DRAIN_MS = 2_000;

function createWorld() {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: [TOPIC],
    partitions: 4,
    logBytesMax: BYTES_MAX,
    deadLetterBytesMax: BYTES_MAX,
  });
  const broker = new MemoryBroker({ environment, log });
  const stored: string[] = [];
  const batches: number[] = [];
  /** Thrown, once each, by the next calls of `append`. */
  const faults: Error[] = [];
  const held: PromiseWithResolvers<void>[] = [];
  const events: ViewEvent[] = [];
  const exits: Exit[] = [];
  let isHolding = false;
  let closed = 0;
  let maintained = 0;

  async function append(records: readonly FeedRecord[]): Promise<void> {
    if (isHolding) {
      const hold = Promise.withResolvers<void>();
      held.push(hold);
      await hold.promise;
    }
    const fault = faults.shift();
    if (fault !== undefined) throw fault;
    batches.push(records.length);
    stored.push(...records.map(({ bytes }) => frameKey(bytes)));
  }

  async function start(): Promise<RunningChild> {
    const starting = startViewMember(
      {
        name: "view",
        environment,
        settings: { ...VIEW_SETTINGS, recordsMax: 10 },
        broker,
        topics: [TOPIC],
        openSink: async () => ({
          append,
          maintain: async () => void maintained++,
          close: async () => void closed++,
        }),
        onEvent: (event) => void events.push(event),
        drainMs: () => DRAIN_MS,
      },
      (exit) => void exits.push(exit),
    );
    await environment.settle();
    return await starting;
  }

  async function publish(...keys: string[]): Promise<void> {
    await broker.publish(
      keys.map((key, at) => ({
        topic: TOPIC,
        frame: encodeFrame({
          type: 1,
          slot: at % 4,
          key,
          payload: new Uint8Array(),
          id: environment.newId(),
          timeMs: environment.nowMs(),
        }),
      })),
    );
    await environment.settle();
  }

  return {
    environment,
    broker,
    stored,
    batches,
    faults,
    held,
    events,
    exits,
    start,
    publish,
    hold: (on: boolean) => void (isHolding = on),
    counts: () => ({ closed, maintained }),
  };
}

const KEYS = Array.from({ length: 25 }, (_, at) => `k${at}`);
const gone = () => new ShopError("STORAGE_FAULT", "the server is gone", "later");

describe("a view as a member", () => {
  test("stores full batches at once and the rest after a while, and acknowledges", async () => {
    const world = createWorld();
    const view = await world.start();
    await world.publish(...KEYS);
    expect(world.batches.every((size) => size <= 10)).toBe(true);
    await world.environment.advance(1_000);
    expect(world.stored.toSorted()).toEqual(KEYS.toSorted());
    await view.stop();
    await world.start();
    await world.environment.advance(1_000);
    expect(world.stored).toHaveLength(25);
  });

  test("stores what follows a rest at once, and under traffic one batch in a while", async () => {
    const world = createWorld();
    await world.start();
    await world.environment.advance(VIEW_SETTINGS.gatherMs);
    await world.publish("a");
    await world.environment.advance(10);
    expect(world.batches).toEqual([1]);
    for (let each = 1; each <= 8; each++) {
      await world.publish(`b${each}`);
      await world.environment.advance(VIEW_SETTINGS.gatherMs / 10);
    }
    expect(world.batches).toEqual([1]);
    await world.environment.advance(VIEW_SETTINGS.gatherMs);
    expect(world.batches).toEqual([1, 8]);
    // Behind a batch that takes long, a new one is not even kept for the rest of the time.
    await world.environment.advance(VIEW_SETTINGS.gatherMs);
    world.hold(true);
    await world.publish("c");
    await world.environment.advance(10);
    await world.publish("d", "e");
    await world.environment.advance(2 * VIEW_SETTINGS.gatherMs);
    world.hold(false);
    for (const { resolve } of world.held) resolve();
    await world.environment.advance(10);
    expect(world.batches).toEqual([1, 8, 1, 2]);
  });

  test("gives what failed to the sink again, told once a failure, and loses nothing", async () => {
    const world = createWorld();
    await world.start();
    world.faults.push(gone(), gone(), gone());
    await world.publish(...KEYS);
    await world.environment.advance(5_000);
    expect(world.stored.toSorted()).toEqual(KEYS.toSorted());
    const waits = world.events.flatMap((event) =>
      event.kind === "failed" ? [event.retryInMs] : [],
    );
    expect(waits).toEqual([100, 200, 400]);
    expect(world.events.filter(({ kind }) => kind === "working")).toHaveLength(1);
  });

  test("acknowledges nothing that the sink has not stored", async () => {
    const world = createWorld();
    const view = await world.start();
    world.hold(true);
    await world.publish("a", "b");
    await world.environment.advance(300);
    expect(world.held).toHaveLength(1);
    view.kill();
    await world.environment.settle();
    world.hold(false);
    await world.start();
    await world.environment.advance(1_000);
    expect(world.stored.toSorted()).toEqual(["a", "b"]);
  });

  test("stores what is in hand when it is stopped", async () => {
    const world = createWorld();
    const view = await world.start();
    await world.publish("a", "b", "c");
    const stopping = view.stop();
    await world.environment.advance(DRAIN_MS);
    await stopping;
    expect(world.stored.toSorted()).toEqual(["a", "b", "c"]);
    expect(world.counts().closed).toBe(1);
  });

  test("stops in its time though the sink never answers, and gives the rest back", async () => {
    const world = createWorld();
    const view = await world.start();
    world.hold(true);
    await world.publish("a");
    const stopping = view.stop();
    await world.environment.advance(DRAIN_MS + 100);
    await stopping;
    world.hold(false);
    await world.start();
    await world.environment.advance(1_000);
    expect(world.stored).toEqual(["a"]);
  });

  test("ends on a bug, which its supervisor hears of", async () => {
    const world = createWorld();
    await world.start();
    world.faults.push(new InvariantError("a bug"));
    await world.publish("a");
    await world.environment.advance(1_000);
    expect(world.exits).toEqual([{ kind: "abnormal", error: expect.any(InvariantError) }]);
    await world.start();
    await world.environment.advance(1_000);
    expect(world.stored).toEqual(["a"]);
  });

  test("keeps house while it is idle", async () => {
    const world = createWorld();
    await world.start();
    await world.environment.advance(10_000);
    expect(world.counts().maintained).toBeGreaterThan(3);
  });

  test("keeps house under traffic that never ends as well", async () => {
    const world = createWorld();
    await world.start();
    await world.environment.advance(1_000);
    const { maintained: before } = world.counts();
    for (let turn = 0; turn < 600; turn++) {
      await world.publish("a");
      await world.environment.advance(50);
    }
    expect(world.counts().maintained - before).toBeGreaterThan(1);
    await world.environment.advance(1_000);
    expect(world.stored).toHaveLength(600);
  });

  test("says how old the oldest record is that it has not stored", async () => {
    const world = createWorld();
    await world.start();
    world.hold(true);
    await world.publish("a");
    await world.environment.advance(5_500);
    const lag = world.events.findLast(({ kind }) => kind === "lag");
    expect(lag).toMatchObject({ kind: "lag", records: 1 });
    expect(lag?.kind === "lag" && lag.ageMs >= 4_000).toBe(true);
  });
});
