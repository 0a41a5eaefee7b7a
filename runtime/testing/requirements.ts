/**
 * Tests that need something the machine may not have: skipped with a printed reason, or refused.
 *
 * `SHOPSTREAM_REQUIRE=kafka,redis` names what must be there; a test that would be skipped for lack
 * of one of these fails instead. A skip without a reason cannot be expressed.
 */

import { assert } from "../errors.ts";

/**
 * True when the tests may run: `describe.skipIf(!requireOrSkip("kafka", up, "no broker"))(…)`.
 *
 * Prints `skip: name: reason` when not `available`, which the test command collects. Throws
 * `InvariantError` when `name` is among the required ones.
 */
export function requireOrSkip(
  name: string,
  available: boolean,
  reason: string,
  required: string | undefined = process.env["SHOPSTREAM_REQUIRE"],
): boolean {
  if (available) return true;
  const names = (required ?? "").split(",").map((each) => each.trim());
  assert(!names.includes(name), `${name} is required by SHOPSTREAM_REQUIRE: ${reason}`);
  console.log(`skip: ${name}: ${reason}`);
  return false;
}
