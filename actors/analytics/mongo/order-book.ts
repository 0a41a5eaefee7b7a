/**
 * What an order is to its customer, and a payment to its order: found once, the same for
 * everybody.
 *
 * An order takes the first free place among its customer's orders, by inserting it: of two who
 * try, one has it, and an order that comes again finds the place that it has. Only as many places
 * are kept as tell a customer's segment. Unlike the embedded view, which forgets an order with
 * its first payment, every payment of an order has its segment and lines.
 */

import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { OpenOrder } from "../order-facts.ts";
import type { EventFacts, OrderFacts } from "./event-facts.ts";
import type { MongoCollections } from "./mongo-collections.ts";
import type { MongoSettings } from "./mongo-settings.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { openOrder } from "../order-facts.ts";
import { orderFields, orderIn } from "./event-document.ts";
import { insertNew } from "./mongo-collections.ts";

/** Others may take places at the same time; nobody loses as often as this. */
const ROUNDS_MAX = 1_000;

type CacheSettings = Pick<MongoSettings, "cachedCustomersMax" | "cachedOrdersMax">;
type CreatedFacts = OrderFacts & {
  readonly event: Extract<OrderFacts["event"], { readonly type: "order.created" }>;
};

interface Place {
  readonly _id: string;
  readonly customerId: string;
  readonly number: number;
  readonly orderId: string;
}

export class OrderBook {
  readonly #collections: MongoCollections;
  readonly #settings: AnalyticsSettings;
  readonly #limits: CacheSettings;
  /** Orders of a customer by place: all of them that are kept, or no entry. */
  readonly #customers = new Map<string, readonly string[]>();
  readonly #orders = new Map<string, OpenOrder>();

  constructor(collections: MongoCollections, settings: AnalyticsSettings, limits: CacheSettings) {
    this.#collections = collections;
    this.#settings = settings;
    this.#limits = limits;
  }

  /**
   * The same facts in the same order, with the orders that are known; of a payment that needs one
   * and has none yet, only its own part.
   */
  async complete(facts: readonly EventFacts[]): Promise<readonly EventFacts[]> {
    await this.#openOrders(facts.filter(isCreated));
    const known = await this.find(facts.filter(isOfOrder).map(({ event }) => event.orderId));
    return facts.map((one) => {
      if (!isOfOrder(one)) return one;
      const order = known.get(one.event.orderId);
      if (order !== undefined) return { ...one, order };
      return needsOrder(one) ? { ...one, part: "own" } : one;
    });
  }

