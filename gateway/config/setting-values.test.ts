/**
 * What a setting may be, in words: whoever was refused must be able to tell what would be taken.
 */

import { expect, test } from "bun:test";

import { SETTINGS } from "./setting-names.ts";
import { allows, describeAllowed } from "./setting-values.ts";

function allowedOf(path: string): string {
  const setting = SETTINGS.find((one) => one.path === path);
  return setting === undefined ? `no setting ${path}` : describeAllowed(setting.schema);
}

const WORDS = [
  ["port", "a whole number from 0 to 65535"],
  ["host", "a text that is not empty"],
  ["notification.smtp.user", "a text, which may be empty"],
  ["notification.smtp.password", "a text, which may be empty"],
  ["payment.url", "an http or https address, or empty"],
  ["fraud.deny.customers", "a list without repeats of a text that is not empty"],
  ["fraud.deny.countries", "a list without repeats of a text of 2 characters"],
] as const;
for (const [path, words] of WORDS) {
  test(`${path} may be ${words}`, () => {
    expect(allowedOf(path)).toBe(words);
  });
}

test("whatever takes an empty text says so, and nothing else does", () => {
  for (const setting of SETTINGS.filter(({ schema }) => schema.type === "string")) {
    const says = describeAllowed(setting.schema);
    expect([setting.path, /(may be|or) empty$/.test(says)]).toEqual([
      setting.path,
      allows(setting, ""),
    ]);
  }
});
