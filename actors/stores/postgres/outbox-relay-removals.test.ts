/** When a flush of the removals is over. No database. */

import { expect, test } from "bun:test";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { OutboxRemovals } from "./outbox-relay-removals.ts";

test("a flush waits for what was there before it, not for what comes meanwhile", async () => {
  const environment = createVirtualEnvironment();
  const asked: (readonly number[])[] = [];
  const removals = new OutboxRemovals({
    environment,
    table: {
      async remove(ids) {
        asked.push(ids);
        // Others never cease to publish.
        removals.add([asked.length + 100]);
        await new Promise<void>((resolve) => void environment.startTimer(10, resolve));
      },
    },
  });
  removals.add([1, 2]);
  let isOver = false;
  void removals.flush().then(() => (isOver = true));
  await environment.advance(9);
  expect(isOver).toBe(false);
  await environment.advance(1);
  expect(isOver).toBe(true);
  expect(asked).toEqual([[1, 2]]);
});

test("what could not be removed is waited for again", async () => {
  const environment = createVirtualEnvironment();
  let isAway = true;
  const removed: number[] = [];
  const removals = new OutboxRemovals({
    environment,
    table: {
      async remove(ids) {
        if (isAway) throw new Error("away");
        removed.push(...ids);
      },
    },
  });
  removals.add([1, 2]);
  await expect(removals.flush()).rejects.toThrow("away");
  isAway = false;
  await removals.flush();
  expect(removed).toEqual([1, 2]);
  await removals.close();
  expect(environment.pendingTimers()).toBe(0);
});
