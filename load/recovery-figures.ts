/**
 * How long a fault was felt, from the timelines of the orders: nothing polls while it is measured.
 *
 * An order is through when it is ready to ship or cancelled; until then payment, inventory and its
 * own decisions all had to happen somewhere. Due times are the client's clock and the rest the
 * processes', so both must be of one machine.
 */

import { slotOf } from "../runtime/frames/murmur2.ts";
import { summarize } from "./latency-summary.ts";
import type { Evidence } from "./evidence.ts";

export interface RecoveryFigures {
  /** Due to through, of orders through before the fault and due in the later half of that time. */
  readonly beforeP99Ms: number;
  /**
   * From the fault to the first order through that was due after it, or after `movedFromMs`, and is
   * in a slot that had to move; any slot when none did. Absent when there was none.
   */
  readonly movedMs: number | undefined;
  /** Orders that took longer than `limitMs`. */
  readonly slow: number;
  /** Twice what was usual before, and at least a second. */
  readonly limitMs: number;
  /** From the fault to the last slow order through: from then on everything is as it was. */
  readonly steadyMs: number;
  readonly worstMs: number;
}

export interface RecoveryTerms {
  /** When it happened, in milliseconds since the epoch. */
  readonly faultMs: number;
  /** Absent: all. */
  readonly movedSlots?: ReadonlySet<number>;
  readonly movedFromMs?: number;
  /** Orders that were due later are not looked at. */
  readonly untilMs?: number;
  readonly slots: number;
}

const LIMIT_MIN_MS = 1_000;
const THROUGH = ["order.ready_to_ship", "order.cancelled"];

interface Passage {
  readonly slot: number;
  readonly dueMs: number;
  readonly throughMs: number;
}

export function recoveryOf(
  evidence: Pick<Evidence, "attempts" | "timelines">,
  { faultMs, movedSlots, movedFromMs = faultMs, untilMs = Infinity, slots }: RecoveryTerms,
): RecoveryFigures {
  const passages = passagesOf(evidence, slots).filter(({ dueMs }) => dueMs <= untilMs);
  const tookMs = ({ dueMs, throughMs }: Passage): number => throughMs - dueMs;
  const firstDueMs = passages.reduce((least, { dueMs }) => Math.min(least, dueMs), faultMs);
  const warmMs = (firstDueMs + faultMs) / 2;
  const before = passages.filter((each) => each.dueMs >= warmMs && each.throughMs < faultMs);
  const beforeP99Ms = summarize(before.map(tookMs)).p99Ms;
  const limitMs = Math.max(LIMIT_MIN_MS, 2 * beforeP99Ms);
  const slow = passages.filter((each) => each.throughMs >= faultMs && tookMs(each) > limitMs);
  const moved = passages.filter(
    ({ slot, dueMs }) => dueMs >= movedFromMs && (movedSlots?.has(slot) ?? true),
  );
  return {
    beforeP99Ms,
    limitMs,
    movedMs: moved.length === 0 ? undefined : earliest(moved) - faultMs,
    slow: slow.length,
    steadyMs: slow.reduce((last, each) => Math.max(last, each.throughMs - faultMs), 0),
    worstMs: passages.reduce((worst, each) => Math.max(worst, tookMs(each)), 0),
  };
}

function passagesOf(
  { attempts, timelines }: Pick<Evidence, "attempts" | "timelines">,
  slots: number,
): readonly Passage[] {
  return attempts.flatMap(({ outcome, intendedAtMs: dueMs }) => {
    const id = outcome.kind === "acknowledged" ? outcome.orderIds[0] : undefined;
    const timeline = id === undefined ? undefined : timelines.get(id);
    const through = timeline?.find(({ type }) => THROUGH.includes(type));
    if (id === undefined || through === undefined) return [];
    return [{ slot: slotOf(id, slots), dueMs, throughMs: through.atMs }];
  });
}

function earliest(passages: readonly Passage[]): number {
  return passages.reduce((least, { throughMs }) => Math.min(least, throughMs), Infinity);
}
