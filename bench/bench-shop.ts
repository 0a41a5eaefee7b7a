/**
 * A whole shop in this process for the benches that go through HTTP, on a temporary directory.
 *
 * The provider answers at once and parcels leave at once, so that what is measured is the shop.
 * Client, gateway, shards and journal share the machine; their CPU is counted together.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

import { loadConfig } from "../gateway/config/load-config.ts";
import { configureLog } from "../gateway/log.ts";
import { startShop } from "../gateway/shop.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";

const CONNECTIONS = 100;

export interface BenchShop {
  /** Posts `count` orders over a fixed number of connections; the ids of those answered 201. */
  postOrders(count: number): Promise<readonly string[]>;
  /** How many of `ids` are in `status` once none of them moves any more, or all are. */
  waitFor(ids: readonly string[], status: string): Promise<number>;
  close(): Promise<void>;
}

export async function openBenchShop(): Promise<BenchShop> {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-bench-"));
  const { config } = loadConfig({
    argv: [],
    env: {
      SHOPSTREAM_DATA: directory,
      SHOPSTREAM_PORT: "0",
      SHOPSTREAM_LOG_LEVEL: "error",
      SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
      SHOPSTREAM_SHIPPING_PACK_MS: "0",
      SHOPSTREAM_SHIPPING_DELIVERY_MS: "60000",
    },
    cwd: directory,
    readFile: () => undefined,
  });
  const shop = await startShop({
    config,
    environment: systemEnvironment,
    cores: availableParallelism(),
    log: configureLog("error", "text"),
    onGiveUp: (code) => process.exit(code),
  });
  const body = JSON.stringify({
    customerId: "bench",
    items: [{ productId: "espresso-cup", quantity: 1, price: 4.99 }],
  });

  async function postOne(): Promise<string | undefined> {
    const answer = await fetch(`${shop.url}/v1/orders`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    const order: unknown = await answer.json();
    const isCreated = answer.status === 201 && typeof order === "object" && order !== null;
    return isCreated && "id" in order ? String(order.id) : undefined;
  }

  async function statusOf(id: string): Promise<string> {
    const answer = await fetch(`${shop.url}/v1/orders/${id}`);
    const order: unknown = await answer.json();
    const isOrder = typeof order === "object" && order !== null && "status" in order;
    return isOrder ? String(order.status) : "unknown";
  }

  return {
    async postOrders(count) {
      const ids: string[] = [];
      let left = count;
      await Promise.all(
        Array.from({ length: CONNECTIONS }, async () => {
          while (left-- > 0) {
            const id = await postOne();
            if (id !== undefined) ids.push(id);
          }
        }),
      );
      return ids;
    },
    async waitFor(ids, status) {
      // The last ones are looked at first: when they are through, so are nearly all before them.
      const deadlineMs = performance.now() + 60_000;
      let reached = 0;
      for (const id of ids.toReversed()) {
        let found = await statusOf(id);
        while (found !== status && performance.now() < deadlineMs) {
          await Bun.sleep(5);
          found = await statusOf(id);
        }
        if (found === status) reached++;
      }
      return reached;
    },
    async close() {
      await shop.stop();
      rmSync(directory, { recursive: true });
    },
  };
}
