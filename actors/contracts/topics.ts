/**
 * The topics of the shop, who listens to them, and who reads them for a view.
 *
 * Every topic has `slots` partitions. `orders` carries what the order decided; `payments`,
 * `inventory` and `shipping` what a service answered, and each has one writer. Those are keyed by
 * order id, as are what the fraud check found in `fraud` and the reminders in `notifications`;
 * `behavior` is keyed by batch, and `operations`, where the acts of operators are recorded, by dead
 * letter.
 */

export const TOPICS = [
  "orders",
  "payments",
  "inventory",
  "shipping",
  "fraud",
  "notifications",
  "behavior",
  "operations",
] as const;
export type Topic = (typeof TOPICS)[number];

/** Consumer groups: one per service, and what each listens to. */
export const GROUPS = {
  order: ["payments", "inventory", "shipping"],
  payment: ["orders"],
  inventory: ["orders"],
  shipping: ["orders"],
  notification: ["orders", "payments", "notifications"],
} as const satisfies Record<string, readonly Topic[]>;

export type Group = keyof typeof GROUPS;

/** The brokers that may stand beside the local one. */
export const FOREIGN_BROKERS = ["kafka", "redis", "rabbitmq"] as const;

/** In figures of brokers: what waits for a topic that none of them has. */
export const NO_BROKER = "none";

/** Views read the log at their own pace and keep their position beside what they made of it. */
export const VIEWS = {
  audit: TOPICS,
  analytics: ["orders", "payments", "inventory", "behavior"],
} as const satisfies Record<string, readonly Topic[]>;

export type View = keyof typeof VIEWS;
