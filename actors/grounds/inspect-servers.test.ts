/**
 * That looking at servers takes as long as the slowest of them may, and no longer.
 *
 * No servers, on a virtual clock.
 */

import { expect, test } from "bun:test";

import type { ServerInspection } from "./inspect-servers.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { INSPECT_WITHIN_MS, inspectAll } from "./inspect-servers.ts";

const well = () => Promise.resolve();
const silent = () => new Promise<void>(() => undefined);

function setUp(inspections: readonly (readonly [string, () => Promise<void>])[]) {
  const environment = createVirtualEnvironment();
  const asked: string[] = [];
  let outcome = "under way";
  const all = inspections.map(([setting, inspect]): ServerInspection => {
    return {
      setting,
      place: `${setting}.example:1`,
      inspect: () => (asked.push(setting), inspect()),
    };
  });
  inspectAll(all, environment).then(
    () => (outcome = "all well"),
    (error: unknown) => (outcome = String(error)),
  );
  return { environment, asked, outcome: () => outcome };
}

test("all servers are asked at once, and all must be well", async () => {
  const { environment, asked, outcome } = setUp([
    ["a.url", well],
    ["b.url", well],
  ]);
  expect(asked).toEqual(["a.url", "b.url"]);
  await environment.advance(0);
  expect(outcome()).toBe("all well");
});

test("what one of them says is passed on at once, though others are silent", async () => {
  const refused = new ShopError("SERVER_UNUSABLE", "b.url: wrong password", "never");
  const { environment, outcome } = setUp([
    ["a.url", silent],
    ["b.url", () => Promise.reject(refused)],
  ]);
  await environment.advance(0);
  expect(outcome()).toContain("b.url: wrong password");
});

test("one that never answers is given up by the name of its setting, and not later", async () => {
  const { environment, outcome } = setUp([
    ["a.url", well],
    ["b.url", silent],
  ]);
  await environment.advance(INSPECT_WITHIN_MS - 1);
  expect(outcome()).toBe("under way");
  await environment.advance(1);
  expect(outcome()).toContain("b.url: b.url.example:1 has not answered within 7000 ms");
});
