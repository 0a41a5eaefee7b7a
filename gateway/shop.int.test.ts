/**
 * The whole shop in this process: real threads, a real database, a real socket. What is proven
 * here is that the parts are joined; each part has tests of its own.
 */

import { afterEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { ShopConfig } from "./config/config-schema.ts";
import type { Shop } from "./shop.ts";

import { SABOTAGES } from "../actors/sabotage.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { loadConfig } from "./config/load-config.ts";
import { configureLog } from "./log.ts";
import { startShop } from "./shop.ts";

const PATIENCE_MS = 30_000;
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "shopstream-shop-"));
  closers.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function configOf(data: string, settings: Record<string, string>): ShopConfig {
  return loadConfig({
    argv: [],
    env: {
      SHOPSTREAM_DATA: data,
      SHOPSTREAM_PORT: "0",
      SHOPSTREAM_LOG_LEVEL: "error",
      SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
      SHOPSTREAM_SHIPPING_PACK_MS: "20",
      SHOPSTREAM_SHIPPING_DELIVERY_MS: "20",
      ...settings,
    },
    cwd: data,
    readFile: () => undefined,
  }).config;
}

async function openShop(data: string, settings: Record<string, string> = {}) {
  const config = configOf(data, settings);
  const gaveUp = Promise.withResolvers<number>();
  const shop: Shop = await startShop({
    config,
    environment: systemEnvironment,
    cores: 3,
    log: configureLog("fatal", "text"),
    onGiveUp: gaveUp.resolve,
  });
  closers.push(() => shop.stop());
  const url = (path: string): string => `${shop.url}${path}`;
  return {
    shop,
    get: async (path: string) => await fetch(url(path)),
    async json(path: string): Promise<Record<string, unknown>> {
      // The shop's own API answers objects; what is in them is what the tests look at.
      return (await (await fetch(url(path))).json()) as Record<string, unknown>;
    },
    post: async (path: string, body: unknown, headers: Record<string, string> = {}) =>
      await fetch(url(path), {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body),
      }),
  };
}

type OpenShop = Awaited<ReturnType<typeof openShop>>;

const ORDER = {
  customerId: "ada",
  items: [{ productId: "espresso-cup", quantity: 3, price: 4.99 }],
};

