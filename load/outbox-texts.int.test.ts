/**
 * Outbox files as they are found on a disk: several, rotated, none, or not to be read.
 */

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readOutbox } from "./outbox-texts.ts";

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function outboxOf(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "outbox-"));
  directories.push(directory);
  mkdirSync(join(directory, "outbox"));
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(directory, "outbox", name), text);
  }
  return directory;
}

const line = (id: string): string => `${JSON.stringify({ id, text: "a line\nof two" })}\n`;

test("ids are counted over all files", () => {
  const directory = outboxOf({
    "email-0.jsonl": line("a") + line("b"),
    "email-0.1.jsonl": line("c"),
    "sms-1.jsonl": line("a"),
  });
  const { timesById, isWhole } = readOutbox(directory);
  expect(Object.fromEntries(timesById)).toEqual({ a: 2, b: 1, c: 1 });
  expect(isWhole).toBe(true);
});

test("files so old that the next would be dropped leave it open what was written", () => {
  expect(readOutbox(outboxOf({ "email-0.3.jsonl": line("a") })).isWhole).toBe(false);
});

test("no directory means no texts, half a line is refused", () => {
  const { timesById, isWhole } = readOutbox(join(outboxOf({}), "elsewhere"));
  expect([timesById.size, isWhole]).toEqual([0, true]);
  const torn = outboxOf({ "email-0.jsonl": line("a").slice(0, -9) });
  expect(() => readOutbox(torn)).toThrow("email-0.jsonl");
});
