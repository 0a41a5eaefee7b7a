/**
 * The fraud settings: their defaults are the thresholds', and what they allow the rules take.
 */

import { describe, expect, test } from "bun:test";

import { Value } from "@sinclair/typebox/value";

import { termsOf } from "../../actors/fraud/fraud-rules.ts";
import { FRAUD_SETTINGS, FRAUD_THRESHOLDS, RECENT_MAX } from "../../actors/fraud/thresholds.ts";
import { FraudConfig } from "./fraud-settings.ts";

const DEFAULTS = Value.Create(FraudConfig);

test("the defaults are those of the fraud check, which is on", () => {
  const { mode, state, timeoutMs, gatherMs, ...thresholds } = DEFAULTS;
  expect([mode, state]).toEqual(["block", "store"]);
  expect({ timeoutMs, gatherMs }).toEqual({
    timeoutMs: FRAUD_SETTINGS.timeoutMs,
    gatherMs: FRAUD_SETTINGS.gatherMs,
  });
  expect(thresholds).toEqual(structuredClone(FRAUD_THRESHOLDS) as typeof thresholds); // same fields
});

describe("a setting", () => {
  const bad: readonly (readonly [what: string, fraud: unknown])[] = [
    ["a mode that approves", { ...DEFAULTS, mode: "approve" }],
    ["a score that blocks everything", { ...DEFAULTS, blockScore: 0 }],
    ["a score that nothing reaches", { ...DEFAULTS, blockScore: 101 }],
    [
      "a velocity that a profile cannot count",
      { ...DEFAULTS, customer: { windowMs: 1_000, ordersMax: RECENT_MAX } },
    ],
    [
      "a denied country that is none",
      { ...DEFAULTS, deny: { ...DEFAULTS.deny, countries: ["X"] } },
    ],
    [
      "a deny list with a repeat",
      { ...DEFAULTS, deny: { ...DEFAULTS.deny, customers: ["eve", "eve"] } },
    ],
    [
      "a deny list without an end",
      {
        ...DEFAULTS,
        deny: { ...DEFAULTS.deny, cards: Array.from({ length: 1_001 }, (_, at) => `f${at}`) },
      },
    ],
    ["a name nobody knows", { ...DEFAULTS, blockscore: 50 }],
  ];
  for (const [what, fraud] of bad) {
    test(`refuses ${what}`, () => {
      expect(Value.Check(FraudConfig, fraud)).toBe(false);
    });
  }
  test("at its bounds is one that the rules take", () => {
    for (const ordersMax of [1, RECENT_MAX - 1]) {
      const customer = { windowMs: 1_000, ordersMax };
      const fraud = { ...DEFAULTS, blockScore: 1, customer };
      expect(Value.Check(FraudConfig, fraud)).toBe(true);
      expect(() => termsOf(fraud)).not.toThrow();
    }
  });
});
