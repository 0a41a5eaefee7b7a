/**
 * The shop's HTTP API as a load run uses it: post, read back, list, timeline, stock.
 *
 * Reads strictly: a field that is missing or of another type is a `BAD_MESSAGE`, never a default,
 * because the judge must see what the shop says and not what it should have said.
 */

import { ShopError } from "../runtime/errors.ts";
import { ask, detailOf, fields, list, number, optional, parse, text } from "./answer-fields.ts";
import { minorOf } from "./evidence.ts";
import type { HttpResponse } from "./http-response.ts";
import type { HttpPool, HttpRequest } from "./http-pool.ts";
import type { ObservedOrder, OrderItem, PlannedOrder, TimelineEvent } from "./evidence.ts";

/**
 * `refused`: a 4xx, the order does not exist. `failed`: a 5xx, it may. `busy`: shed before anything
 * was done. `reason` is one of few words, for counting; `detail` is for people.
 */
export type PostAnswer =
  | { readonly kind: "accepted"; readonly order: ObservedOrder }
  | { readonly kind: "refused"; readonly reason: string; readonly detail: string }
  | { readonly kind: "failed"; readonly reason: string; readonly detail: string }
  | { readonly kind: "busy"; readonly reason: string; readonly retryAfterMs: number };

export interface StockCount {
  readonly available: number;
  readonly reserved: number;
  readonly shipped: number;
}

export interface ShopClient {
  postOrder(order: PlannedOrder): Promise<PostAnswer>;
  /** `undefined` on 404. */
  readOrder(id: string): Promise<ObservedOrder | undefined>;
  /** Newest first; at most `limit`. */
  listOrders(filter: {
    customerId?: string;
    status?: string;
    limit: number;
  }): Promise<ObservedOrder[]>;
  readTimeline(id: string): Promise<TimelineEvent[]>;
  /**
   * Creates the product; refuses one that is there already, unless it is as a try of this very call
   * has left it whose answer was lost.
   */
  createStock(productId: string, available: number): Promise<void>;
  readStock(productId: string): Promise<StockCount>;
  /** Prometheus text. */
  readMetrics(): Promise<string>;
  /** Of what `/health` names, each part that is not up, with its detail; empty: all is well. */
  readIllParts(): Promise<readonly string[]>;
  /** Asks a shop started for sabotage to break one shard. */
  sabotage(shard: number, how: string): Promise<void>;
}

/** Of a change that names no version: only a new product is taken. */
const EXISTS = 428;
/** Problems that say that nothing was done. */
const SHED: readonly string[] = ["saturated", "not-ready"];

