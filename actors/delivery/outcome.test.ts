/** What becomes of a frame whose handler failed: who is to blame decides. */

import { describe, expect, test } from "bun:test";

import { ShopError } from "../../runtime/errors.ts";
import { outcomeOfFailure } from "./outcome.ts";

describe("a handler that failed", () => {
  test("for what can never succeed has its frame buried under the code", () => {
    const error = new ShopError("BAD_MESSAGE", "no", "never");
    expect(outcomeOfFailure(error)).toEqual({ kind: "bury", reason: "bad_message", error });
  });

  test.each(["FENCED", "CLOSED"] as const)("as %s leaves its frame to the next owner", (code) => {
    const error = new ShopError(code, "not ours any more", "never");
    expect(outcomeOfFailure(error)).toEqual({ kind: "retry", error });
  });
});
