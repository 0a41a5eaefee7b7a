/**
 * The settings of the views: how they read the log, and when one counts as late.
 *
 * The defaults are those of `actors/views/view-settings.ts`. Refuses batches of more than one
 * flush could carry, and a pace that would keep an idle shop busy.
 */

import { VIEW_SETTINGS } from "../../actors/views/view-settings.ts";
import { group, HOUR_MS, integer, MIB, MINUTE_MS, SECOND_MS } from "./setting-types.ts";

const LAG_DEGRADED_MS = 10 * SECOND_MS;

/** `views`: what audit and analytics have in common. */
export const ViewsConfig = group({
  batchRecords: integer(1, 100_000, VIEW_SETTINGS.recordsMax, "records a view applies together"),
  batchBytes: integer(MIB, 64 * MIB, VIEW_SETTINGS.bytesMax, "bytes a view applies together"),
  flushMs: integer(
    10,
    MINUTE_MS,
    VIEW_SETTINGS.flushMs,
    "on the journal: longest wait for a batch to fill",
  ),
  gatherMs: integer(
    0,
    10 * SECOND_MS,
    VIEW_SETTINGS.gatherMs,
    "of a view on a server: from one batch to the next under traffic",
  ),
  lagDegradedMs: integer(
    SECOND_MS,
    HOUR_MS,
    LAG_DEGRADED_MS,
    "age of the oldest record not taken; above: health is degraded",
  ),
});
