/** How often the outbox is looked at, and who hears of what went wrong. No database. */

import { expect, test } from "bun:test";

import { InvariantError, ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { createOutboxLook } from "./outbox-relay-look.ts";

function setUp() {
  const { settle } = createVirtualEnvironment();
  const looks: PromiseWithResolvers<void>[] = [];
  const failures: unknown[] = [];
  const logged: string[] = [];
  const beat = createOutboxLook({
    check() {
      const look = Promise.withResolvers<void>();
      looks.push(look);
      return look.promise;
    },
    onFailure: (error) => void failures.push(error),
    onLog: (level, text) => void logged.push(`${level} ${text}`),
  });
  return { looks, failures, logged, beat, settle };
}

test("there is one look at a time, and another after it, whatever came of it", async () => {
  const { looks, logged, failures, beat, settle } = setUp();
  for (let beats = 0; beats < 3; beats++) beat();
  expect(looks).toHaveLength(1);
  looks[0]?.resolve();
  await settle();
  beat();
  beat();
  expect(looks).toHaveLength(2);
  looks[1]?.reject(new ShopError("STORAGE_FAULT", "away", "later"));
  await settle();
  beat();
  expect(looks).toHaveLength(3);
  expect(logged).toEqual([expect.stringMatching(/^debug outbox: .*away/)]);
  expect(failures).toEqual([]);
});

test("a bug is told as one", async () => {
  const { looks, logged, failures, beat, settle } = setUp();
  beat();
  const bug = new InvariantError("cannot be");
  looks[0]?.reject(bug);
  await settle();
  expect(failures).toEqual([bug]);
  expect(logged).toEqual([]);
});