  /** Those of `orderIds` that are known. */
  async find(orderIds: readonly string[]): Promise<ReadonlyMap<string, OpenOrder>> {
    const known = new Map<string, OpenOrder>();
    const asked: string[] = [];
    for (const id of new Set(orderIds)) {
      const order = this.#orders.get(id);
      if (order === undefined) asked.push(id);
      else known.set(id, order);
    }
    if (asked.length === 0) return known;
    const found = await this.#collections.orders.find({ _id: { $in: asked } }).toArray();
    for (const { _id: id, ...fields } of found) {
      const order = orderIn(fields);
      known.set(id, order);
      keep(this.#orders, id, order, this.#limits.cachedOrdersMax);
    }
    return known;
  }

  async #openOrders(created: readonly CreatedFacts[]): Promise<void> {
    const unknown = new Map(
      created
        .filter(({ event }) => !this.#orders.has(event.orderId))
        .map((facts) => [facts.event.orderId, facts]),
    );
    const numbers = await this.#takePlaces([...unknown.values()]);
    const opened = [...unknown.values()].map(({ event, storedAtMs }) => {
      const memory = {
        countOrder: () => numbers.get(event.orderId) ?? 1,
        remember: () => undefined,
        take: () => undefined,
      };
      return { event, storedAtMs, order: openOrder(event, storedAtMs, memory, this.#settings) };
    });
    const documents = opened.map(({ event, storedAtMs, order }) => {
      return { _id: event.orderId, at: new Date(storedAtMs), ...orderFields(order) };
    });
    await insertNew(this.#collections.orders, documents);
    for (const { event, order } of opened) {
      keep(this.#orders, event.orderId, order, this.#limits.cachedOrdersMax);
    }
  }

  /** Number of each order among those of its customer, as far as it matters. */
  async #takePlaces(created: readonly CreatedFacts[]): Promise<ReadonlyMap<string, number>> {
    const numbers = new Map<string, number>();
    const placesMax = this.#settings.frequentFrom - 1;
    const known = new Map<string, readonly string[]>();
    let waiting = created.map(({ event }) => event);
    for (const { customerId } of waiting) {
      const orders = this.#customers.get(customerId);
      if (orders !== undefined) known.set(customerId, orders);
    }
    for (let round = 0; waiting.length > 0; round++) {
      if (round === ROUNDS_MAX) throw lostRace();
      const asks = proposePlaces(waiting, known, placesMax, numbers);
      const taken = await insertNew(this.#collections.customers, asks);
      const lost = new Set([...taken].map((place) => asks[place]?.customerId ?? ""));
      for (const { customerId, orderId } of asks) {
        if (!lost.has(customerId))
          known.set(customerId, [...(known.get(customerId) ?? []), orderId]);
      }
      for (const [customerId, orders] of await this.#placesOf([...lost])) {
        known.set(customerId, orders);
      }
      waiting = waiting.filter(({ orderId }) => !numbers.has(orderId));
    }
    for (const [customerId, orders] of known) {
      keep(this.#customers, customerId, orders, this.#limits.cachedCustomersMax);
    }
    return numbers;
  }

  async #placesOf(customerIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    if (customerIds.length === 0) return new Map();
    const found = await this.#collections.customers
      .find({ customerId: { $in: [...customerIds] } })
      .toArray();
    const byCustomer = Map.groupBy(found, ({ customerId }) => customerId);
    const ordered = [...byCustomer].map(([customerId, places]) => {
      const sorted = places.toSorted((one, other) => one.number - other.number);
      return [customerId, sorted.map(({ orderId }) => orderId)] as const;
    });
    return new Map(ordered);
  }
}

/**
 * The places to ask for in one round; orders whose number is known are written into `numbers`.
 * Of a customer of whom nothing is known, one at a time: the others depend on what comes of it.
 */
function proposePlaces(
  waiting: readonly { readonly orderId: string; readonly customerId: string }[],
  known: ReadonlyMap<string, readonly string[]>,
  placesMax: number,
  numbers: Map<string, number>,
): readonly Place[] {
  const asks: Place[] = [];
  const asked = new Map<string, number>();
  for (const { orderId, customerId } of waiting) {
    const orders = known.get(customerId) ?? [];
    const place = orders.indexOf(orderId);
    const askedBefore = asked.get(customerId) ?? 0;
    const number = orders.length + askedBefore + 1;
    if (place >= 0) numbers.set(orderId, place + 1);
    else if (orders.length >= placesMax) numbers.set(orderId, placesMax + 1);
    else if (number <= placesMax && (known.has(customerId) || askedBefore === 0)) {
      asks.push({ _id: `${customerId}#${number}`, customerId, number, orderId });
      asked.set(customerId, askedBefore + 1);
    }
  }
  return asks;
}

function isOfOrder(facts: EventFacts): facts is OrderFacts {
  if (facts.shape !== "order") return false;
  return facts.event.type === "order.created" || facts.event.type === "payment.processed";
}

function needsOrder({ kind, event }: OrderFacts): boolean {
  return kind === "counted" && event.type === "payment.processed" && event.status === "completed";
}

function isCreated(facts: EventFacts): facts is CreatedFacts {
  return facts.shape === "order" && facts.event.type === "order.created";
}

/** As the newest of at most `max`. */
function keep<T>(map: Map<string, T>, key: string, value: T, max: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= max) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}

function lostRace(): ShopError {
  const what = "mongodb: others took every place of a customer's orders";
  return new ShopError("STORAGE_FAULT", what, "later");
}
