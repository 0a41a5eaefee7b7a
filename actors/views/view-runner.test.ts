/** A view at work, on a clock of the test: pace, failures, losses, stops and breakdowns. */

import { describe, expect, test } from "bun:test";

import type { Feed, FeedBatch, FeedCursor, Projection } from "../brokers/feed.ts";
import type { Exit, RunningChild } from "../../runtime/supervision/child.ts";
import type { ViewEvent } from "./view-runner.ts";

import { InvariantError, ShopError } from "../../runtime/errors.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { openMemoryFeed } from "../brokers/memory-feed.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { startView } from "./view-runner.ts";
import { VIEW_SETTINGS } from "./view-settings.ts";

const TOPIC = "orders";
const LOG_BYTES_MAX = 10_000_000;
const DRAIN_MS = 1_000;

/** A store that outlives the projections on it. */
class Store {
  cursor: FeedCursor | undefined;
  readonly places: string[] = [];
  readonly batchSizes: number[] = [];
  opened = 0;
  closed = 0;
  maintained = 0;
  /** Thrown, once each, by the next calls of `apply`. */
  readonly faults: Error[] = [];

  open(): Projection {
    this.opened++;
    return {
      name: "test",
      topics: [TOPIC],
      cursor: () => this.cursor,
      apply: (batch) => this.#apply(batch),
      maintain: () => void this.maintained++,
      close: () => void this.closed++,
    };
  }

  #apply({ records, cursor }: FeedBatch): void {
    const fault = this.faults.shift();
    if (fault !== undefined) throw fault;
    this.batchSizes.push(records.length);
    this.places.push(...records.map(({ partition, sequence }) => `${partition}/${sequence}`));
    this.cursor = cursor;
  }
}

interface Overrides {
  readonly openProjection?: (store: Store) => Projection;
  readonly feed?: (feed: Feed) => Feed;
  readonly logBytesMax?: number;
}

function createWorld(overrides: Overrides = {}) {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: [TOPIC],
    partitions: 2,
    logBytesMax: overrides.logBytesMax ?? LOG_BYTES_MAX,
    deadLetterBytesMax: 0,
  });
  const store = new Store();
  const events: ViewEvent[] = [];
  const exits: Exit[] = [];
  const open = overrides.openProjection ?? ((of: Store) => of.open());
  const start = (): RunningChild =>
    startView(
      {
        name: "test",
        environment,
        settings: VIEW_SETTINGS,
        openProjection: () => open(store),
        openFeed() {
          const feed = openMemoryFeed({ log, name: "test", topics: [TOPIC], environment });
          return overrides.feed?.(feed) ?? feed;
        },
        onEvent: (event) => void events.push(event),
        drainMs: () => DRAIN_MS,
      },
      (exit) => void exits.push(exit),
    );
  function publish(count: number, payloadBytes = 8): void {
    for (let index = 0; index < count; index++) {
      const payload = new Uint8Array(payloadBytes);
      const id = environment.newId();
      const timeMs = environment.nowMs();
      const frame = encodeFrame({ type: 1, slot: index % 2, key: "k", payload, id, timeMs });
      log.append([{ topic: TOPIC, frame }]);
    }
  }
  const kinds = (): string[] =>
    events.map(({ kind }) => kind).filter((kind) => kind !== "lag" && kind !== "applied");
  const released = (): number =>
    [0, 1].reduce((sum, part) => sum + log.stored("view.test", TOPIC, part).position, 0);
  return { environment, store, events, exits, start, publish, kinds, released };
}

const full = (): ShopError => new ShopError("STORAGE_FULL", "no space", "later");

function expectEachOnce(store: Store, count: number): void {
  expect(store.places).toHaveLength(count);
  expect(new Set(store.places).size).toBe(count);
}

