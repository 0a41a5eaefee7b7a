/**
 * A missing requirement is skipped aloud, or fails when it was asked for. Never silently passed.
 */

import { afterEach, expect, spyOn, test } from "bun:test";

import { InvariantError } from "../errors.ts";
import { requireOrSkip } from "./requirements.ts";

const printed = spyOn(console, "log").mockImplementation(() => undefined);

afterEach(() => {
  printed.mockClear();
});

test("an available requirement runs and prints nothing", () => {
  expect(requireOrSkip("kafka", true, "no broker", "kafka")).toBe(true);
  expect(printed).not.toHaveBeenCalled();
});

test("a missing requirement is skipped with its reason printed", () => {
  expect(requireOrSkip("kafka", false, "no broker on 9092", undefined)).toBe(false);
  expect(requireOrSkip("kafka", false, "no broker on 9092", "redis, kafkaesque")).toBe(false);
  expect(printed.mock.calls[0]).toEqual(["skip: kafka: no broker on 9092"]);
});

test("a missing requirement that SHOPSTREAM_REQUIRE names is a failure", () => {
  expect(() => requireOrSkip("kafka", false, "no broker", "redis, kafka")).toThrow(InvariantError);
});
