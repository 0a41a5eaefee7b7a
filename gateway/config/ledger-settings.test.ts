/**
 * The ledger's settings: the defaults agree with those of the watch, and an interval never makes
 * slow work look hung.
 */

import { expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";

import { LEDGER_SETTINGS } from "../../actors/ledger/ledger-watch.ts";
import { LedgerGroup, ledgerSettingsOf } from "./ledger-settings.ts";

test("the defaults are those of the watch", () => {
  expect(ledgerSettingsOf(Value.Create(LedgerGroup))).toEqual(LEDGER_SETTINGS);
});

test("work has two minutes before it counts as hung, however often it is asked after", () => {
  expect(ledgerSettingsOf({ everyMs: 100 }).hangRounds).toBe(1_200);
  expect(ledgerSettingsOf({ everyMs: 600_000 }).hangRounds).toBe(2);
});

test("an interval that would be a load of its own is out of bounds", () => {
  expect(Value.Check(LedgerGroup, { everyMs: 99 })).toBe(false);
  expect(Value.Check(LedgerGroup, { everyMs: 100 })).toBe(true);
});
