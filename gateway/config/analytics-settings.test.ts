/**
 * The settings of analytics: their defaults are the view's, and what they allow the view takes.
 */

import { expect, test } from "bun:test";

import { Value } from "@sinclair/typebox/value";

import {
  ANALYTICS_SETTINGS,
  checkAnalyticsSettings,
} from "../../actors/analytics/analytics-tuning.ts";
import { AnalyticsSettingsSchema } from "./analytics-settings.ts";

test("the defaults are those of the view, every one of them", () => {
  const defaults: Record<string, unknown> = Value.Create(AnalyticsSettingsSchema);
  expect(defaults).toEqual({ store: "embedded", ...ANALYTICS_SETTINGS });
});

test("the widest lateness with the shortest memory is one that the view takes", () => {
  const settings = Value.Create(AnalyticsSettingsSchema);
  const { latenessMs, minuteRetentionMs, hourRetentionMs, seenRetentionMs } =
    AnalyticsSettingsSchema.properties;
  const narrow = {
    ...settings,
    latenessMs: latenessMs.maximum ?? 0,
    minuteRetentionMs: minuteRetentionMs.minimum ?? 0,
    hourRetentionMs: hourRetentionMs.minimum ?? 0,
    seenRetentionMs: seenRetentionMs.minimum ?? 0,
  };
  expect(Value.Check(AnalyticsSettingsSchema, narrow)).toBe(true);
  expect(() => checkAnalyticsSettings(narrow)).not.toThrow();
});

test("a setting out of its bounds, or one that nobody knows, is refused", () => {
  const settings = Value.Create(AnalyticsSettingsSchema);
  for (const change of [
    { frequentFrom: 1 },
    { latenessMs: -1 },
    { seenRetentionMs: 5 },
    { x: 1 },
  ]) {
    expect(Value.Check(AnalyticsSettingsSchema, { ...settings, ...change })).toBe(false);
  }
});
