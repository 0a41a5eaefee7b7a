/** Stock for a first try, of processes that find one empty store at the same time. No thread. */

import { expect, test } from "bun:test";

import type { CommandReply } from "../actors/contracts/order-state.ts";
import type { OrderReads } from "../actors/stores/unit-of-work.ts";
import type { CommandPort } from "./http/command-port.ts";

import { DEMO_PRODUCTS, loadDemoStock } from "./demo-stock.ts";

type Code = Extract<CommandReply, { readonly kind: "refused" }>["code"];
type Reads = Pick<OrderReads, "orders" | "stock">;

const EMPTY: Reads = { orders: async () => [], stock: async () => undefined };

/** Refuses what is named, takes the rest. `sent`: what it was asked for. */
function shardThat(refuses: Readonly<Record<string, Code>>) {
  const sent: string[] = [];
  const commands: CommandPort = {
    async send(command) {
      const productId = command.type === "inventory.set" ? command.productId : command.type;
      sent.push(productId);
      const code = refuses[productId];
      if (code === undefined) return { kind: "pending" };
      return { kind: "refused", code, detail: `${productId}: ${code}` };
    },
  };
  return { commands, sent };
}

const ids = DEMO_PRODUCTS.map(({ productId }) => productId);

function conflictOf(productIds: readonly string[]): Readonly<Record<string, Code>> {
  return Object.fromEntries(productIds.map((productId) => [productId, "version_conflict"]));
}

test("an empty store is given every product", async () => {
  const { commands, sent } = shardThat({});
  expect(await loadDemoStock(commands, EMPTY)).toBe(true);
  expect(sent).toEqual(ids);
});

test("what another process was quicker to set is left as it is", async () => {
  const some = shardThat(conflictOf(ids.slice(0, 2)));
  expect(await loadDemoStock(some.commands, EMPTY)).toBe(true);
  const all = shardThat(conflictOf(ids));
  expect(await loadDemoStock(all.commands, EMPTY)).toBe(false);
});

test("a store in use is not touched", async () => {
  const { commands, sent } = shardThat({});
  const row = { key: "moka-pot", version: 1, data: new Uint8Array() };
  const hasStock: Reads = { ...EMPTY, stock: async (id) => (id === row.key ? row : undefined) };
  expect(await loadDemoStock(commands, hasStock)).toBe(false);
  expect(await loadDemoStock(commands, { ...EMPTY, orders: async () => [row] })).toBe(false);
  expect(sent).toEqual([]);
});

test("any other refusal is an error that names the product", async () => {
  const { commands } = shardThat({ grinder: "storage_unavailable" });
  const message = "demo stock of grinder: grinder: storage_unavailable";
  const problem = { code: "STORAGE_FAULT", message };
  await expect(loadDemoStock(commands, EMPTY)).rejects.toMatchObject(problem);
});
