/**
 * What is tried again and how often, and what is not. Nothing waits: the pauses are none.
 */

import { expect, test } from "bun:test";

import { ShopError } from "../../runtime/errors.ts";
import { tryAgain } from "./try-again.ts";

const LATER = new ShopError("SERVER_UNUSABLE", "the mirror is away", "later");
const NEVER = new ShopError("SERVER_UNUSABLE", "this machine has no apt-get", "never");
const BUG = new TypeError("undefined is no function");

/** Fails with `errors` one after the other, then says "done". */
function failing(...errors: readonly Error[]) {
  const told: string[] = [];
  let tries = 0;
  const work = async (): Promise<string> => {
    const error = errors[tries++];
    if (error !== undefined) throw error;
    return "done";
  };
  const run = () => tryAgain(work, { tell: (line) => void told.push(line), pauseMs: 0 });
  return { run, told, tries: () => tries };
}

test("what works the first time is done once, and nothing is told", async () => {
  const { run, told, tries } = failing();
  expect(await run()).toBe("done");
  expect([tries(), told]).toEqual([1, []]);
});

test("what may pass is tried again, and told each time", async () => {
  const { run, told, tries } = failing(LATER, LATER);
  expect(await run()).toBe("done");
  const line = "the mirror is away\nagain in 0 s";
  expect([tries(), told]).toEqual([3, [line, line]]);
});

test("what does not pass is given up after three tries, in its own words", async () => {
  const { run, tries } = failing(LATER, LATER, LATER);
  await expect(run()).rejects.toBe(LATER);
  expect(tries()).toBe(3);
});

test.each([[NEVER], [BUG]])("%s is not tried again", async (error) => {
  const { run, tries } = failing(error);
  await expect(run()).rejects.toBe(error);
  expect(tries()).toBe(1);
});
