/**
 * How the way out of one shard ends: with a log of its own, and with one that others fill as well.
 *
 * The other broker is in memory; what other processes do to the log is done here.
 */

import { expect, test } from "bun:test";

import type { SubscribeOptions, Subscription } from "./brokers/broker.ts";
import type { GroundOutbox } from "./grounds/shard-ground.ts";

import { egressGroup, EGRESS_SETTINGS } from "./routing/egress.ts";
import { createWorld, makeFrame, SLOTS } from "./routing/routing-world.suite.ts";
import { createShardRouting } from "./shard-routing.ts";

const EVERY_MS = 10;
const DRAIN_MS = 5_000;
const NO_LANES: Pick<GroundOutbox, "lanes"> = { lanes: () => [] };

/** A shard with an egress whose outbox somebody fills without end, until `stop`. */
async function startShard(outbox: Pick<GroundOutbox, "lanes"> | undefined) {
  const { environment, local, alpha, inner: store, system } = createWorld();
  const left: unknown[] = [];
  async function subscribe(options: SubscribeOptions): Promise<Subscription> {
    const member = await local.broker.subscribe(options);
    if (options.group !== egressGroup("alpha")) return member;
    const close = member.close.bind(member);
    member.close = (isAtRest) => (left.push(isAtRest), close(isAtRest));
    return member;
  }
  const routing = createShardRouting({
    environment,
    broker: { subscribe },
    store,
    system,
    slots: SLOTS,
    settings: {
      ...EGRESS_SETTINGS,
      routes: [],
      unmatched: "dead_letter",
      outboxFramesMax: 1_000,
      shards: 1,
    },
    foreign: [{ name: "alpha", broker: alpha.broker, topics: ["copies"], ingressTopics: [] }],
    ...(outbox === undefined ? {} : { outbox }),
    metrics: { consumed: () => undefined, egress: () => undefined },
    burials: { buried: () => undefined },
    onLog: () => undefined,
    onFailure: (error) => {
      throw error;
    },
  });
  await routing.start();
  let isFilled = true;
  function fill(): void {
    if (!isFilled) return;
    const headers = { routetopic: "copies" };
    const frame = makeFrame(environment, { key: environment.newId(), headers });
    void local.broker.publish([{ topic: "outbox.alpha", frame }]);
    environment.startTimer(EVERY_MS, fill);
  }
  fill();
  await environment.advance(1_000);
  return { environment, routing, left, stop: () => void (isFilled = false) };
}

test("an outbox that others fill and read is left once what is in hand is out", async () => {
  const { environment, routing, left, stop } = await startShard(NO_LANES);
  const draining = routing.drainEgresses(DRAIN_MS);
  await environment.advance(EVERY_MS);
  expect(left).toEqual([true]);
  stop();
  await draining;
});

test("one of this shard alone is emptied first", async () => {
  const { environment, routing, left, stop } = await startShard(undefined);
  const draining = routing.drainEgresses(DRAIN_MS);
  await environment.advance(EVERY_MS);
  expect(left).toEqual([]);
  stop();
  await environment.advance(1_000);
  await draining;
  expect(left).toEqual([true]);
});
