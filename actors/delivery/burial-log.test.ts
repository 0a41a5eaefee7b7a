/** Lines about burials: each said at once, floods counted, nothing left unsaid. */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createBurialLog } from "./burial-log.ts";

const PERIOD_MS = 5_000;

function openLog() {
  const environment = createVirtualEnvironment();
  const lines: string[] = [];
  const log = createBurialLog(environment, (text) => void lines.push(text));
  function bury(group: string, reason: string, times = 1): void {
    for (let sequence = 1; sequence <= times; sequence++) {
      log.buried(group, {
        kind: "buried",
        delivery: { group, topic: "orders", partition: 3, sequence, epoch: 1 },
        burial: { reason, attempts: 1, firstError: "no", lastError: "no" },
      });
    }
  }
  return { environment, log, lines, bury };
}

test("of each group and reason one line is said at once and the rest is counted", async () => {
  const { environment, lines, bury } = openLog();
  bury("payment", "poison", 1_000);
  bury("payment", "bad_frame");
  bury("order", "poison", 2);
  expect(lines).toEqual([
    "payment buried orders/3/1: poison: no",
    "payment buried orders/3/1: bad_frame: no",
    "order buried orders/3/1: poison: no",
  ]);
  lines.length = 0;
  await environment.advance(PERIOD_MS);
  expect(lines).toEqual([
    "payment buried, poison: 999 more were left out of this log",
    "order buried, poison: 1 more were left out of this log",
  ]);
});

test("a flood that goes on is one line a period, and one that ended is silence", async () => {
  const { environment, lines, bury } = openLog();
  for (let period = 0; period < 10; period++) {
    bury("payment", "poison", 50);
    await environment.advance(PERIOD_MS);
  }
  expect(lines).toHaveLength(11);
  await environment.advance(10 * PERIOD_MS);
  expect(lines).toHaveLength(11);
  bury("payment", "poison");
  expect(lines.at(-1)).toBe("payment buried orders/3/1: poison: no");
});

test("closed, it says what is left and looks at no clock any more", async () => {
  const { environment, log, lines, bury } = openLog();
  bury("payment", "poison", 3);
  log.close();
  expect(lines.at(-1)).toContain("2 more");
  await environment.advance(10 * PERIOD_MS);
  expect(lines).toHaveLength(2);
});

test("more reasons than anybody tells apart share one line", async () => {
  const { environment, lines, bury } = openLog();
  for (let reason = 0; reason < 1_000; reason++) bury("payment", `reason ${reason}`);
  expect(lines).toHaveLength(257);
  await environment.advance(PERIOD_MS);
  expect(lines.at(-1)).toBe("buried, all others: 743 more were left out of this log");
});
