/**
 * What a cluster promises beyond what one process does: from what was found to what was broken.
 *
 * Pure. Cancellations end as they were answered, Kafka holds each event of an order once and in its
 * order, nothing is left over, and a process that was taken for dead commits nothing.
 */

import type { CancelRecord } from "./order-canceller.ts";
import type { Evidence, TimelineEvent, Violation } from "./evidence.ts";
import type { Leftovers } from "./cluster-database.ts";
import type { PublishedEvents } from "./published-events.ts";

export interface ClusterEvidence {
  readonly cancels: readonly CancelRecord[];
  readonly published: PublishedEvents;
  readonly leftovers: Leftovers;
  /** Processes that run at the end. */
  readonly living: readonly string[];
  /** Their `/health` at the end, if it is not well: by process. */
  readonly unwell: ReadonlyMap<string, string>;
  /**
   * Of a process that was paused for longer than it may be, with work in hand. `refusedCommits`: of
   * its incarnations that slept, by the database. `cutTransactions`: rolled back meanwhile.
   */
  readonly zombie?: {
    readonly name: string;
    readonly pauses: number;
    readonly wasFenced: boolean;
    readonly refusedCommits: number;
    readonly cutTransactions: number;
  };
  /**
   * Of a process that was stopped in order. `refusedCommits`: of anybody's, by the database.
   * `fencings`: of its incarnations, by others.
   */
  readonly leaver?: {
    readonly name: string;
    readonly refusedCommits: number;
    readonly fencings: number;
  };
}

/** Events of the order itself; others are on topics of their own. */
const OWN = "order.";

export function judgeCluster(
  orders: Pick<Evidence, "orders" | "timelines">,
  found: ClusterEvidence,
): readonly Violation[] {
  return [
    ...judgeCancels(orders, found.cancels),
    ...judgePublished(orders.timelines, found.published),
    ...judgeLeftovers(found),
    ...judgeZombie(found),
    ...judgeLeaver(found),
  ];
}

/** How many events of its own each order should have at the broker, in all. */
export function eventsExpected(timelines: Evidence["timelines"]): number {
  return [...timelines.values()].reduce((sum, timeline) => sum + ownTypes(timeline).length, 0);
}

function judgeCancels(
  { orders, timelines }: Pick<Evidence, "orders" | "timelines">,
  cancels: readonly CancelRecord[],
): readonly Violation[] {
  return cancels.flatMap(({ orderId, outcome, detail }): readonly Violation[] => {
    const status = orders.get(orderId)?.status ?? "unread";
    const cancelled = (timelines.get(orderId) ?? []).find(({ type }) => type === "order.cancelled");
    const wasAsked = cancelled?.data["reason"] === "requested";
    const broken = (text: string): readonly Violation[] => [
      { check: "cancels", subject: orderId, detail: text },
    ];
    if (detail !== "") return broken(`${outcome}: ${detail}`);
    if (outcome === "unknown") return broken("404 for an order that was acknowledged");
    if (outcome === "cancelled" && status !== "cancelled")
      return broken(`200, and it is ${status}`);
    if (outcome === "refused" && wasAsked) return broken("409, and it was cancelled as requested");
    return [];
  });
}

function judgePublished(
  timelines: Evidence["timelines"],
  published: PublishedEvents,
): readonly Violation[] {
  const violations: Violation[] = [];
  for (const [subject, timeline] of timelines) {
    const due = ownTypes(timeline).join(", ");
    const are = (published.get(subject) ?? []).join(", ");
    if (are === due) continue;
    violations.push({ check: "events", subject, detail: `published ${are}; happened ${due}` });
  }
  return violations;
}

function judgeLeftovers(found: ClusterEvidence): readonly Violation[] {
  const { outboxFrames, timers, deadLetters, doubledCustomers, living } = found.leftovers;
  const violations: Violation[] = [];
  const rest = (subject: string, detail: string): void => {
    violations.push({ check: "rest", subject, detail });
  };
  if (outboxFrames > 0) rest("outbox", `${outboxFrames} frames were never published`);
  if (timers > 0) rest("timers", `${timers} never fired`);
  for (const { group, topic, reason, error } of deadLetters) {
    const detail = `${topic}: ${reason}: ${error}`;
    violations.push({ check: "letters", subject: group, detail });
  }
  for (const subject of doubledCustomers) {
    violations.push({ check: "doubled", subject, detail: "more than one row of an order" });
  }
  const expected = found.living.toSorted().join(", ");
  const are = living.toSorted().join(", ");
  if (are !== expected) rest("leases", `of ${are}; what runs is ${expected}`);
  for (const [name, detail] of found.unwell) rest(name, `is not well: ${detail}`);
  return violations;
}

function judgeZombie({ zombie }: ClusterEvidence): readonly Violation[] {
  if (zombie === undefined) return [];
  const problems = [
    ...(zombie.wasFenced ? [] : ["it slept through its session and was not fenced"]),
    // It slept with payments under way: what came of them it tried to store when it woke.
    ...(zombie.refusedCommits > 0 ? [] : [unrefused(zombie)]),
  ];
  return problems.map((detail) => ({ check: "fence", subject: zombie.name, detail }));
}

/** It lets go of everything before another asks for it: nobody need be kept off. */
function judgeLeaver({ leaver }: ClusterEvidence): readonly Violation[] {
  if (leaver === undefined) return [];
  const { name, refusedCommits, fencings } = leaver;
  const problems = [
    ...(fencings === 0 ? [] : ["it left in order and was fenced"]),
    ...(refusedCommits === 0 ? [] : [`${refusedCommits} commits came late while it left`]),
  ];
  return problems.map((detail) => ({ check: "fence", subject: name, detail }));
}

function unrefused({ pauses, cutTransactions }: Required<ClusterEvidence>["zombie"]): string {
  const cut = `the database rolled back ${cutTransactions} transactions of who fell silent`;
  return `nothing that it wrote late was refused in ${pauses} pauses; ${cut}`;
}

function ownTypes(timeline: readonly TimelineEvent[]): readonly string[] {
  return timeline.map(({ type }) => type).filter((type) => type.startsWith(OWN));
}