export function createShopClient(pool: Pick<HttpPool, "request">): ShopClient {
  const expect = async (request: HttpRequest, ...statuses: readonly number[]) =>
    await ask(pool, request, statuses);

  async function readVersioned(id: string): Promise<StockCount & { readonly version: number }> {
    const response = await expect({ method: "GET", path: `/v1/inventory/${id}` }, 200);
    const from = fields(parse(response));
    return {
      available: number(from, "available"),
      reserved: number(from, "reserved"),
      shipped: number(from, "shipped"),
      version: number(from, "version"),
    };
  }

  return {
    async postOrder(order) {
      const headers = { "idempotency-key": order.idempotencyKey };
      return answerOf(await pool.request({ ...postOf(order), headers }));
    },
    async readOrder(id) {
      const response = await expect({ method: "GET", path: `/v1/orders/${id}` }, 200, 404);
      return response.status === 404 ? undefined : orderFrom(parse(response));
    },
    async listOrders(filter) {
      const query = new URLSearchParams({ limit: String(filter.limit) });
      if (filter.customerId !== undefined) query.set("customerId", filter.customerId);
      if (filter.status !== undefined) query.set("status", filter.status);
      const path = `/v1/orders?${query.toString()}`;
      const response = await expect({ method: "GET", path }, 200);
      return list(fields(parse(response)), "orders").map(orderFrom);
    },
    async readTimeline(id) {
      const response = await expect({ method: "GET", path: `/v1/orders/${id}/events` }, 200);
      return list(fields(parse(response)), "events").map(eventFrom);
    },
    async createStock(productId, available) {
      const body = JSON.stringify({ available });
      const request: HttpRequest = { method: "PUT", path: `/v1/inventory/${productId}`, body };
      const { status } = await expect(request, 201, EXISTS);
      if (status === 201) return;
      const { version, ...is } = await readVersioned(productId);
      if (version === 1 && is.available === available) return;
      const what = `${productId} is there already, version ${version}: ${JSON.stringify(is)}`;
      throw new ShopError("BAD_MESSAGE", what, "never");
    },
    async readStock(productId) {
      const { version: _, ...count } = await readVersioned(productId);
      return count;
    },
    async readMetrics() {
      return (await expect({ method: "GET", path: "/metrics" }, 200)).body;
    },
    async readIllParts() {
      const response = await expect({ method: "GET", path: "/health" }, 200, 503);
      const parts = list(fields(parse(response)), "services").map(fields);
      const ill = parts.filter((part) => text(part, "status") !== "up");
      return ill.map((part) => `${text(part, "name")}: ${optional(part, "detail", text) ?? ""}`);
    },
    async sabotage(shard, how) {
      const body = JSON.stringify({ shard, how });
      await expect({ method: "POST", path: "/admin/sabotage", body }, 200, 202, 204);
    },
  };
}

function postOf(order: PlannedOrder): HttpRequest {
  const items = order.items.map(({ productId, quantity, priceMinor }) => ({
    productId,
    quantity,
    price: priceMinor / 100,
  }));
  const { customerId, currency, contact } = order;
  // A contact that is absent leaves no trace in JSON.
  const body = JSON.stringify({ customerId, items, currency, contact });
  return { method: "POST", path: "/v1/orders", body };
}

function answerOf(response: HttpResponse): PostAnswer {
  const { status } = response;
  if (status === 201) return { kind: "accepted", order: orderFrom(parse(response)) };
  const problem = problemName(response);
  const reason = `${status} ${problem}`;
  if (status === 503 && SHED.includes(problem)) {
    const seconds = Number(response.headers.get("retry-after") ?? "1");
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : 1_000;
    return { kind: "busy", reason, retryAfterMs };
  }
  const kind = status >= 400 && status < 500 ? "refused" : "failed";
  return { kind, reason, detail: detailOf(response) };
}

/** The last word of the problem's type: `urn:shopstream:problem:saturated` → `saturated`. */
function problemName(response: HttpResponse): string {
  return /"type":"[^"]*:([a-z-]+)"/.exec(response.body)?.[1] ?? "unnamed";
}

function orderFrom(value: unknown): ObservedOrder {
  const from = fields(value);
  return {
    id: text(from, "id"),
    customerId: text(from, "customerId"),
    items: list(from, "items").map(itemFrom),
    status: text(from, "status"),
    paymentStatus: text(from, "paymentStatus"),
    inventoryStatus: text(from, "inventoryStatus"),
    totalMinor: minorOf(from["total"]),
    currency: text(from, "currency"),
    version: number(from, "version"),
  };
}

function itemFrom(value: unknown): OrderItem {
  const from = fields(value);
  return {
    productId: text(from, "productId"),
    quantity: number(from, "quantity"),
    priceMinor: minorOf(from["price"]),
  };
}

function eventFrom(value: unknown): TimelineEvent {
  const from = fields(value);
  const atMs = Date.parse(text(from, "at"));
  if (!Number.isFinite(atMs)) throw new ShopError("BAD_MESSAGE", "a time is no time", "never");
  return {
    version: number(from, "version"),
    type: text(from, "type"),
    atMs,
    data: fields(from["data"]),
  };
}