describe("pace", () => {
  test("what comes is applied within the flush time, and then nothing is applied", async () => {
    const { environment, store, start, publish } = createWorld();
    const view = start();
    await environment.advance(1_000);
    expect(store.batchSizes).toEqual([]);
    publish(10);
    await environment.advance(VIEW_SETTINGS.flushMs);
    publish(5);
    await environment.advance(10 * VIEW_SETTINGS.flushMs);
    expect(store.batchSizes).toEqual([10, 5]);
    expectEachOnce(store, 15);
    await view.stop();
  });

  test("full batches follow each other without a pause", async () => {
    const { environment, store, start, publish } = createWorld();
    publish(3 * VIEW_SETTINGS.recordsMax + 7);
    const view = start();
    await environment.settle();
    expect(store.batchSizes).toEqual([1_000, 1_000, 1_000, 7]);
    await view.stop();
  });

  test("batches that are cut by their bytes follow each other as well", async () => {
    const { environment, store, start, publish } = createWorld();
    publish(6, VIEW_SETTINGS.bytesMax / 5);
    const view = start();
    await environment.settle();
    expect(store.places).toHaveLength(6);
    expect(store.batchSizes.length).toBeGreaterThan(1);
    await view.stop();
  });

  test("what was applied is released now and then, and never before it was applied", async () => {
    const releases: number[] = [];
    const world = createWorld({
      feed: (feed) => ({
        read: (...asked) => feed.read(...asked),
        passLoss: (cursor) => feed.passLoss(cursor),
        lag: (cursor) => feed.lag(cursor),
        unreleased: () => feed.unreleased(),
        close: () => feed.close(),
        async release(cursor) {
          await feed.release(cursor);
          releases.push(world.released());
          expect(world.released()).toBeLessThanOrEqual(world.store.places.length);
        },
      }),
    });
    const view = world.start();
    const rounds = (5 * VIEW_SETTINGS.releaseMs) / VIEW_SETTINGS.flushMs;
    for (let round = 0; round < rounds; round++) {
      world.publish(4);
      await world.environment.advance(VIEW_SETTINGS.flushMs);
    }
    expect(releases.length).toBeGreaterThanOrEqual(4);
    expect(releases.length).toBeLessThanOrEqual(6);
    await view.stop();
    expect(world.released()).toBe(4 * rounds);
  });

  test("housekeeping is done about once a second when there is nothing else to do", async () => {
    const { environment, store, start } = createWorld();
    const view = start();
    await environment.advance(10_500);
    expect(store.maintained).toBeGreaterThanOrEqual(9);
    expect(store.maintained).toBeLessThanOrEqual(11);
    await view.stop();
  });
});

describe("failures", () => {
  test("a full store is tried ever less often, and nothing is lost or doubled", async () => {
    const { environment, store, start, publish, kinds, events } = createWorld();
    store.faults.push(...Array.from({ length: 8 }, full));
    publish(20);
    const view = start();
    await environment.advance(60_000);
    expectEachOnce(store, 20);
    expect(kinds()).toEqual([...Array<string>(8).fill("failed"), "working"]);
    const waits = events.flatMap((event) => (event.kind === "failed" ? [event.retryInMs] : []));
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    expect(store.opened).toBe(1);
    await view.stop();
  });

  test("a store that fails for ever is tried for ever", async () => {
    const { environment, start, kinds, exits } = createWorld({
      openProjection() {
        throw full();
      },
    });
    const view = start();
    await environment.advance(3_600_000);
    expect(kinds().length).toBeGreaterThan(700);
    expect(exits).toEqual([]);
    await view.stop();
  });

  test("after a failure that no try can heal the store is opened anew", async () => {
    const { environment, store, start, publish } = createWorld();
    store.faults.push(new ShopError("DATA_DAMAGED", "a bad page", "never"));
    publish(3);
    const view = start();
    await environment.advance(1_000);
    expect([store.opened, store.closed]).toEqual([2, 1]);
    expectEachOnce(store, 3);
    await view.stop();
  });

  test("a release that is refused is said again and does not count as a failure", async () => {
    let refusals = 0;
    const world = createWorld({
      feed: (feed) => ({
        read: (...asked) => feed.read(...asked),
        passLoss: (cursor) => feed.passLoss(cursor),
        lag: (cursor) => feed.lag(cursor),
        unreleased: () => feed.unreleased(),
        close: () => feed.close(),
        async release(cursor) {
          if (refusals++ < 3) throw full();
          await feed.release(cursor);
        },
      }),
    });
    world.publish(6);
    const view = world.start();
    await world.environment.advance(5_000);
    expect(world.released()).toBe(6);
    expect(world.kinds()).toEqual(["working"]);
    await view.stop();
  });

  test("a bug ends the view, with the store closed and no record half applied", async () => {
    const { environment, store, start, publish, exits } = createWorld();
    store.faults.push(new InvariantError("a bug"));
    publish(5);
    start();
    await environment.advance(10_000);
    expect(exits).toMatchObject([{ kind: "abnormal", error: { message: "a bug" } }]);
    expect([store.opened, store.closed]).toEqual([1, 1]);
    expect(store.places).toEqual([]);
    const next = start();
    await environment.advance(1_000);
    expectEachOnce(store, 5);
    await next.stop();
  });
});

