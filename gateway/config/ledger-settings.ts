/**
 * Settings of the ledger: how often each shard compares its count with the broker's.
 *
 * Refuses intervals so short that the questions themselves would be the load, and so long that
 * nobody would call it watching.
 */

import type { Static } from "@sinclair/typebox";

import type { LedgerSettings } from "../../actors/ledger/ledger-watch.ts";

import { LEDGER_SETTINGS } from "../../actors/ledger/ledger-watch.ts";
import { group, integer, MINUTE_MS } from "./setting-types.ts";

/** What has been settled and not been heard of for this long counts as hung. */
const HANG_MS = 2 * MINUTE_MS;

export const LedgerGroup = group({
  everyMs: integer(100, 10 * MINUTE_MS, LEDGER_SETTINGS.everyMs, "wait between two comparisons"),
});

/** What a shard is given. */
export function ledgerSettingsOf({
  everyMs,
}: Readonly<Static<typeof LedgerGroup>>): LedgerSettings {
  return { everyMs, hangRounds: Math.max(2, Math.ceil(HANG_MS / everyMs)) };
}
