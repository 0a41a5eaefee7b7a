/**
 * The relay over a table in memory: order, bounds, and what it believes when.
 *
 * The broker fails and heals as the case says; time is virtual. What it is like on a real server
 * and across real processes is in `outbox-relay.int.test.ts`.
 */

import { describe, expect, test } from "bun:test";

import { ShopError } from "../../../runtime/errors.ts";
import { frameOf, framesOf, ME, start } from "./outbox-relay-memory.fixture.ts";
import { RELAY_LANE_SETTINGS } from "./outbox-relay-settings.ts";

const DOWN = new ShopError("STORAGE_FAULT", "the broker is away", "later");

describe("the relay in memory", () => {
  test("publishes in the order of commit, in batches, and empties the table", async () => {
    const { environment, table, broker, commit, relay } = start({ batchFramesMax: 10 });
    for (let id = 1; id <= 95; id++) commit([frameOf(id)]);
    await environment.advance(200);
    expect(broker.published).toEqual(framesOf(1, 95).map(({ id }) => id));
    expect(broker.batches.length).toBeLessThan(15);
    expect(table.rows).toEqual([]);
    expect(table.reads).toBe(0);
    expect(relay.depth()).toBe(0);
  });

  test("keeps a failed batch in order and sends what follows after it", async () => {
    const { environment, broker, commit, relay, states } = start();
    broker.fails = DOWN;
    commit(framesOf(1, 5));
    await environment.advance(5_000);
    commit(framesOf(6, 9));
    expect(relay.depth()).toBe(9);
    expect(relay.lanes()[0]).toMatchObject({ isUp: false, depth: 9 });
    broker.fails = undefined;
    await environment.advance(5_000);
    expect(broker.published).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(states).toEqual(["kafka down", "kafka up"]);
  });

  test("one broker that is down holds up nobody else's frames", async () => {
    const { environment, broker, other, commit } = start();
    broker.fails = DOWN;
    commit([frameOf(1), frameOf(2, "mails"), frameOf(3, "payments"), frameOf(4, "mails")]);
    await environment.advance(100);
    expect(other.published).toEqual([2, 4]);
    broker.fails = undefined;
    await environment.advance(5_000);
    expect(broker.published).toEqual([1, 3]);
  });

  test("a broker that confirms nothing has failed in time, and gets the same again", async () => {
    const { environment, broker, commit } = start({ publishTimeoutMs: 1_000 });
    broker.isSilent = true;
    commit(framesOf(1, 2));
    await environment.advance(900);
    broker.isSilent = false;
    await environment.advance(3_000);
    expect(broker.published).toEqual([1, 2, 1, 2]);
  });

  test("a frame that its broker will never take is kept aside, the others go on", async () => {
    const { environment, table, broker, commit, refused } = start();
    broker.poison.add(3);
    commit(framesOf(1, 5));
    await environment.advance(1_000);
    expect(refused).toEqual([3]);
    expect(broker.published).toEqual([1, 2, 4, 5]);
    expect(table.rows).toEqual([]);
  });
});

test("frames that no queue takes are kept aside, their neighbours not sent for ever", async () => {
  const { environment, relay, table, broker, refused } = start();
  const last = 1_000;
  for (const id of [1, 2, 400, 401, 777]) broker.unread.add(id);
  relay.outgoing(table.commit(ME, framesOf(1, last)));
  await environment.advance(60_000);
  expect(refused).toEqual([1, 2, 400, 401, 777]);
  const firsts = [...new Set(broker.published)];
  expect(firsts).toEqual(
    framesOf(1, last).flatMap(({ id }) => (broker.unread.has(id) ? [] : [id])),
  );
  expect(table.rows).toEqual([]);
  const sent = broker.published.length;
  expect(sent).toBeLessThan(8 * last);
  // Well again, it sends whole batches.
  relay.outgoing(table.commit(ME, framesOf(last + 1, 4 * last)));
  await environment.advance(1_000);
  expect(Math.max(...broker.batches)).toBe(RELAY_LANE_SETTINGS.batchFramesMax);
  expect(broker.published).toHaveLength(sent + 3 * last);
});

