/**
 * Stock for a first try: a handful of products, set when the store has neither stock nor orders.
 *
 * It goes through the same command as any other change of stock, and never touches a store that
 * was used before. Processes that find the same store empty load it together: each product is set
 * by whoever comes first.
 */

import type { OrderReads } from "../actors/stores/unit-of-work.ts";
import type { CommandPort } from "./http/command-port.ts";

import { ShopError } from "../runtime/errors.ts";

export const DEMO_PRODUCTS = [
  { productId: "coffee-beans-1kg", available: 100_000 },
  { productId: "moka-pot", available: 50_000 },
  { productId: "grinder", available: 20_000 },
  { productId: "espresso-cup", available: 200_000 },
  { productId: "espresso-machine", available: 5_000 },
] as const;

const DEADLINE_MS = 10_000;

/** True when some was loaded; false when the store is in use, or another process was first. */
export async function loadDemoStock(
  commands: CommandPort,
  reads: Pick<OrderReads, "orders" | "stock">,
): Promise<boolean> {
  const orders = await reads.orders({ limit: 1 });
  const stocks = await Promise.all(DEMO_PRODUCTS.map(({ productId }) => reads.stock(productId)));
  if (orders.length > 0 || stocks.some((stock) => stock !== undefined)) return false;
  const loaded = await Promise.all(
    DEMO_PRODUCTS.map(async ({ productId, available }) => {
      const reply = await commands.send(
        { type: "inventory.set", productId, available, expectedVersion: 0 },
        { deadlineMs: DEADLINE_MS, correlationId: "demo-stock" },
      );
      if (reply.kind !== "refused") return true;
      // It was not there a moment ago: another process that starts as well has set it.
      if (reply.code === "version_conflict") return false;
      const problem = `demo stock of ${productId}: ${reply.detail}`;
      throw new ShopError("STORAGE_FAULT", problem, "later");
    }),
  );
  return loaded.includes(true);
}
