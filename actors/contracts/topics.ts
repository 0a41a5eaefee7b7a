/**
 * The topics of the shop. Every one is keyed by order id and has `slots` partitions.
 *
 * `orders` carries what the order decided, the others what a service answered: the order actor
 * is the only writer of `orders`, and the services write nothing else than their own.
 */

export const TOPICS = ["orders", "payments", "inventory", "shipping"] as const;
export type Topic = (typeof TOPICS)[number];

/** Consumer groups: one per service, and what each listens to. */
export const GROUPS = {
  order: ["payments", "inventory", "shipping"],
  payment: ["orders"],
  inventory: ["orders"],
  shipping: ["orders"],
} as const satisfies Record<string, readonly Topic[]>;
export type Group = keyof typeof GROUPS;