test("a topic that nobody reads costs the others of its broker next to nothing", async () => {
  const { environment, commit, table, broker, refused, relay } = start();
  const last = 2_000;
  const isRead = (id: number): boolean => id % 4 !== 0;
  const all = framesOf(1, last).map((frame) =>
    isRead(frame.id) ? frame : { ...frame, topic: "payments" },
  );
  for (const { id } of all) if (!isRead(id)) broker.unread.add(id);
  commit(all);
  // No back-off for a frame, and for the topic one.
  await environment.advance(200);
  expect(refused).toEqual(all.flatMap(({ id }) => (isRead(id) ? [] : [id])));
  expect(table.rows).toEqual([]);
  const read = all.flatMap(({ id }) => (isRead(id) ? [id] : []));
  expect([...new Set(broker.published)]).toEqual(read);
  // Twice at most what was under way when nobody knew.
  const limit = read.length + RELAY_LANE_SETTINGS.batchFramesMax;
  expect(broker.published.length).toBeLessThanOrEqual(limit);
  expect(relay.depth()).toBe(0);
  // Once somebody reads it, it goes with the others again.
  broker.unread.clear();
  const sent = broker.batches.length;
  for (const from of [last + 1, last + 3]) {
    commit([frameOf(from), frameOf(from + 1, "payments")]);
    await environment.advance(10);
  }
  expect(broker.batches.slice(sent)).toEqual([1, 1, 2]);
});

test("a topic of which nothing is confirmed has only its own frames sent again", async () => {
  const { environment, commit, broker } = start({ batchFramesMax: 8 });
  const stuck = [1, 5];
  for (const id of stuck) broker.unread.add(id);
  broker.code = "INDETERMINATE";
  commit(
    [1, 2, 3, 4, 5, 6, 7, 8].map((id) => frameOf(id, stuck.includes(id) ? "payments" : "orders")),
  );
  await environment.advance(10_000);
  expect(broker.published.toSorted((left, right) => left - right)).toEqual(
    [2, 3, 4, 6, 7, 8].flatMap((id) => [id, id]),
  );
  broker.unread.clear();
  await environment.advance(10_000);
  expect(broker.published.slice(-2)).toEqual(stuck);
});

describe("the relay beyond its memory", () => {
  const small = { batchFramesMax: 4, memoryFramesMax: 10 };

  test("turns frames away and reads them back in order, none lost, none twice", async () => {
    const { environment, broker, commit, relay } = start(small);
    broker.fails = DOWN;
    for (let id = 1; id <= 50; id++) commit([frameOf(id)]);
    await environment.advance(10_000);
    expect(relay.depth()).toBe(50);
    expect(relay.lanes()[0]).toMatchObject({ readsBack: true });
    broker.fails = undefined;
    // More comes while it reads back.
    for (let id = 51; id <= 90; id++) {
      commit([frameOf(id)]);
      await environment.advance(id % 7);
    }
    await environment.advance(10_000);
    expect(broker.published).toEqual(framesOf(1, 90).map(({ id }) => id));
    expect(relay.depth()).toBe(0);
    expect(relay.lanes()[0]).toMatchObject({ readsBack: false });
  });

  test("bytes are a bound as well", async () => {
    const { environment, table, broker, commit } = start({ memoryBytesMax: 1_000 });
    broker.fails = DOWN;
    for (let id = 1; id <= 8; id++) commit([frameOf(id, "orders", 300)]);
    await environment.advance(5_000);
    broker.fails = undefined;
    await environment.advance(10_000);
    expect(broker.published).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(table.reads).toBeGreaterThan(0);
  });

  test("a frame that is told after it was read back is not sent twice", async () => {
    const { environment, table, broker, relay } = start();
    const told = table.commit(ME, framesOf(1, 3));
    relay.uncertain();
    await environment.advance(200);
    expect(broker.published).toEqual([1, 2, 3]);
    relay.outgoing(told);
    await environment.advance(200);
    expect(broker.published).toEqual([1, 2, 3]);
    relay.outgoing(table.commit(ME, framesOf(4, 4)));
    await environment.advance(200);
    expect(broker.published).toEqual([1, 2, 3, 4]);
    expect(relay.depth()).toBe(0);
  });

  test("a lower id that commits late is published, whoever tells of it", async () => {
    const { environment, table, broker, relay } = start();
    // Transaction B has id 2 and commits first; A has id 1 and sleeps.
    relay.uncertain();
    table.commit(ME, [frameOf(2)]);
    await environment.advance(200);
    expect(broker.published).toEqual([2]);
    relay.outgoing(table.commit(ME, [frameOf(1)]));
    await environment.advance(200);
    expect(broker.published).toEqual([2, 1]);
    expect(table.rows).toEqual([]);
  });

  test("a frame that is committed while the last page is on its way is not forgotten", async () => {
    const { environment, table, broker, relay, commit } = start();
    table.commit(ME, framesOf(1, 2));
    table.onceRead = () => commit([frameOf(3)]);
    relay.uncertain();
    await environment.advance(200);
    expect(broker.published).toEqual([1, 2, 3]);
    expect(relay.depth()).toBe(0);
  });

  test("a row that nobody tells of is found at the second look", async () => {
    const { environment, table, broker, relay } = start();
    table.commit(ME, framesOf(1, 2));
    await relay.check();
    await environment.advance(100);
    expect(broker.published).toEqual([]);
    await relay.check();
    await environment.advance(100);
    expect(broker.published).toEqual([1, 2]);
  });

  test("a look finds nothing strange in frames that wait", async () => {
    const { environment, table, broker, relay, commit } = start();
    broker.fails = DOWN;
    commit(framesOf(1, 3));
    for (let looks = 0; looks < 3; looks++) await relay.check();
    await environment.advance(100);
    expect(relay.lanes()[0]).toMatchObject({ readsBack: false });
    const readsBefore = table.reads;
    broker.fails = undefined;
    await environment.advance(5_000);
    expect(table.reads).toBe(readsBefore);
  });
});

