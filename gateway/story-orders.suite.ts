/**
 * The orders of the story, told to a shop on files and to one on servers, and how each has to end.
 *
 * Only for tests. What is expected of each fate is written down here, from the description of the
 * saga, and shares no code with the deciders. Nothing here knows where a shop keeps what.
 */

export type Fate = "delivered" | "cancelled" | "sold_out" | "blocked";
export type Json = Readonly<Record<string, unknown>>;

export interface StoryOrder {
  readonly fate: Fate;
  readonly customerId: string;
  readonly productId: string;
  readonly quantity: number;
  readonly priceMinor: number;
  readonly currency: string;
  readonly language: string;
  /** Kinds of address that the contact has. */
  readonly reach: readonly ("email" | "sms" | "push")[];
}

/** Entries of the timeline, whatever their order, and what the carrier reports besides. */
export const EVENTS_OF: Readonly<Record<Fate, readonly string[]>> = {
  delivered: [
    "order.created",
    "payment.processed",
    "inventory.reserved",
    "order.ready_to_ship",
    "order.shipped",
    "order.delivered",
  ],
  cancelled: [
    "order.created",
    "payment.processed",
    "inventory.reserved",
    "order.ready_to_ship",
    "order.cancelled",
    "payment.refunded",
    "inventory.released",
  ],
  sold_out: [
    "order.created",
    "payment.processed",
    "inventory.reserved",
    "order.cancelled",
    "payment.refunded",
  ],
  blocked: [
    "order.created",
    "payment.processed",
    "inventory.reserved",
    "order.cancelled",
    "inventory.released",
  ],
};

export const REPORTS_OF: Readonly<Record<Fate, readonly string[]>> = {
  delivered: ["shipment.packed", "shipment.delivered"],
  cancelled: [],
  sold_out: [],
  blocked: ["fraud.flagged"],
};

/** What customers are told; by e-mail all of it, by the other channels what is on the move. */
export const TOLD_OF: Readonly<Record<Fate, readonly string[]>> = {
  delivered: ["order.created", "order.shipped", "order.delivered"],
  cancelled: ["order.created", "order.cancelled", "payment.refunded"],
  sold_out: ["order.created", "order.cancelled", "payment.refunded"],
  blocked: ["order.created", "payment.failed", "order.cancelled"],
};
export const ON_THE_MOVE: readonly string[] = [
  "order.shipped",
  "order.delivered",
  "order.cancelled",
];

export function totalMinorOf({ quantity, priceMinor }: StoryOrder): number {
  return quantity * priceMinor;
}

export function bodyOf(order: StoryOrder): Json {
  const { customerId, productId, quantity, priceMinor, currency, language, reach } = order;
  const addresses = {
    email: { email: `${customerId}@example.org` },
    sms: { phone: "+491701234567" },
    push: { pushToken: `token-of-${customerId}` },
  };
  return {
    customerId,
    items: [{ productId, quantity, price: priceMinor / 100 }],
    currency,
    contact: Object.assign({ language }, ...reach.map((kind) => addresses[kind])) as Json,
    paymentMethod: { type: "card", token: "tok", fingerprint: `card-of-${customerId}` },
  };
}

export const DELIVERED = 24;
export const STOCK = 1_000;
/** What is put there before the first order; of lamps too few. */
export const STOCKED = [
  ["story-mug", STOCK],
  ["story-kettle", STOCK],
  ["story-lamp", 1],
] as const;

/** The one that is cancelled needs a carrier that never comes. */
export const CARLA: StoryOrder = {
  fate: "cancelled",
  customerId: "carla",
  productId: "story-mug",
  quantity: 2,
  priceMinor: 1_999,
  currency: "USD",
  language: "de",
  reach: ["email", "sms", "push"],
};
export const OSCAR: StoryOrder = {
  ...CARLA,
  fate: "sold_out",
  customerId: "oscar",
  productId: "story-lamp",
  language: "en",
  reach: ["email"],
};
export const MALLORY: StoryOrder = { ...CARLA, fate: "blocked", customerId: "mallory", reach: [] };

export function deliveredOrder(index: number): StoryOrder {
  return {
    fate: "delivered",
    customerId: `customer-${index % 8}`,
    productId: index % 2 === 0 ? "story-mug" : "story-kettle",
    quantity: 1 + (index % 3),
    priceMinor: 333 + index,
    currency: index % 4 === 3 ? "EUR" : "USD",
    language: index % 2 === 0 ? "de" : "en",
    reach: (["email", "sms", "push"] as const).slice(0, index % 4),
  };
}

export const VISITS = [
  ...Array.from({ length: 5 }, (_, n) => ({ event: "page.viewed", customerId: `visitor-${n}` })),
  { event: "cart.added", customerId: "visitor-0", productId: "story-mug" },
];
