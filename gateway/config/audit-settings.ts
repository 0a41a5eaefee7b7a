/**
 * The settings of the audit.
 *
 * What is recorded and for how long is no setting: everything, for ever. It refuses a cache that
 * would not hold the tops of the indexes.
 */

import { AUDIT_SETTINGS } from "../../actors/audit/audit-projection.ts";
import { GIB, group, HOUR_MS, integer, MIB, SECOND_MS } from "./setting-types.ts";
import { AuditStoreSetting } from "./systems-settings.ts";

export const AuditSettings = group({
  store: AuditStoreSetting,
  cacheBytes: integer(MIB, 4 * GIB, AUDIT_SETTINGS.cacheBytes, "audit database kept in memory"),
  anchorMs: integer(
    SECOND_MS,
    24 * HOUR_MS,
    AUDIT_SETTINGS.anchorMs,
    "time between two log lines with count and hash of the audit's head",
  ),
});
