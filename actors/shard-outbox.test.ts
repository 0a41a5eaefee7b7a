/**
 * What carries frames out of a shard, in the whole shard: counted by the ledger, bounded, drained.
 *
 * The other broker is in memory and does not answer. Frames are put into the outbox as a run before
 * this one would have left them there: past the router, which counts only what it sees itself.
 */

import { afterEach, expect, test } from "bun:test";

import type { LedgerRow } from "./contracts/order-state.ts";
import type { ForeignBroker } from "./shard-routing.ts";
import type { VirtualShop, VirtualShopOptions } from "./testing/virtual-shop.ts";
import type { VirtualEnvironment } from "../runtime/virtual-environment.ts";

import { encodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { MemoryBroker } from "./brokers/memory-broker.ts";
import { MemoryLog } from "./brokers/memory-log.ts";
import { encodeValue } from "./contracts/codec.ts";
import { startVirtualShop, VIRTUAL_SETTINGS, VIRTUAL_SLOTS } from "./testing/virtual-shop.ts";

const MIB = 1024 * 1024;
/** More than the credit of the outbox's group: not all of them are in hand. */
const WAITING = 3_000;

const shops: VirtualShop[] = [];
afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.stop();
});

/** A broker that answers nothing. */
function openKafka(environment: VirtualEnvironment): readonly ForeignBroker[] {
  const topics = ["orders"];
  const bounds = { logBytesMax: MIB, deadLetterBytesMax: MIB };
  const log = new MemoryLog({ topics, partitions: VIRTUAL_SLOTS, ...bounds });
  const broker = new MemoryBroker({ environment, log });
  broker.publish = () => new Promise(() => undefined);
  return [{ name: "kafka", broker, topics, ingressTopics: [] }];
}

async function openShop(options: VirtualShopOptions = {}): Promise<VirtualShop> {
  const router = {
    ...VIRTUAL_SETTINGS.router,
    outboxFramesMax: 2_500,
    routes: [
      {
        name: "copies",
        match: { types: ["order.delivered"] },
        to: [{ broker: "kafka", topic: "orders" }],
        also: true,
      },
    ],
  };
  const shop = await startVirtualShop({ openForeign: openKafka, settings: { router }, ...options });
  shops.push(shop);
  return shop;
}

function frameOf(
  { environment }: VirtualShop,
  key: string,
  type: number,
  headers: Readonly<Record<string, string>> = {},
): Uint8Array {
  const slot = slotOf(key, VIRTUAL_SLOTS);
  const about = { id: environment.newId(), timeMs: environment.nowMs(), headers };
  return encodeFrame({ type, key, slot, ...about, payload: encodeValue({}) });
}

/** Frames as the router wraps them. */
function fillOutbox(shop: VirtualShop, frames: number): Promise<void> {
  const headers = { routetopic: "orders", route: "copies" };
  return shop.broker.publish(
    Array.from({ length: frames }, (_, at) => ({
      topic: "outbox.kafka",
      frame: frameOf(shop, `o-${at}`, 5, headers),
    })),
  );
}

async function readLedger(shop: VirtualShop): Promise<readonly LedgerRow[]> {
  const reply = await shop.command({ type: "ledger.read", shardKey: "any" });
  return reply.kind === "ledger" ? reply.rows : [];
}

test("what a run before left in an outbox is counted, and holds back new orders", async () => {
  const shop = await openShop();
  await shop.stock("cup", 10);
  await fillOutbox(shop, WAITING);
  await shop.environment.advance(10_000);
  expect(shop.counted("shopstream_outbox_depth", { broker: "kafka" })).toBe(WAITING);
  const refused = await shop.create("o-1").catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "SATURATED" });
  const rows = (await readLedger(shop)).filter(({ group }) => group === "egress.kafka");
  expect(rows.reduce((sum, { published }) => sum + published, 0)).toBe(WAITING);
  expect(shop.changed.imbalances).toEqual([]);
});

test("what no route matches is said to be buried, and is in the ledger", async () => {
  const shop = await openShop();
  await shop.broker.publish([{ topic: "outbox.unmatched", frame: frameOf(shop, "k", 999) }]);
  await shop.environment.advance(1_000);
  expect(shop.changed.log).toEqual([
    expect.stringMatching(/^unmatched buried outbox\.unmatched\/\d\/1: unmatched: no route/),
  ]);
  expect(await readLedger(shop)).toMatchObject([{ group: "unmatched", published: 1, dead: 1 }]);
});

test("a shard that stops has its time once, not once for each of its parts", async () => {
  const shop = await openShop({
    around: (_group, next) =>
      next.kind === "single"
        ? { ...next, handle: () => new Promise<never>(() => undefined) }
        : next,
  });
  await shop.stock("cup", 10);
  await shop.create("o-1");
  await fillOutbox(shop, 1);
  await shop.environment.advance(2_000);
  let stoppedMs = Infinity;
  const startMs = shop.environment.monotonicMs();
  void shop.services.drain(1_000).then(() => {
    stoppedMs = shop.environment.monotonicMs() - startMs;
  });
  await shop.environment.advance(5_000);
  expect(stoppedMs).toBeWithin(1_000, 1_200);
});