async function placeOrder(shop: OpenShop, headers: Record<string, string> = {}): Promise<string> {
  const answer = await shop.post("/v1/orders", ORDER, headers);
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { id: string }).id; // the documented body of 201
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain until ${what}`);
    await Bun.sleep(20);
  }
}

async function untilStatus(shop: OpenShop, id: string, status: string): Promise<void> {
  const holds = async () => (await shop.json(`/v1/orders/${id}`))["status"] === status;
  await until(holds, `order ${id} is ${status}`);
}

test("an order goes from POST to delivered, and stock, health and metrics tell of it", async () => {
  const shop = await openShop(await temporaryDirectory());
  expect(shop.shop.stockLoaded).toBe(true);
  expect(shop.shop.shards).toBe(2);
  const id = await placeOrder(shop);
  await untilStatus(shop, id, "delivered");
  await until(async () => {
    const stock = await shop.json("/v1/inventory/espresso-cup");
    return stock["available"] === 199_997 && stock["reserved"] === 0 && stock["shipped"] === 3;
  }, "the stock is shipped");
  expect((await shop.get("/ready")).status).toBe(200);
  await until(async () => (await shop.json("/health"))["status"] === "up", "health is up");
  // A shard counts an order once its commit was answered; who reads the row may be sooner.
  const metrics = async () => await (await shop.get("/metrics")).text();
  const delivered = 'shopstream_orders_total{status="delivered"} 1\n';
  await until(async () => (await metrics()).includes(delivered), "the order is counted");
  expect(await metrics()).toContain('shopstream_revenue_total{currency="USD"} 14.97');
  expect(await metrics()).not.toContain('currency="EUR"');
});

test("what was acknowledged is there after a restart, and the stock is not reset", async () => {
  const data = await temporaryDirectory();
  const first = await openShop(data);
  const id = await placeOrder(first, { "idempotency-key": "once" });
  await first.shop.stop();
  const second = await openShop(data);
  expect(second.shop.stockLoaded).toBe(false);
  await untilStatus(second, id, "delivered");
  expect(await placeOrder(second, { "idempotency-key": "once" })).toBe(id);
});

for (const how of SABOTAGES) {
  test(`a shard that should ${how} is replaced, and no order is lost`, async () => {
    const shop = await openShop(await temporaryDirectory(), { SHOPSTREAM_SABOTAGE: "true" });
    const ids: string[] = [];
    for (let round = 0; round < 3; round++) {
      ids.push(...(await Promise.all(Array.from({ length: 5 }, () => placeOrder(shop)))));
      const answer = await shop.post("/admin/sabotage", { shard: round % 2, how });
      expect(answer.status).toBe(202);
      ids.push(...(await Promise.all(Array.from({ length: 5 }, () => placeOrder(shop)))));
      // The next one must meet a thread, not the gap that the last one left.
      const restarts = `shopstream_thread_restarts_total ${round + 1}\n`;
      await until(
        async () => (await (await shop.get("/metrics")).text()).includes(restarts),
        `${round + 1} shards are replaced`,
      );
    }
    for (const id of ids) await untilStatus(shop, id, "delivered");
    const stock = await shop.json("/v1/inventory/espresso-cup");
    expect(stock).toMatchObject({ available: 200_000 - 90 });
  }, 60_000);
}

test("the door for sabotage is closed by default and strict when open", async () => {
  const data = await temporaryDirectory();
  const closed = await openShop(data);
  expect((await closed.post("/admin/sabotage", { shard: 0, how: "exit" })).status).toBe(404);
  await closed.shop.stop();
  const open = await openShop(data, { SHOPSTREAM_SABOTAGE: "true" });
  expect((await open.post("/admin/sabotage", { shard: 0, how: "explode" })).status).toBe(400);
  expect((await open.post("/admin/sabotage", { shard: 9, how: "exit" })).status).toBe(400);
});

test("a second shop on the same data is refused, and names what it met", async () => {
  const data = await temporaryDirectory();
  await openShop(data);
  await expect(openShop(data)).rejects.toThrow("DATA_DIRECTORY_IN_USE");
});

test("an event stream tells an order's whole story and ends with it", async () => {
  const shop = await openShop(await temporaryDirectory());
  const id = await placeOrder(shop);
  const stream = await fetch(`${shop.shop.url}/v1/orders/${id}/events`, {
    headers: { accept: "text/event-stream" },
  });
  const text = await stream.text();
  for (const type of ["order.created", "payment.processed", "order.shipped", "order.delivered"]) {
    expect(text).toContain(`"type":"${type}"`);
  }
  expect(text).toContain("event: end");
});

test("a cancelled order is refunded and its stock released", async () => {
  const slow = { SHOPSTREAM_SHIPPING_PACK_MS: "600000" };
  const shop = await openShop(await temporaryDirectory(), slow);
  const id = await placeOrder(shop);
  await untilStatus(shop, id, "ready_to_ship");
  expect((await shop.post(`/v1/orders/${id}/cancel`, {})).status).toBe(200);
  await until(async () => {
    const order = await shop.json(`/v1/orders/${id}`);
    return order["paymentStatus"] === "refunded" && order["inventoryStatus"] === "released";
  }, "the order is compensated");
  expect(await shop.json("/v1/inventory/espresso-cup")).toMatchObject({
    available: 200_000,
    reserved: 0,
  });
});

test("a reservation that is not paid in time lapses and cancels its order", async () => {
  const provider = latePayments();
  const shop = await openShop(await temporaryDirectory(), {
    SHOPSTREAM_PAYMENT_PROVIDER: "http",
    SHOPSTREAM_PAYMENT_URL: provider.url,
    SHOPSTREAM_PAYMENT_TIMEOUT_MS: "30000",
    SHOPSTREAM_INVENTORY_RESERVATION_TTL_MS: "2000",
  });
  const id = await placeOrder(shop);
  await untilStatus(shop, id, "cancelled");
  provider.capture();
  await until(async () => {
    const order = await shop.json(`/v1/orders/${id}`);
    return order["paymentStatus"] === "refunded";
  }, "the late payment is refunded");
}, 60_000);

/** A payment provider that captures nothing before it is told to, and refunds at once. */
function latePayments() {
  const late = Promise.withResolvers<void>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      const isRefund = new URL(request.url).pathname === "/refunds";
      if (!isRefund) await late.promise;
      return Response.json({ status: isRefund ? "refunded" : "captured", reference: "r" });
    },
  });
  closers.push(() => server.stop(true));
  return { url: `http://127.0.0.1:${server.port}`, capture: late.resolve };
}
