/**
 * The legal life of an order, judged from its timeline alone.
 *
 * Written from the saga's description and sharing no code with the deciders, so that a mistake
 * there is not repeated here. It refuses gaps, unknown types, events before their causes, a second
 * payment and a shipment of a cancelled order. It does not judge times: a wall clock may jump.
 */

import type { TimelineEvent } from "./evidence.ts";

/** Where an order stands after its timeline; the same words as the API. */
export interface Standing {
  readonly status: string;
  readonly paymentStatus: string;
  readonly inventoryStatus: string;
}

type Word = string;
interface Rule {
  /** Why the event may not follow `standing`, or `undefined` when it may. */
  readonly refuses: (standing: Standing) => string | undefined;
  readonly leadsTo: (standing: Standing, event: TimelineEvent) => Standing | undefined;
}

const FRESH: Standing = { status: "none", paymentStatus: "none", inventoryStatus: "none" };

const RULES: Readonly<Record<string, Rule>> = {
  "order.created": {
    refuses: (at) => unless(at.status, "none"),
    leadsTo: () => ({ status: "pending", paymentStatus: "pending", inventoryStatus: "pending" }),
  },
  "payment.processed": {
    refuses: (at) => unless(at.paymentStatus, "pending"),
    leadsTo: (at, event) => withAnswer(at, event, "paymentStatus", ["completed", "failed"]),
  },
  "inventory.reserved": {
    refuses: (at) => unless(at.inventoryStatus, "pending"),
    leadsTo: (at, event) => withAnswer(at, event, "inventoryStatus", ["reserved", "failed"]),
  },
  "order.ready_to_ship": {
    refuses: (at) =>
      unless(at.status, "pending") ??
      unless(at.paymentStatus, "completed") ??
      unless(at.inventoryStatus, "reserved"),
    leadsTo: (at) => ({ ...at, status: "ready_to_ship" }),
  },
  "order.shipped": {
    refuses: (at) => unless(at.status, "ready_to_ship"),
    leadsTo: (at) => ({ ...at, status: "shipped" }),
  },
  "order.delivered": {
    refuses: (at) => unless(at.status, "shipped"),
    leadsTo: (at) => ({ ...at, status: "delivered" }),
  },
  "order.cancelled": {
    refuses: (at) => unless(at.status, "pending", "ready_to_ship"),
    leadsTo: (at) => ({ ...at, status: "cancelled" }),
  },
  "payment.refunded": {
    refuses: (at) => unless(at.status, "cancelled") ?? unless(at.paymentStatus, "completed"),
    leadsTo: (at) => ({ ...at, paymentStatus: "refunded" }),
  },
  "inventory.released": {
    refuses: (at) => unless(at.status, "cancelled") ?? unless(at.inventoryStatus, "reserved"),
    leadsTo: (at) => ({ ...at, inventoryStatus: "released" }),
  },
};

/** Replays `timeline` (oldest first) and names everything in it that must not happen. */
export function judgeTimeline(timeline: readonly TimelineEvent[]): {
  readonly problems: readonly string[];
  readonly standing: Standing;
} {
  const problems: string[] = [];
  let standing = FRESH;
  for (const [index, event] of timeline.entries()) {
    if (event.version !== index + 1) {
      problems.push(`entry ${index + 1} carries version ${event.version}`);
    }
    const rule = Object.hasOwn(RULES, event.type) ? RULES[event.type] : undefined;
    if (rule === undefined) {
      problems.push(`unknown type ${event.type}`);
      continue;
    }
    const refusal = rule.refuses(standing);
    if (refusal !== undefined) problems.push(`${event.type} at version ${index + 1}: ${refusal}`);
    const next = rule.leadsTo(standing, event);
    if (next === undefined) problems.push(`${event.type} says ${String(event.data["status"])}`);
    standing = next ?? standing;
  }
  return { problems, standing };
}

/** True when nothing more may happen: delivered, or cancelled with everything given back. */
export function isSettled(standing: Standing): boolean {
  if (standing.status === "delivered") return true;
  return (
    standing.status === "cancelled" &&
    ["failed", "refunded"].includes(standing.paymentStatus) &&
    ["failed", "released"].includes(standing.inventoryStatus)
  );
}

function unless(actual: Word, ...allowed: readonly Word[]): string | undefined {
  return allowed.includes(actual) ? undefined : `needs ${allowed.join(" or ")}, found ${actual}`;
}

function withAnswer(
  at: Standing,
  event: TimelineEvent,
  field: "paymentStatus" | "inventoryStatus",
  words: readonly Word[],
): Standing | undefined {
  const answer = event.data["status"];
  if (typeof answer !== "string" || !words.includes(answer)) return undefined;
  return { ...at, [field]: answer };
}
