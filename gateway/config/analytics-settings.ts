/**
 * The settings of analytics: how long it keeps what, and where its categories begin.
 *
 * The defaults are those of `actors/analytics/analytics-tuning.ts`. The bounds keep them apart:
 * what may still change is always kept, so no setting here can make the view refuse another.
 */

import { ANALYTICS_SETTINGS } from "../../actors/analytics/analytics-tuning.ts";
import { AMOUNT_MINOR_MAX } from "../../actors/contracts/money.ts";
import { DAY_MS, group, HOUR_MS, integer, MINUTE_MS, YEAR_MS } from "./setting-types.ts";
import { AnalyticsStoreSetting } from "./systems-settings.ts";

const initial = ANALYTICS_SETTINGS;
const COUNT_MAX = 100_000_000;

/** `analytics`: its values are the view's settings, as they are, and where it keeps them. */
export const AnalyticsSettingsSchema = group({
  store: AnalyticsStoreSetting,
  latenessMs: integer(
    0,
    12 * HOUR_MS,
    initial.latenessMs,
    "age up to which an event changes its window; older: counted as late",
  ),
  aheadMs: integer(0, HOUR_MS, initial.aheadMs, "how far ahead an event's time may be"),
  minuteRetentionMs: integer(
    DAY_MS,
    YEAR_MS,
    initial.minuteRetentionMs,
    "age of windows of a minute",
  ),
  hourRetentionMs: integer(
    DAY_MS,
    10 * YEAR_MS,
    initial.hourRetentionMs,
    "age of windows of an hour",
  ),
  seenRetentionMs: integer(
    DAY_MS,
    YEAR_MS,
    initial.seenRetentionMs,
    "age of the ids that make a repeated message count once: 4 rows an order, 28 bytes each",
  ),
  minuteValuesMax: integer(
    1,
    100_000,
    initial.minuteValuesMax,
    "products, events, … a minute tells apart; the rest: (other)",
  ),
  hourValuesMax: integer(
    1,
    1_000_000,
    initial.hourValuesMax,
    "products, events, … an hour tells apart; the rest: (other)",
  ),
  customersMax: integer(1, COUNT_MAX, initial.customersMax, "customers whose orders are counted"),
  openOrdersMax: integer(
    1,
    COUNT_MAX,
    initial.openOrdersMax,
    "orders remembered until their payment",
  ),
  openOrderAgeMs: integer(MINUTE_MS, YEAR_MS, initial.openOrderAgeMs, "for how long, at most"),
  frequentFrom: integer(
    2,
    1_000_000,
    initial.frequentFrom,
    "orders from which on a customer is frequent",
  ),
  mediumFromMinor: integer(
    0,
    AMOUNT_MINOR_MAX,
    initial.mediumFromMinor,
    "total from which on an order is medium, in minor units",
  ),
  largeFromMinor: integer(0, AMOUNT_MINOR_MAX, initial.largeFromMinor, "the same of a large one"),
  xlFromMinor: integer(0, AMOUNT_MINOR_MAX, initial.xlFromMinor, "the same of an xl one"),
});
