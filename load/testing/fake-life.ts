/**
 * How an order lives in the fake shop: what comes next, and what each entry does to the stock.
 *
 * Every step is one entry of the timeline and is only taken if the timeline says that it is due,
 * so that a life can be resumed from any point. The lies are told here, next to the truth.
 */

export type Lie =
  | "acknowledge_early"
  | "lose_order"
  | "double_order"
  | "lose_cent"
  | "oversell"
  | "keep_reserved"
  | "ship_unpaid"
  | "skip_version"
  | "capture_twice"
  | "keep_money"
  | "never_deliver"
  | "lag_behind"
  | "invent_revenue"
  | "forget_event"
  | "break_chain"
  | "tell_twice"
  | "write_twice"
  | "lose_record"
  | "bury";

export interface TimelineRecord {
  readonly version: number;
  readonly type: string;
  readonly atMs: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface FakeOrder {
  readonly id: string;
  readonly customerId: string;
  readonly currency: string;
  readonly items: readonly {
    readonly productId: string;
    readonly quantity: number;
    readonly price: number;
  }[];
  readonly totalMinor: number;
  /** Every address or none. */
  readonly contact?: unknown;
  /** Chosen to be lied about. */
  readonly lying: boolean;
  readonly timeline: TimelineRecord[];
}

export interface LifeTerms {
  readonly lies: readonly Lie[];
  /** Absent: every payment succeeds without anyone being asked. */
  readonly paymentUrl?: string;
  /** Between two steps of an order's life. */
  readonly stepMs: number;
}

export interface FakeLife {
  shelve(productId: string, available: number): void;
  stock(productId: string): Shelf;
  firstEntry(totalMinor: number): TimelineRecord;
  /** Adds an entry and moves the stock it moves. */
  enter(order: FakeOrder, entry: TimelineRecord): void;
  /** Takes up the order's life where its timeline ends. */
  resume(order: FakeOrder): void;
  view(order: FakeOrder): Record<string, unknown> & { readonly status: string };
  end(): void;
}

interface Shelf {
  available: number;
  reserved: number;
  shipped: number;
  version: number;
}

type Step = readonly [type: string, data: Readonly<Record<string, unknown>>];

const PROVIDER_RETRY_MS = 50;

export function createFakeLife(
  terms: LifeTerms,
  record: (order: FakeOrder, entry: TimelineRecord) => void,
): FakeLife {
  const shelves = new Map<string, Shelf>();
  let ended = false;

  function shelf(productId: string): Shelf {
    const found = shelves.get(productId) ?? { available: 0, reserved: 0, shipped: 0, version: 1 };
    shelves.set(productId, found);
    return found;
  }

  const tells = (order: FakeOrder, lie: Lie): boolean => order.lying && terms.lies.includes(lie);

  function enter(order: FakeOrder, entry: TimelineRecord): void {
    order.timeline.push(entry);
    for (const { productId, quantity } of order.items) {
      const at = shelf(productId);
      if (entry.type === "inventory.reserved" && entry.data["status"] === "reserved") {
        if (!terms.lies.includes("oversell")) at.available -= quantity;
        at.reserved += quantity;
      }
      if (entry.type === "inventory.released" && !terms.lies.includes("keep_reserved")) {
        at.reserved -= quantity;
        at.available += quantity;
      }
      if (entry.type === "order.shipped") {
        at.reserved -= quantity;
        at.shipped += quantity;
      }
    }
  }

  async function pay(order: FakeOrder): Promise<Step> {
    const { totalMinor: amountMinor, currency } = order;
    const body = { orderId: order.id, amountMinor, currency };
    const status = await askProvider(`${order.id}:capture`, "/captures", body);
    if (tells(order, "capture_twice")) {
      await askProvider(`${order.id}:capture-again`, "/captures", body);
    }
    return [
      "payment.processed",
      { status: status === 402 ? "failed" : "completed", amount: amountMinor / 100 },
    ];
  }

  async function refund(order: FakeOrder): Promise<Step> {
    const { totalMinor: amountMinor, currency } = order;
    const captureKey = `${order.id}:capture`;
    if (!terms.lies.includes("keep_money")) {
      const body = { orderId: order.id, captureKey, amountMinor, currency };
      await askProvider(`${order.id}:refund`, "/refunds", body);
    }
    return ["payment.refunded", { amount: amountMinor / 100 }];
  }

  /** Asks until there is an answer; 0 when the shop ends before. */
  async function askProvider(key: string, path: string, body: object): Promise<number> {
    while (!ended && terms.paymentUrl !== undefined) {
      const headers = { "idempotency-key": key };
      const asked = fetch(terms.paymentUrl + path, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
      const status = await asked.then(
        (response) => response.status,
        () => 500,
      );
      if (status < 500) return status;
      await Bun.sleep(PROVIDER_RETRY_MS);
    }
    return 0;
  }

  function reserve(order: FakeOrder): Step {
    const failedItems = order.items.filter(
      (item) => shelf(item.productId).available < item.quantity,
    );
    return failedItems.length === 0
      ? ["inventory.reserved", { status: "reserved" }]
      : ["inventory.reserved", { status: "failed", failedItems }];
  }

  /** What is due after the timeline so far; `undefined` at the end. */
  async function nextStep(order: FakeOrder): Promise<Step | undefined> {
    const { status, paymentStatus, inventoryStatus } = standing(order);
    if (status === "pending" && tells(order, "ship_unpaid")) return ["order.ready_to_ship", {}];
    if (status === "ready_to_ship") return ["order.shipped", {}];
    if (status === "shipped") {
      return tells(order, "never_deliver") ? undefined : ["order.delivered", {}];
    }
    if (inventoryStatus === "pending" && status !== "delivered") return reserve(order);
    if (paymentStatus === "pending" && status !== "delivered") return pay(order);
    if (status === "pending") {
      const good = paymentStatus === "completed" && inventoryStatus === "reserved";
      if (good) return ["order.ready_to_ship", {}];
      const reason = paymentStatus === "failed" ? "payment_failed" : "out_of_stock";
      return ["order.cancelled", { reason }];
    }
    if (status === "cancelled" && inventoryStatus === "reserved") return ["inventory.released", {}];
    if (status === "cancelled" && paymentStatus === "completed") return refund(order);
    return undefined;
  }

  async function live(order: FakeOrder): Promise<void> {
    while (!ended) {
      await Bun.sleep(terms.stepMs);
      const step = await nextStep(order);
      if (step === undefined || ended) return;
      const skipped = step[0] === "order.shipped" && tells(order, "skip_version") ? 1 : 0;
      const version = order.timeline.length + 1 + skipped;
      record(order, { version, type: step[0], atMs: Date.now(), data: step[1] });
    }
  }

  return {
    shelve: (productId, available) => void (shelf(productId).available = available),
    stock: shelf,
    firstEntry(totalMinor) {
      const data = { total: totalMinor / 100 };
      return { version: 1, type: "order.created", atMs: Date.now(), data };
    },
    enter,
    resume(order) {
      // `live` asks only `askProvider`, which answers instead of rejecting.
      void live(order);
    },
    view(order) {
      const { timeline, totalMinor, lying: _, ...fields } = order;
      return { ...fields, ...standing(order), total: totalMinor / 100, version: timeline.length };
    },
    end: () => void (ended = true),
  };
}

function standing(order: FakeOrder) {
  let status = "pending";
  let paymentStatus = "pending";
  let inventoryStatus = "pending";
  for (const { type, data } of order.timeline) {
    if (type === "payment.processed") paymentStatus = String(data["status"]);
    else if (type === "payment.refunded") paymentStatus = "refunded";
    else if (type === "inventory.reserved") inventoryStatus = String(data["status"]);
    else if (type === "inventory.released") inventoryStatus = "released";
    else if (type !== "order.created") status = type.slice("order.".length);
  }
  return { status, paymentStatus, inventoryStatus };
}
