/**
 * One topic of a broker that takes nothing, and the others beside it: a table in memory, no server.
 */

import { describe, expect, test } from "bun:test";

import type { OutboxFrame } from "./outbox-relay-table.ts";

import { frameOf, framesOf, ME, start } from "./outbox-relay-memory.fixture.ts";

describe("a topic that takes nothing for ever", () => {
  /** Of five frames the first is of a topic of which nothing is ever confirmed. */
  const isStuck = (id: number): boolean => id % 5 === 1;
  const mixed = (first: number, last: number): readonly OutboxFrame[] =>
    framesOf(first, last).map((each) => (isStuck(each.id) ? { ...each, topic: "payments" } : each));
  const payment = (id: number): OutboxFrame => frameOf(id, "payments");
  const good = (last: number): readonly number[] =>
    framesOf(1, last).flatMap(({ id }) => (isStuck(id) ? [] : [id]));

  test("holds up no other, however much of it waits; it goes out in order in the end", async () => {
    const last = 400;
    const world = start({ batchFramesMax: 4, memoryFramesMax: 20 });
    const { environment, commit, broker, table, relay, states } = world;
    broker.code = "INDETERMINATE";
    for (let id = 1; id <= last; id++) if (isStuck(id)) broker.unread.add(id);
    for (let id = 1; id <= last; id += 5) {
      commit(mixed(id, id + 4));
      await environment.advance(100);
    }
    await environment.advance(10_000);
    expect([...new Set(broker.published)]).toEqual([...good(last)]);
    expect(table.rows).toHaveLength(last / 5);
    expect(relay.depth()).toBe(last / 5);
    expect(relay.lanes()[0]).toMatchObject({ isUp: false, readsBack: true });
    expect(relay.lanes()[0]?.detail).toStartWith("payments: ");
    expect(states).toEqual(["kafka down"]);
    broker.unread.clear();
    const sent = broker.published.length;
    await environment.advance(10_000);
    const stuck = framesOf(1, last).flatMap(({ id }) => (isStuck(id) ? [id] : []));
    expect(broker.published.slice(sent)).toEqual(stuck);
    expect(table.rows).toEqual([]);
    expect(relay.lanes()[0]).toMatchObject({ isUp: true, detail: "", depth: 0, readsBack: false });
    expect(states).toEqual(["kafka down", "kafka up"]);
    // Together again.
    commit(mixed(last + 1, last + 4));
    await environment.advance(10);
    expect(broker.batches.at(-1)).toBe(4);
  });

  test("has no more in memory than its share", async () => {
    const { environment, commit, broker, table } = start({ memoryFramesMax: 20 });
    broker.code = "INDETERMINATE";
    for (const { id } of framesOf(1, 200)) broker.unread.add(id);
    commit(framesOf(1, 20).map((each) => ({ ...each, topic: "payments" })));
    await environment.advance(1_000);
    table.rows.length = 0; // what is not in memory is gone
    broker.unread.clear();
    await environment.advance(5_000);
    expect(broker.published).toEqual(framesOf(1, 10).map(({ id }) => id));
  });

  test("does not hide that rows of another were committed without a word", async () => {
    const { environment, commit, broker, table, relay } = start();
    broker.code = "INDETERMINATE";
    broker.unread.add(1);
    commit(mixed(1, 2));
    await environment.settle();
    // It may be the broker: nothing is sent again at once.
    expect(broker.published).toEqual([2]);
    await environment.advance(1_000);
    table.commit(ME, [frameOf(3)]);
    await relay.check();
    await relay.check();
    await environment.advance(1_000);
    expect(broker.published).toContain(3);
  });

  test("is looked at with all the others at once", async () => {
    const { environment, commit, broker, table, relay } = start();
    broker.code = "INDETERMINATE";
    broker.unread.add(1).add(2);
    commit(mixed(1, 2));
    await environment.settle();
    const readsBefore = table.reads;
    await relay.check();
    expect(table).toMatchObject({ looks: 1, reads: readsBefore });
    // Nobody tells of these: two topics are apart, the third is another broker's.
    table.rows.length = 0;
    table.commit(ME, [payment(3), frameOf(4), frameOf(5, "mails")]);
    await relay.check();
    await relay.check();
    expect(table).toMatchObject({ looks: 3, reads: readsBefore });
    broker.unread.clear();
    await environment.advance(5_000);
    expect(table.rows).toEqual([]);
  });

  test("goes with the others when they had to be read back, none twice", async () => {
    const { environment, commit, broker, table, relay } = start({ batchFramesMax: 4 });
    broker.code = "INDETERMINATE";
    broker.unread.add(1);
    relay.uncertain();
    table.commit("dead", mixed(1, 10));
    relay.setAdopted(["dead"]);
    await environment.advance(3_000);
    commit(mixed(11, 14));
    broker.unread.clear();
    await environment.advance(3_000);
    const counts = Map.groupBy(broker.published, (id) => id);
    expect([...counts.keys()].toSorted((left, right) => left - right)).toEqual(
      framesOf(1, 14).map(({ id }) => id),
    );
    // Only the neighbours in the batch of which it was not known.
    expect([...counts].flatMap(([id, { length }]) => (length > 1 ? [id] : []))).toEqual([2, 3, 4]);
    expect(table.rows).toEqual([]);
    expect(relay.depth()).toBe(0);
  });

  test("that comes alone first holds up no other either", async () => {
    const { environment, commit, broker } = start();
    broker.code = "INDETERMINATE";
    broker.unread.add(1);
    commit([payment(1)]);
    await environment.advance(1_000);
    commit(framesOf(2, 4));
    await environment.advance(10);
    expect(broker.published).toEqual([2, 3, 4]);
  });

  test("is not taken in by what is in trouble, once it is well itself", async () => {
    const { environment, commit, broker } = start();
    broker.code = "INDETERMINATE";
    broker.unread.add(1).add(2);
    commit([payment(1)]);
    await environment.settle();
    commit([frameOf(2)]);
    await environment.advance(1_000);
    broker.unread.delete(1);
    while (!broker.published.includes(1)) await environment.advance(1);
    for (let id = 3; id <= 40; id++) {
      commit([payment(id)]);
      await environment.settle();
      expect(broker.published.at(-1)).toBe(id);
      await environment.advance(100);
    }
    expect(broker.published).toHaveLength(39);
  });

  test("still gets what the dead left and what was committed without a word, once", async () => {
    const { environment, commit, broker, relay, table } = start();
    broker.code = "INDETERMINATE";
    broker.unread.add(1);
    const told = table.commit(ME, [payment(1)]);
    relay.uncertain();
    await environment.advance(1_000);
    // Told late, after it was read.
    relay.outgoing(told);
    table.commit("dead", [payment(2)]);
    relay.setAdopted(["dead"]);
    await environment.advance(1_000);
    broker.unread.clear();
    await environment.advance(5_000);
    expect(broker.published).toEqual([1, 2]);
    // Apart again, and together before it is told.
    broker.unread.add(3);
    commit([payment(3)]);
    await environment.advance(1_000);
    const late = table.commit(ME, [payment(4)]);
    relay.uncertain();
    broker.unread.clear();
    await environment.advance(5_000);
    expect(broker.published).toEqual([1, 2, 3, 4]);
    relay.outgoing(late);
    await environment.advance(5_000);
    expect(broker.published).toEqual([1, 2, 3, 4]);
    expect(table.rows).toEqual([]);
    expect(relay.depth()).toBe(0);
  });

  test("is counted with all of it that waits in the table", async () => {
    const { environment, broker, relay, table } = start({ batchFramesMax: 4 });
    broker.code = "INDETERMINATE";
    for (const { id } of framesOf(1, 40)) broker.unread.add(id);
    const isPayment = (id: number): boolean => id <= 4 || id > 24;
    table.commit(
      ME,
      framesOf(1, 40).map((each) => (isPayment(each.id) ? payment(each.id) : each)),
    );
    relay.uncertain();
    await environment.advance(5_000);
    expect(broker.published).toEqual([]);
    expect(relay.depth()).toBe(40);
    broker.unread.clear();
    await environment.advance(10_000);
    expect(broker.published).toHaveLength(40);
    expect(relay.depth()).toBe(0);
  });
});
