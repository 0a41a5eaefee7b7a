/**
 * Redriving in a shop: real services on the memory ports, a message that cannot be handled until
 * what is wrong is mended.
 *
 * Whatever became of the order meanwhile, a letter that comes back changes only what its entity's
 * version check lets it change.
 */

import { afterEach, expect, test } from "bun:test";

import type { ShopEvent } from "../contracts/messages.ts";
import type { Message } from "../delivery/outcome.ts";
import type { Table } from "../stores/unit-of-work.ts";
import type { VirtualShop } from "../testing/virtual-shop.ts";

import { decodeValue } from "../contracts/codec.ts";
import { redrive } from "../delivery/redrive.ts";
import { startVirtualShop } from "../testing/virtual-shop.ts";
import { createMemoryLetters } from "./memory-letters.ts";

const MINUTE_MS = 60_000;

const shops: VirtualShop[] = [];
afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.stop();
});

/** A shop whose order service has a bug in what it does about payments, while `isPoisoned`. */
async function openShop() {
  const state = { isPoisoned: true };
  const shop = await startVirtualShop({
    around: (group, next) =>
      group !== "order" || next.kind === "batch"
        ? next
        : {
            ...next,
            handle(message: Message<ShopEvent>, signal: AbortSignal) {
              if (!state.isPoisoned || message.delivery.topic !== "payments") {
                return next.handle(message, signal);
              }
              return Promise.reject(new Error("a bug that is mended later"));
            },
          },
  });
  shops.push(shop);
  const letters = createMemoryLetters(shop.log);

  async function redriveAll(): Promise<readonly string[]> {
    const ids = await letters.ids({ topic: "payments" }, { afterId: 0, limit: 100 });
    if (ids.length === 0) return [];
    const reply = await shop.command({
      type: "deadletter.redrive",
      letterKey: "k",
      ids: [...ids],
    });
    await shop.environment.advance(MINUTE_MS);
    return reply.kind === "letters" ? reply.results.map(({ result }) => result) : [reply.kind];
  }

  const rowOf = (table: Table, key: string): unknown =>
    decodeValue(shop.store.rows(table).find((row) => row.key === key)?.data ?? new Uint8Array());

  return { ...shop, state, letters, redriveAll, rowOf };
}

/** A shop with an order that was paid, and does not know it: the message is buried. */
async function openWithLetter(): Promise<Awaited<ReturnType<typeof openShop>>> {
  const shop = await openShop();
  await shop.stock("cup", 5);
  await shop.create("o-1");
  await shop.environment.advance(5 * MINUTE_MS);
  const waiting = { status: "pending", paymentStatus: "pending" };
  expect(shop.rowOf("orders", "o-1")).toMatchObject(waiting);
  const kinds = await shop.letters.summary();
  expect(kinds).toMatchObject([{ topic: "payments", group: "order", count: 1 }]);
  shop.state.isPoisoned = false;
  return shop;
}

test("a message that was buried, mended and put back completes its order", async () => {
  const shop = await openWithLetter();
  expect(await shop.redriveAll()).toEqual(["redriven"]);
  expect(shop.rowOf("orders", "o-1")).toMatchObject({
    status: "delivered",
    paymentStatus: "completed",
  });
  expect(await shop.letters.extent({})).toEqual({ count: 0, lastId: 0 });
  const heard = { service: "order", topic: "payments" };
  expect(shop.counted("shopstream_messages_redriven_total", heard)).toBe(1);
});

test("a letter that is put back twice changes what it changes once", async () => {
  const shop = await openWithLetter();
  const kept = await shop.broker.deadLetters("payments", 0, 10);
  await shop.redriveAll();
  const timeline = await shop.timeline("o-1");
  // As by somebody who had read the letter before it was taken out, past every check of ours.
  await redrive(shop.broker, kept);
  await shop.environment.advance(MINUTE_MS);
  expect(await shop.redriveAll()).toEqual([]);
  expect(await shop.timeline("o-1")).toEqual(timeline);
  expect(timeline.filter((type) => type === "payment.processed")).toHaveLength(1);
  expect(await shop.letters.extent({})).toEqual({ count: 0, lastId: 0 });
});

test("a letter that is put back unmended is buried anew, as another letter", async () => {
  const shop = await openWithLetter();
  shop.state.isPoisoned = true;
  const before = await shop.letters.extent({});
  await shop.redriveAll();
  await shop.environment.advance(5 * MINUTE_MS);
  const after = await shop.letters.extent({});
  expect(after.count).toBe(1);
  expect(after.lastId).toBeGreaterThan(before.lastId);
});

test("a payment that comes back to a cancelled order ships nothing and holds nothing", async () => {
  const shop = await openWithLetter();
  await shop.command({ type: "order.cancel", orderId: "o-1" });
  await shop.environment.advance(MINUTE_MS);
  // The order never heard that it was paid, but it is told that the money went back.
  const undone = { status: "cancelled", inventoryStatus: "released", paymentStatus: "refunded" };
  expect(shop.rowOf("orders", "o-1")).toMatchObject(undone);
  expect(await shop.redriveAll()).toEqual(["redriven"]);
  expect(shop.rowOf("orders", "o-1")).toMatchObject(undone);
  const decided = (await shop.timeline("o-1")).filter((type) => type.startsWith("order."));
  expect(decided).toEqual(["order.created", "order.cancelled"]);
  expect(shop.rowOf("stock", "cup")).toMatchObject({ available: 5, reserved: 0, shipped: 0 });
  expect(shop.rowOf("payments", "o-1")).toMatchObject({ status: "refunded" });
  expect(await shop.letters.extent({})).toEqual({ count: 0, lastId: 0 });
});
