/**
 * The settings of the audit on Elasticsearch as data: their defaults are the store's own.
 * Whether a server can be used is tested with the store.
 */

import { Value } from "@sinclair/typebox/value";
import { expect, test } from "bun:test";

import { ELASTIC_SETTINGS } from "../../actors/audit/elastic/elastic-settings.ts";
import { ElasticsearchGroup } from "./elasticsearch-settings.ts";

test("the defaults are those of the store, and are allowed", () => {
  expect(Value.Create(ElasticsearchGroup)).toEqual(ELASTIC_SETTINGS);
  expect(Value.Check(ElasticsearchGroup, ELASTIC_SETTINGS)).toBe(true);
});

test("what an index cannot be called is no prefix", () => {
  for (const prefix of ["", "Audit", "_audit", "a b", "a/b", "a*"]) {
    expect(Value.Check(ElasticsearchGroup, { ...ELASTIC_SETTINGS, prefix })).toBe(false);
  }
});

test("password and key are marked as secrets", () => {
  expect(ElasticsearchGroup.properties.password["secret"]).toBe(true);
  expect(ElasticsearchGroup.properties.apiKey["secret"]).toBe(true);
});
