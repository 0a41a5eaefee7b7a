/**
 * A file of lines that is appended to, rotated at a bound, and whole after a crash.
 *
 * `name.jsonl` is the current one, `name.1.jsonl` the one before, up to the number kept; only their
 * owner may read them. Refuses to leave half a line: what does not end in a line break is cut off
 * when it is opened.
 */

import type { FileHandle } from "node:fs/promises";

import { mkdir, open, readdir, rename } from "node:fs/promises";
import { join } from "node:path";

import type { OutboxSettings } from "./notification-policy.ts";

import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from "../stores/journal/durable-directory.ts";

/** Read from the end of each file for the ids in it. */
const TAIL_BYTES = 512 * 1_024;
/** Of these the last: twice what one batch of a shard can have left without a commit. */
const TAIL_IDS_MAX = 256;
/** A line is shorter than this, so a torn one is too. */
const LINE_BYTES_MAX = 64 * 1_024;
const LINE_BREAK = 10;
const ID = /^\{"id":("(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[0-9a-f]{4}))*")/u;

export interface OutboxFile {
  /** `lines` end in a line break. */
  append(lines: string): Promise<void>;
  close(): Promise<void>;
}

export async function openOutboxFile(
  directory: string,
  name: string,
  settings: OutboxSettings,
): Promise<OutboxFile> {
  await mkdir(directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  const pathOf = (age: number) =>
    join(directory, age === 0 ? `${name}.jsonl` : `${name}.${age}.jsonl`);
  let handle = await open(pathOf(0), "a+", PRIVATE_FILE_MODE);
  let sizeBytes = 0;
  try {
    sizeBytes = await cutTornLine(handle);
  } catch (error) {
    await handle.close();
    throw error;
  }

  async function rotate(): Promise<void> {
    await handle.close();
    for (let age = settings.filesMax - 1; age >= 1; age--) {
      await rename(pathOf(age - 1), pathOf(age)).catch(ignoreMissing);
    }
    // With one file to keep there is no older one to become.
    handle = await open(pathOf(0), settings.filesMax > 1 ? "a+" : "w+", PRIVATE_FILE_MODE);
    sizeBytes = (await handle.stat()).size;
  }

  return {
    async append(lines) {
      const bytes = Buffer.from(lines);
      if (sizeBytes > 0 && sizeBytes + bytes.byteLength > settings.fileBytesMax) await rotate();
      for (let at = 0; at < bytes.byteLength;) {
        const { bytesWritten } = await handle.write(bytes, at, bytes.byteLength - at);
        at += bytesWritten;
      }
      sizeBytes += bytes.byteLength;
    },
    close: () => handle.close(),
  };
}

/** Ids in the tails of all files of `directory` that begin with `prefix`, oldest file first. */
export async function readWrittenIds(
  directory: string,
  prefix: string,
): Promise<readonly string[]> {
  const names = (await readdir(directory)).filter(
    (name) => name.startsWith(prefix) && name.endsWith(".jsonl"),
  );
  // `email-0.1.jsonl` before `email-0.jsonl`: what is forgotten first is what is older.
  const ids: string[] = [];
  for (const name of names.sort(olderFirst)) {
    const handle = await open(join(directory, name), "r");
    try {
      ids.push(...idsIn(await readTail(handle, TAIL_BYTES)).slice(-TAIL_IDS_MAX));
    } finally {
      await handle.close();
    }
  }
  return ids;
}

/** Cuts off what follows the last line break; returns the size that is left. */
async function cutTornLine(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  const tail = await readTail(handle, LINE_BYTES_MAX);
  const end = tail.lastIndexOf(LINE_BREAK) + 1;
  const wholeBytes = size - tail.byteLength + end;
  if (wholeBytes < size) await handle.truncate(wholeBytes);
  return wholeBytes;
}

async function readTail(handle: FileHandle, bytesMax: number): Promise<Buffer> {
  const { size } = await handle.stat();
  const tail = Buffer.alloc(Math.min(size, bytesMax));
  const { bytesRead } = await handle.read(tail, 0, tail.byteLength, size - tail.byteLength);
  return tail.subarray(0, bytesRead);
}

function idsIn(tail: Buffer): readonly string[] {
  return tail
    .toString("utf8")
    .split("\n")
    .flatMap((line) => {
      const quoted = ID.exec(line)?.[1];
      return quoted === undefined ? [] : [String(JSON.parse(quoted))];
    });
}

/** By the age in the name, oldest first. */
function olderFirst(left: string, right: string): number {
  return ageOf(right) - ageOf(left);
}

function ageOf(name: string): number {
  return Number(/\.(\d+)\.jsonl$/.exec(name)?.[1] ?? 0);
}

function ignoreMissing(error: unknown): void {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
  throw error;
}
