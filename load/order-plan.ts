/**
 * Which orders a run asks for: order n is the same for the same seed, whatever came before it.
 *
 * Half of the lines are of two hot products, so that reservations collide; one order in fifty
 * wants a product of which there is half enough, so that compensation runs too; one in ten costs
 * more than 1000.00, so that both payment gateways work; one in ten says how to reach its customer,
 * so that every channel is used. Customers are never repeated.
 */

import { createSeededRandom } from "./seeded-random.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { Contact, PlannedOrder } from "./evidence.ts";

export interface PlanOptions {
  readonly seed: number;
  /** Distinguishes this run's customers, keys and products from those of any other run. */
  readonly runId: string;
  /** Orders that the run expects to send; sets how scarce the scarce product is. */
  readonly ordersExpected: number;
}

export interface OrderPlan {
  /** What has to be on the shelf first: product id → pieces. */
  readonly stock: ReadonlyMap<string, number>;
  readonly order: (index: number) => PlannedOrder;
}

const PRODUCTS = 20;
const HOT_PRODUCTS = 2;
const HOT_SHARE = 0.5;
const SCARCE_EVERY = 50;
const DEAR_SHARE = 0.1;
const LINES_MAX = 3;
const QUANTITY_MAX = 3;
const STOCK_EACH = 100_000_000;
const CURRENCY = "USD";
/** Odd cents on purpose: their sums are not exact in binary fractions of a whole. */
const PRICES_MINOR = [1, 7, 99, 333, 1_000, 1_999, 2_010, 4_545, 10_001] as const;
const DEAR_MINOR = 100_001;
const CONTACT_EVERY = 10;
const LANGUAGES = ["en", "de", "fr", "it"] as const;

export function createOrderPlan(options: PlanOptions): OrderPlan {
  const products = Array.from({ length: PRODUCTS }, (_, n) => `load-${options.runId}-p${n}`);
  const scarce = `load-${options.runId}-scarce`;
  const stock = new Map(products.map((productId) => [productId, STOCK_EACH]));
  stock.set(scarce, Math.ceil(options.ordersExpected / SCARCE_EVERY / 2));
  return {
    stock,
    order(index) {
      // Spread by the golden ratio's bits: neighbouring indices must not share their first draws.
      const random = createSeededRandom(options.seed + Math.imul(index + 1, 0x9e3779b1));
      const items =
        index % SCARCE_EVERY === SCARCE_EVERY - 1
          ? [{ productId: scarce, quantity: 1, priceMinor: 2_500 }]
          : drawItems(random, products);
      return {
        customerId: `load-${options.runId}-c${index}`,
        idempotencyKey: `load-${options.runId}-k${index}`,
        items,
        totalMinor: items.reduce((sum, item) => sum + item.quantity * item.priceMinor, 0),
        currency: CURRENCY,
        ...(index % CONTACT_EVERY === 0 ? { contact: contactOf(index) } : {}),
      };
    },
  };
}

function contactOf(index: number): Contact {
  return {
    email: `customer-${index}@example.org`,
    phone: `+4917${String(index).padStart(8, "0")}`,
    pushToken: `push-${index}`,
    language: LANGUAGES[(index / CONTACT_EVERY) % LANGUAGES.length] ?? "en",
  };
}

function drawItems(random: SeededRandom, products: readonly string[]): PlannedOrder["items"] {
  const chosen = new Set<string>();
  const lines = random.between(1, LINES_MAX);
  while (chosen.size < lines) {
    const hot = random.next() < HOT_SHARE;
    const last = (hot ? HOT_PRODUCTS : products.length) - 1;
    // The index is at most `last`, which is inside the list.
    const productId = products[random.between(0, last)]!;
    if (hot && chosen.has(productId)) chosen.add(products[random.between(0, PRODUCTS - 1)]!);
    else chosen.add(productId);
  }
  const dear = random.next() < DEAR_SHARE;
  return [...chosen].map((productId, line) => ({
    productId,
    quantity: random.between(1, QUANTITY_MAX),
    priceMinor:
      dear && line === 0
        ? DEAR_MINOR
        : (PRICES_MINOR[random.between(0, PRICES_MINOR.length - 1)] ?? 1_000),
  }));
}
