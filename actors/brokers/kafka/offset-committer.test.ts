/**
 * Commits go one at a time, cover what came before them, and never outlive the ownership.
 *
 * A server that the test answers for, on a virtual clock. No I/O.
 */

import { expect, test } from "bun:test";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { OffsetCommitter } from "./offset-committer.ts";

const INTERVAL_MS = 250;

function setUp() {
  const environment = createVirtualEnvironment();
  const sent: string[] = [];
  const calls: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  const position = { of: 1 };
  let stale = 0;
  const committer = new OffsetCommitter({
    environment,
    intervalMs: INTERVAL_MS,
    snapshot: (topic, partition) => ({ topic, partition, offset: position.of, metadata: "" }),
    commit: (offsets) => {
      sent.push(offsets.map(({ partition, offset }) => `${partition}@${offset}`).join(" "));
      return new Promise<void>((resolve, reject) => void calls.push({ resolve, reject }));
    },
    onStale: () => void stale++,
    onAttempt: () => undefined,
  });
  const outcomes: string[] = [];
  const flush = (): void => {
    const at = outcomes.push("waits") - 1;
    committer.flush().then(
      () => void (outcomes[at] = "committed"),
      (error: unknown) => void (outcomes[at] = isShopError(error) ? error.code : "?"),
    );
  };
  return {
    committer,
    sent,
    position,
    outcomes,
    flush,
    stale: () => stale,
    pass: (ms = 0) => environment.advance(ms),
    async answer(error?: unknown): Promise<void> {
      const call = calls.shift();
      if (error === undefined) call?.resolve();
      else call?.reject(error);
      await environment.advance(0);
    },
  };
}

const passing = new ShopError("STORAGE_FAULT", "not now", "later");
const over = new ShopError("STALE", "not ours", "never");

test("who comes while a commit is under way waits for the next, all together", async () => {
  const { committer, sent, position, outcomes, flush, pass, answer } = setUp();
  committer.changed("t", 0);
  flush();
  await pass();
  position.of = 5;
  for (const partition of [0, 1, 2]) {
    committer.changed("t", partition);
    flush();
  }
  await pass();
  expect(sent).toEqual(["0@1"]);
  await answer();
  expect(outcomes).toEqual(["committed", "waits", "waits", "waits"]);
  expect(sent).toEqual(["0@1", "0@5 1@5 2@5"]);
  await answer();
  expect(outcomes).toEqual(["committed", "committed", "committed", "committed"]);
});

test("what nobody waits for is committed within the interval", async () => {
  const { committer, sent, pass } = setUp();
  committer.changed("t", 0);
  committer.changed("t", 0);
  await pass(INTERVAL_MS - 1);
  expect(sent).toEqual([]);
  await pass(2);
  expect(sent).toEqual(["0@1"]);
});

test("a commit that fails for a while is tried again with what has changed since", async () => {
  const { committer, sent, position, outcomes, flush, pass, answer } = setUp();
  committer.changed("t", 0);
  flush();
  await pass();
  position.of = 9;
  committer.changed("t", 1);
  await answer(passing);
  expect(outcomes).toEqual(["waits"]);
  await pass(200);
  expect(sent.map((each) => each.split(" ").toSorted().join(" "))).toEqual(["0@1", "0@9 1@9"]);
  await answer();
  expect(outcomes).toEqual(["committed"]);
});

test("when the group has gone on, who waits is told, and nothing is sent again", async () => {
  const { committer, sent, outcomes, flush, pass, answer, stale } = setUp();
  committer.changed("t", 0);
  flush();
  await pass();
  flush();
  await answer(over);
  await pass(5_000);
  expect(outcomes).toEqual(["STALE", "STALE"]);
  expect(sent).toEqual(["0@1"]);
  expect(stale()).toBe(1);
});

test("an answer that comes after the partitions were dropped is for nobody", async () => {
  const { committer, sent, outcomes, flush, pass, answer } = setUp();
  committer.changed("t", 0);
  flush();
  await pass();
  committer.drop();
  await pass();
  expect(outcomes).toEqual(["STALE"]);
  committer.changed("t", 7);
  flush();
  await answer(passing);
  expect(sent).toEqual(["0@1", "7@1"]);
  await answer();
  expect(outcomes).toEqual(["STALE", "committed"]);
});
