/** How long a fault was felt, from timelines made up by hand. Clocks and servers play no part. */

import { describe, expect, test } from "bun:test";

import type { Attempt, TimelineEvent } from "./evidence.ts";

import { slotOf } from "../runtime/frames/murmur2.ts";
import { recoveryOf } from "./recovery-figures.ts";

const SLOTS = 4;
const FAULT_MS = 10_000;

/** An order that was due at `dueMs` and through `tookMs` later. */
interface Made {
  readonly id: string;
  readonly dueMs: number;
  readonly tookMs: number;
  readonly end?: string;
}

function evidenceOf(orders: readonly Made[]) {
  const attempts = orders.map(({ id, dueMs }): Attempt => {
    const order = {
      customerId: id,
      idempotencyKey: id,
      items: [],
      totalMinor: 0,
      currency: "USD",
    };
    return {
      order,
      outcome: { kind: "acknowledged", orderIds: [id], totalMinor: 0 },
      intendedAtMs: dueMs,
    };
  });
  const timelines = new Map(
    orders.map(({ id, dueMs, tookMs, end = "order.ready_to_ship" }) => {
      const created: TimelineEvent = { version: 1, type: "order.created", atMs: dueMs, data: {} };
      return [id, [created, { version: 2, type: end, atMs: dueMs + tookMs, data: {} }]] as const;
    }),
  );
  return { attempts, timelines };
}

/** An id in slot `slot`. */
function idIn(slot: number, nth = 0): string {
  const ids = Array.from({ length: 200 }, (_, index) => `o${index}`);
  const id = ids.filter((each) => slotOf(each, SLOTS) === slot)[nth];
  if (id === undefined) throw new Error(`no id in slot ${slot}`);
  return id;
}

/** The first orders of a run warm it up. */
const cold: Made = { id: idIn(0, 4), dueMs: 5_000, tookMs: 4_000 };
const before: Made = { id: idIn(0, 5), dueMs: 9_000, tookMs: 200 };

describe("a recovery", () => {
  test("counts to the first order through that needed a slot that moved", () => {
    const stayed = { id: idIn(1), dueMs: FAULT_MS + 10, tookMs: 100 };
    const waited = { id: idIn(2), dueMs: FAULT_MS + 50, tookMs: 4_000 };
    const later = { id: idIn(2, 1), dueMs: FAULT_MS + 4_000, tookMs: 300 };
    const evidence = evidenceOf([before, stayed, waited, later]);
    const found = recoveryOf(evidence, {
      faultMs: FAULT_MS,
      movedSlots: new Set([2]),
      slots: SLOTS,
    });
    expect(found.movedMs).toBe(4_050);
    expect(recoveryOf(evidence, { faultMs: FAULT_MS, slots: SLOTS }).movedMs).toBe(110);
  });

  test("of slots that were served until they moved counts orders due after that", () => {
    const early = { id: idIn(2), dueMs: FAULT_MS + 10, tookMs: 100 };
    const late = { id: idIn(2, 1), dueMs: FAULT_MS + 2_000, tookMs: 100 };
    const terms = { faultMs: FAULT_MS, movedSlots: new Set([2]), slots: SLOTS };
    const evidence = evidenceOf([early, late]);
    expect(recoveryOf(evidence, { ...terms, movedFromMs: FAULT_MS + 500 }).movedMs).toBe(2_100);
  });

  test("is over with the last order that took too long, whatever it ended in", () => {
    const slow = { id: idIn(0), dueMs: FAULT_MS - 100, tookMs: 3_000, end: "order.cancelled" };
    const fine = { id: idIn(0, 1), dueMs: FAULT_MS + 9_000, tookMs: 900 };
    const found = recoveryOf(evidenceOf([cold, before, slow, fine]), {
      faultMs: FAULT_MS,
      slots: SLOTS,
    });
    expect(found).toMatchObject({ beforeP99Ms: 200, limitMs: 1_000, slow: 1, steadyMs: 2_900 });
    expect(found.worstMs).toBe(4_000);
  });

  test("is not mixed up with what was done on purpose after it", () => {
    const orders = [
      { id: "a", dueMs: 900, tookMs: 10 },
      { id: "b", dueMs: 1_200, tookMs: 2_000 },
      { id: "c", dueMs: 9_000, tookMs: 5_000 },
    ];
    const terms = { faultMs: 1_000, slots: SLOTS };
    expect(recoveryOf(evidenceOf(orders), terms)).toMatchObject({ slow: 2, worstMs: 5_000 });
    const figures = recoveryOf(evidenceOf(orders), { ...terms, untilMs: 8_000 });
    expect(figures).toMatchObject({ slow: 1, steadyMs: 2_200, worstMs: 2_000 });
  });

  test("that nobody felt took no time", () => {
    const found = recoveryOf(evidenceOf([before]), { faultMs: FAULT_MS, slots: SLOTS });
    expect(found).toMatchObject({ movedMs: undefined, slow: 0, steadyMs: 0 });
  });
});
