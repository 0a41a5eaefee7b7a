/**
 * The settings of PostgreSQL as data: their defaults are the store's own, each within its bounds.
 * Whether a server can be used is tested with the store.
 */

import { Value } from "@sinclair/typebox/value";
import { expect, test } from "bun:test";

import { POSTGRES_DEFAULTS } from "../../actors/stores/postgres/postgres-options.ts";
import { PostgresGroup } from "./postgres-settings.ts";

test("the defaults are those of the store, and are allowed", () => {
  expect(Value.Create(PostgresGroup)).toEqual(POSTGRES_DEFAULTS);
  expect(Value.Check(PostgresGroup, POSTGRES_DEFAULTS)).toBe(true);
});

test("a schema is a plain name", () => {
  for (const schema of ["", "Upper", 'quo"te', "a.b", "1st"]) {
    expect(Value.Check(PostgresGroup, { ...POSTGRES_DEFAULTS, schema })).toBe(false);
  }
});
