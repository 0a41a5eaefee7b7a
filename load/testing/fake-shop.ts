/**
 * A very small shop with the same HTTP API, honest unless told to lie: the judge's own test.
 *
 * One file of events is its whole truth; everything else is replayed from it, so that it survives
 * a kill as the real shop must. Each lie breaks exactly one promise, in one order of ten or on one
 * product. It is slow, checks almost nothing it is sent, and must never be measured.
 */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";

import { createFakeLife } from "./fake-life.ts";
import { createFakePlatform } from "./fake-platform.ts";
import type { FakeOrder, Lie, LifeTerms, TimelineRecord } from "./fake-life.ts";

export interface FakeShopOptions extends LifeTerms {
  readonly port: number;
  /** Absent: kept in memory only. */
  readonly dataFile?: string;
  readonly lies: readonly Lie[];
  /** Says of every fifth thing that it is read or told that it cannot now; orders it takes. */
  readonly stammers?: boolean;
}

export interface FakeShop {
  readonly port: number;
  stop(): Promise<void>;
}

type Truth =
  | { readonly kind: "stock"; readonly productId: string; readonly available: number }
  | {
      readonly kind: "order";
      readonly order: Omit<FakeOrder, "timeline">;
      readonly key: string | null;
    }
  | { readonly kind: "try"; readonly key: string }
  | { readonly kind: "entry"; readonly orderId: string; readonly entry: TimelineRecord };

interface Body {
  readonly customerId: string;
  readonly currency: string;
  readonly items: FakeOrder["items"];
  readonly contact?: unknown;
}

/** How late a shop that acknowledges first writes what it acknowledged. */
const LATE_WRITE_MS = 400;

export function startFakeShop(options: FakeShopOptions): FakeShop {
  const orders = new Map<string, FakeOrder>();
  const keys = new Map<string, string>();
  /** How often an order was made of a key: more than once only if it was not kept. */
  const tries = new Map<string, number>();
  const life = createFakeLife(options, (order, entry) => {
    keep({ kind: "entry", orderId: order.id, entry });
  });
  const { dataFile, lies } = options;
  const dataDirectory = dataFile === undefined ? undefined : dirname(dataFile);
  const platform = createFakePlatform(orders, lies, dataDirectory);
  let accepted = 0;
  let asked = 0;

  function apply(truth: Truth): void {
    switch (truth.kind) {
      case "stock":
        life.shelve(truth.productId, truth.available);
        return;
      case "order":
        orders.set(truth.order.id, { ...truth.order, timeline: [] });
        if (truth.key !== null) keys.set(truth.key, truth.order.id);
        return;
      case "try":
        tries.set(truth.key, (tries.get(truth.key) ?? 0) + 1);
        return;
      case "entry": {
        const order = orders.get(truth.orderId);
        if (order !== undefined) life.enter(order, truth.entry);
      }
    }
  }

  function write(truth: Truth): void {
    if (options.dataFile !== undefined) {
      appendFileSync(options.dataFile, `${JSON.stringify(truth)}\n`);
    }
  }

  function keep(truth: Truth): void {
    const order = truth.kind === "entry" ? orders.get(truth.orderId) : undefined;
    if (truth.kind === "entry" && order !== undefined) platform.tell(order, truth.entry);
    if (options.lies.includes("acknowledge_early")) setTimeout(() => write(truth), LATE_WRITE_MS);
    else write(truth);
    apply(truth);
  }

  /**
   * Of the key, as whom the provider declines must not differ from run to run; and of the try, or
   * a twin would bring back, under its id, the order that was not kept.
   */
  function idOf(key: string): string {
    const before = tries.get(key) ?? 0;
    const truth: Truth = { kind: "try", key };
    write(truth);
    apply(truth);
    return before === 0 ? `order-${key}` : `order-${key}-${before}`;
  }

  function create(body: Body, key: string | null): FakeOrder {
    const known = orders.get((key === null ? undefined : keys.get(key)) ?? "");
    if (known !== undefined) return known;
    const lying = accepted++ % 10 === 0;
    const tell = (lie: Lie): boolean => lying && options.lies.includes(lie);
    let totalMinor = body.items.reduce(
      (sum, item) => sum + item.quantity * Math.round(item.price * 100),
      0,
    );
    if (tell("lose_cent")) totalMinor--;
    const { customerId, currency, items, contact } = body;
    const id = key === null ? Bun.randomUUIDv7() : idOf(key);
    const order = { id, customerId, currency, items, contact, totalMinor, lying };
    if (tell("lose_order")) return { ...order, timeline: [life.firstEntry(totalMinor)] };
    keep({ kind: "order", order, key });
    if (tell("double_order")) begin({ ...order, id: Bun.randomUUIDv7() });
    return begin(order);
  }

  function begin(order: Omit<FakeOrder, "timeline">): FakeOrder {
    if (!orders.has(order.id)) keep({ kind: "order", order, key: null });
    const kept = orders.get(order.id) ?? { ...order, timeline: [] };
    keep({ kind: "entry", orderId: order.id, entry: life.firstEntry(order.totalMinor) });
    life.resume(kept);
    return kept;
  }

  function read(url: URL): Response {
    const [, , kind, id, part] = url.pathname.split("/");
    if (kind === "inventory") return Response.json({ productId: id, ...life.stock(id ?? "") });
    if (id !== undefined) {
      const order = orders.get(id);
      if (order === undefined) return Response.json({ title: "Not Found" }, { status: 404 });
      return Response.json(part === "events" ? { events: timelineOf(order) } : life.view(order));
    }
    const customerId = url.searchParams.get("customerId");
    const status = url.searchParams.get("status");
    const found = [...orders.values()]
      .filter((order) => customerId === null || order.customerId === customerId)
      .map(life.view)
      .filter((view) => status === null || view.status === status);
    return Response.json({ orders: found.slice(0, Number(url.searchParams.get("limit"))) });
  }

  async function answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/ready") return new Response("ready");
    if (options.stammers === true && url.pathname !== "/v1/orders" && asked++ % 5 === 0) {
      return Response.json({ title: "Service Unavailable" }, { status: 503 });
    }
    if (url.pathname === "/metrics") {
      return new Response(`process_resident_memory_bytes 1\n${platform.metrics()}`);
    }
    const around = await platform.answer(request.method, url, () => request.json());
    if (around !== undefined) return around;
    if (request.method === "GET") return read(url);
    // Bodies come from this repository's own load scripts.
    const body = (await request.json()) as Body & { readonly available: number };
    if (request.method === "PUT") {
      const productId = url.pathname.split("/")[3] ?? "";
      keep({ kind: "stock", productId, available: body.available });
      return Response.json({ productId, ...life.stock(productId) }, { status: 201 });
    }
    const order = create(body, request.headers.get("idempotency-key"));
    return Response.json(life.view(order), { status: 201 });
  }

  if (options.dataFile !== undefined && existsSync(options.dataFile)) {
    const lines = readFileSync(options.dataFile, "utf8").split("\n").slice(0, -1);
    // Written by `write` above; a line that was cut by a kill has no newline and is dropped.
    for (const line of lines) apply(JSON.parse(line) as Truth);
    for (const order of orders.values()) life.resume(order);
  }
  const server = Bun.serve({ hostname: "127.0.0.1", port: options.port, fetch: answer });
  return {
    port: server.port ?? options.port,
    async stop() {
      life.end();
      await server.stop(true);
    },
  };
}

function timelineOf(order: FakeOrder): readonly unknown[] {
  return order.timeline.map(({ atMs, ...entry }) => ({ ...entry, at: new Date(atMs) }));
}
