/**
 * What analytics can be told: how long it keeps what, and where its categories begin.
 *
 * Plain, cloneable values. Refuses a lateness that outlives the windows or the ids that make a
 * repeated message count once.
 */

import type { WindowSettings } from "./event-windows.ts";

import { assert } from "../../runtime/errors.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS } from "./event-windows.ts";

export interface CategorySettings {
  /** Orders of one customer from which on the customer is `frequent`, the present one included. */
  readonly frequentFrom: number;
  /**
   * Order totals, in minor units of whatever currency, from which on an order is of that size; of
   * two that fit, the larger.
   */
  readonly mediumFromMinor: number;
  readonly largeFromMinor: number;
  readonly xlFromMinor: number;
}

export interface AnalyticsSettings extends WindowSettings, CategorySettings {
  readonly minuteRetentionMs: number;
  readonly hourRetentionMs: number;
  /**
   * How long ids of messages are kept: a message that comes again within counts once. An order has
   * four of them, a batch of behaviour one; each takes 28 bytes.
   */
  readonly seenRetentionMs: number;
  /** Values of one dimension in one window that have a row of their own; the rest is `(other)`. */
  readonly minuteValuesMax: number;
  readonly hourValuesMax: number;
  /** Customers whose orders are counted for their segment; who was away longest is forgotten. */
  readonly customersMax: number;
  /** Orders that wait for their payment, and for how long. */
  readonly openOrdersMax: number;
  readonly openOrderAgeMs: number;
}

export const ANALYTICS_SETTINGS: AnalyticsSettings = {
  latenessMs: HOUR_MS,
  aheadMs: 5 * MINUTE_MS,
  frequentFrom: 5,
  mediumFromMinor: 5_000,
  largeFromMinor: 20_000,
  xlFromMinor: 100_000,
  minuteRetentionMs: 2 * DAY_MS,
  hourRetentionMs: 400 * DAY_MS,
  seenRetentionMs: 2 * DAY_MS,
  minuteValuesMax: 1_000,
  hourValuesMax: 10_000,
  customersMax: 1_000_000,
  openOrdersMax: 1_000_000,
  openOrderAgeMs: 7 * DAY_MS,
};

export function checkAnalyticsSettings(settings: AnalyticsSettings): void {
  const { latenessMs, minuteRetentionMs, hourRetentionMs, seenRetentionMs } = settings;
  const shortestMs = Math.min(minuteRetentionMs, hourRetentionMs, seenRetentionMs);
  assert(latenessMs < shortestMs, "what may still change must be kept");
}
