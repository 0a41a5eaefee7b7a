/**
 * The ids in the outbox files of a shop on this machine.
 *
 * Reads a file at a time; a file is bounded by the shop. A line that does not begin with an id is
 * refused: the judge must not pass over what it cannot read. No directory means no texts.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { ShopError } from "../runtime/errors.ts";
import { fields, text } from "./answer-fields.ts";
import type { OutboxState } from "./platform-evidence.ts";

/** `email-0.3.jsonl` is as old as files get with the default of four; the next is dropped. */
const OLDEST = /\.3\.jsonl$/;

/** `dataDirectory`: of the shop. */
export function readOutbox(dataDirectory: string): OutboxState {
  const directory = join(dataDirectory, "outbox");
  const files = existsSync(directory) ? readdirSync(directory) : [];
  const timesById = new Map<string, number>();
  for (const file of files) {
    for (const line of readFileSync(join(directory, file), "utf8").split("\n")) {
      if (line === "") continue;
      const id = idOf(line, file);
      timesById.set(id, (timesById.get(id) ?? 0) + 1);
    }
  }
  return { timesById, isWhole: !files.some((file) => OLDEST.test(file)) };
}

function idOf(line: string, file: string): string {
  try {
    return text(fields(JSON.parse(line)), "id");
  } catch (error) {
    const what = `${file} has a line that is no text with an id: ${line.slice(0, 80)}`;
    throw new ShopError("BAD_MESSAGE", what, "never", { cause: error });
  }
}