describe("the relay for those that died", () => {
  test("publishes what they left before what is committed then", async () => {
    const { environment, table, broker, relay, commit } = start({ batchFramesMax: 3 });
    table.commit("dead", framesOf(1, 10));
    relay.setAdopted(["dead"]);
    commit(framesOf(11, 12));
    await environment.advance(2_000);
    expect(broker.published).toEqual(framesOf(1, 12).map(({ id }) => id));
    relay.setAdopted([]);
    commit(framesOf(13, 13));
    await environment.advance(200);
    expect(broker.published.at(-1)).toBe(13);
    expect(relay.depth()).toBe(0);
  });

  test("waits for a table that is away, and loses nothing", async () => {
    const { environment, table, broker, relay, commit } = start();
    commit(framesOf(1, 3));
    table.isDown = true;
    await environment.advance(2_000);
    relay.uncertain();
    await environment.advance(2_000);
    expect(broker.published).toEqual([1, 2, 3]);
    table.isDown = false;
    commit(framesOf(4, 4));
    await environment.advance(5_000);
    expect(broker.published).toEqual([1, 2, 3, 4]);
    expect(table.rows).toEqual([]);
  });
});

test("a relay that closes waits for no topic of a broker that confirms nothing", async () => {
  const { environment, commit, broker, relay, table } = start({ publishTimeoutMs: 1_000 });
  broker.isSilent = true;
  commit([frameOf(1), frameOf(2, "payments")]);
  // Both on their own by now, and the first of them under way.
  await environment.advance(1_100);
  const sent = broker.published.length;
  const closed = relay.close();
  await environment.settle();
  expect(environment.pendingTimers()).toBe(0);
  await closed;
  expect(broker.published).toHaveLength(sent);
  expect(table.rows).toHaveLength(2);
});

test("frames of a topic that no lane has are told and kept, the others go out", async () => {
  const { environment, table, broker, relay, commit, logged } = start();
  table.commit("dead", [frameOf(1, "outbox.new")]);
  await relay.check();
  expect(relay.lanes().at(-1)).toMatchObject({ name: "none", depth: 0, isUp: true });
  // As due timers are told, whose topic was in the settings when they were started.
  commit([frameOf(2), frameOf(3, "outbox.redis"), frameOf(4)]);
  await environment.advance(200);
  await relay.check();
  expect(relay.lanes().at(-1)).toMatchObject({ name: "none", depth: 1, isUp: false });
  relay.setAdopted(["dead"]);
  await environment.advance(200);
  await relay.check();
  expect(broker.published).toEqual([2, 4]);
  expect(relay.lanes().at(-1)).toMatchObject({ name: "none", depth: 2, isUp: false });
  expect(logged).toEqual([
    expect.stringMatching(/^warning outbox: 1 frames .*: outbox\.redis;/),
    expect.stringMatching(/^warning outbox: 2 frames .*: outbox\.new, outbox\.redis;/),
  ]);
  expect(relay.depth()).toBe(0);
  const drained = relay.drain(5_000);
  await environment.advance(100);
  await drained;
  expect(table.rows.map(({ id }) => id)).toEqual([1, 3]);
});

test("a drained relay has published all, a closed one leaves the rest in the table", async () => {
  const drained = start();
  drained.commit(framesOf(1, 3));
  const draining = drained.relay.drain(5_000);
  await drained.environment.advance(1_000);
  await draining;
  expect(drained.table.rows).toEqual([]);

  const closed = start();
  closed.broker.fails = DOWN;
  closed.commit(framesOf(1, 3));
  await closed.environment.advance(100);
  await closed.relay.close();
  await closed.environment.settle();
  expect(closed.table.rows).toHaveLength(3);
  expect(closed.environment.pendingTimers()).toBe(0);
});
