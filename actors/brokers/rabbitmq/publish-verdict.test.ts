/**
 * What a publisher is told, as a table from what the server said of its frames.
 *
 * The rule behind the rows: never "stored" unless all are, never "not stored" unless none can be.
 */

import { expect, test } from "bun:test";

import type { ErrorCode } from "../../../runtime/errors.ts";
import type { BatchCount } from "./publish-verdict.ts";

import { publishVerdict } from "./publish-verdict.ts";

const NOTHING = { frames: 3, stored: 0, unrouted: 0, declined: 0, unsure: 0, unsent: 0 };

test("each outcome of a batch has the answer that may be relied on", () => {
  const table: [Partial<BatchCount>, ErrorCode | undefined][] = [
    [{ stored: 3 }, undefined],
    [{ unsent: 3, cause: "blocked" }, "STORAGE_FULL"],
    [{ unsent: 3, cause: "closed" }, "CLOSED"],
    [{ unsent: 3, cause: "down" }, "STORAGE_FAULT"],
    [{ unsent: 3, cause: "late" }, "STORAGE_FAULT"],
    [{ unsent: 3, cause: "unfit" }, "BAD_MESSAGE"],
    [{ unrouted: 3 }, "UNKNOWN_TOPIC"],
    [{ declined: 3 }, "STORAGE_FULL"],
    [{ unsure: 1, unsent: 2, cause: "down" }, "INDETERMINATE"],
    [{ stored: 2, unsure: 1 }, "INDETERMINATE"],
    [{ stored: 2, declined: 1 }, "INDETERMINATE"],
    [{ stored: 1, unsent: 2, cause: "blocked" }, "INDETERMINATE"],
    [{ unsure: 1, unsent: 2, cause: "unfit" }, "INDETERMINATE"],
    [{ stored: 1, unrouted: 2 }, "INDETERMINATE"],
  ];
  for (const [count, code] of table) {
    const verdict = publishVerdict({ ...NOTHING, cause: "late", ...count });
    expect(verdict?.code).toBe(code);
  }
});

test("a topic that nobody reads is told with the setting that would help", () => {
  const verdict = publishVerdict({ ...NOTHING, unrouted: 3, cause: "late" });
  expect(verdict?.message).toContain("rabbitmq.groups");
  expect(verdict?.retry).toBe("never");
});
