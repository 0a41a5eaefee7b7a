/** Which failures end a shard's thread, before and while it stops. No thread is ended here. */

import { describe, expect, test } from "bun:test";

import { ShopError } from "../runtime/errors.ts";
import { createShardFailures } from "./shard-failure.ts";

const FENCED = new ShopError("FENCED", "another shard has taken over", "never");
const BUG = new TypeError("x is not a function");

function setUp() {
  const deferred: (() => void)[] = [];
  const logged: string[] = [];
  const environment = { defer: (act: () => void) => void deferred.push(act) };
  const failures = createShardFailures(environment, (_level, text) => void logged.push(text));
  return { deferred, logged, failures };
}

describe("a failure of a shard", () => {
  test.each([FENCED, BUG])("ends the thread, in a turn of its own: %s", (error) => {
    const { failures, deferred, logged } = setUp();
    failures.onFailure(error);
    expect(logged).toEqual([]);
    expect(deferred).toHaveLength(1);
    expect(() => deferred[0]?.()).toThrow(error.message);
  });

  test("that is its fence ends nothing once it is stopping: it has groups to leave", () => {
    const { failures, deferred, logged } = setUp();
    failures.stopping();
    failures.onFailure(FENCED);
    expect(deferred).toEqual([]);
    expect(logged).toEqual(["fenced while it stops: FENCED: another shard has taken over"]);
  });

  test("that is a bug ends it while it stops as well", () => {
    const { failures, deferred } = setUp();
    failures.stopping();
    failures.onFailure(BUG);
    expect(deferred).toHaveLength(1);
  });
});