test("records that are gone are told, and what is behind them comes once each", async () => {
  const world = createWorld({ logBytesMax: 51_000 });
  world.publish(6);
  let view = world.start();
  await world.environment.settle();
  const early = world.store.cursor;
  await view.stop();
  world.publish(4);
  view = world.start();
  await world.environment.settle();
  await view.stop();
  // The store is put back to an older copy, and the log has made room: four are gone for it.
  world.store.cursor = early;
  world.publish(1, 50_000);
  world.publish(2, 100);
  view = world.start();
  await world.environment.advance(1_000);
  const lost = world.events.filter(({ kind }) => kind === "lost");
  expect(lost.length).toBeGreaterThan(0);
  expectEachOnce(world.store, world.store.places.length);
  expect(world.store.places).toContain("0/6");
  expect(world.exits).toEqual([]);
  await view.stop();
});

test("it tells how far it is behind, also while it fails", async () => {
  const { environment, store, start, publish, events } = createWorld();
  store.faults.push(...Array.from({ length: 5 }, full));
  publish(5);
  const view = start();
  await environment.advance(2_000);
  const lags = events.filter((event) => event.kind === "lag");
  expect(lags.at(0)).toEqual({ kind: "lag", records: 5, ageMs: 0 });
  expect(lags.at(-1)).toMatchObject({ records: 5 });
  await environment.advance(60_000);
  expect(events.filter((event) => event.kind === "lag").at(-1)).toMatchObject({ records: 0 });
  await view.stop();
});

test("while its store cannot be opened it is behind by what it has not released", async () => {
  let isBroken = false;
  const world = createWorld({
    openProjection(store) {
      if (isBroken) throw new ShopError("DATA_DAMAGED", "not a store", "never");
      return store.open();
    },
  });
  const { environment, publish, events } = world;
  publish(10);
  const view = world.start();
  await environment.settle();
  await view.stop();
  expect(world.released()).toBe(10);
  isBroken = true;
  publish(4);
  events.length = 0;
  const next = world.start();
  await environment.advance(30_000);
  const lags = events.filter((event) => event.kind === "lag");
  expect(lags.length).toBeGreaterThan(5);
  expect(new Set(lags.map(({ records }) => records))).toEqual(new Set([4]));
  expect(lags.at(-1)?.ageMs).toBeGreaterThan(20_000);
  isBroken = false;
  await environment.advance(10_000);
  expect(events.filter((event) => event.kind === "lag").at(-1)).toMatchObject({ records: 0 });
  await next.stop();
});

test("a broker that does not say what was released holds up nothing", async () => {
  const world = createWorld({
    feed: (feed) => ({
      read: (...asked) => feed.read(...asked),
      passLoss: (cursor) => feed.passLoss(cursor),
      lag: (cursor) => feed.lag(cursor),
      unreleased: () => Promise.reject(new ShopError("SATURATED", "busy", "later")),
      close: () => feed.close(),
      release: (cursor) => feed.release(cursor),
    }),
  });
  world.publish(3);
  const view = world.start();
  await world.environment.advance(2_000);
  expectEachOnce(world.store, 3);
  expect(world.kinds()).toEqual(["working"]);
  await view.stop();
});

describe("stop", () => {
  test("what was published before it is applied and released, at whatever moment", async () => {
    for (const afterMs of [0, 1, 50, 99, 100, 150]) {
      const { environment, store, start, publish, released } = createWorld();
      const view = start();
      publish(3);
      await environment.advance(afterMs);
      publish(2 * VIEW_SETTINGS.recordsMax);
      const stopping = view.stop();
      await environment.settle();
      await stopping;
      expectEachOnce(store, 2_003);
      expect(released()).toBe(2_003);
      expect(store.opened).toBe(store.closed);
    }
  });

  test("a store that fails does not hold it up", async () => {
    const { environment, store, start, publish } = createWorld();
    store.faults.push(...Array.from({ length: 1_000 }, full));
    publish(3);
    const view = start();
    await environment.settle();
    const stopping = view.stop();
    await environment.settle();
    await stopping;
    expect(store.closed).toBe(1);
  });

  test("killed, it applies nothing any more and its store is closed", async () => {
    const { environment, store, start, publish, exits } = createWorld();
    const view = start();
    await environment.settle();
    publish(5);
    view.kill();
    view.kill();
    await environment.advance(10_000);
    expect(store.places).toEqual([]);
    expect([store.opened, store.closed]).toEqual([1, 1]);
    expect(exits).toEqual([]);
    expect(environment.pendingTimers()).toBe(0);
  });
});
