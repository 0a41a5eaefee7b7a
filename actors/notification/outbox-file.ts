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
/** What a name ends in, with its age. */
const FILE = /(?:\.(\d+))?\.jsonl$/;
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
  const pathOf = (age: number) => join(directory, nameOf(name, age));
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

/** The files of a directory, which others may rotate meanwhile. */
export interface Tails {
  names(): Promise<readonly string[]>;
  /** The ids last in it, at most `TAIL_IDS_MAX`; undefined: there is no such file now. */
  idsOf(name: string): Promise<readonly string[] | undefined>;
}

export function tailsIn(directory: string): Tails {
  return {
    names: () => readdir(directory),
    async idsOf(name) {
      const handle = await open(join(directory, name), "r").catch(ignoreMissing);
      try {
        return handle && idsIn(await readTail(handle, TAIL_BYTES)).slice(-TAIL_IDS_MAX);
      } finally {
        await handle?.close();
      }
    },
  };
}

/**
 * Ids in the tails of all files whose names begin with `prefix`, oldest file first.
 *
 * Files only ever grow older, one age at a time. So they are read from the newest on, through every
 * age there may be, also those that no file had at first: what is rotated meanwhile is read twice
 * at worst, and an age that is missing just then is passed by. `filesMax`: what any rotation keeps.
 */
export async function readWrittenIds(
  tails: Tails,
  prefix: string,
  filesMax: number,
): Promise<readonly string[]> {
  const names = (await tails.names()).filter((name) => name.startsWith(prefix) && FILE.test(name));
  const shards = new Set(names.map((name) => name.replace(FILE, "")));
  // A setting that was larger once left older ones.
  const oldest = Math.max(filesMax - 1, ...names.map(ageOf));
  const newestFirst: (readonly string[])[] = [];
  for (let age = 0; age <= oldest; age++) {
    for (const shard of shards) newestFirst.push((await tails.idsOf(nameOf(shard, age))) ?? []);
  }
  // What is forgotten first is what is older.
  return newestFirst.toReversed().flat();
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

function ageOf(name: string): number {
  return Number(FILE.exec(name)?.[1] ?? 0);
}

function nameOf(shard: string, age: number): string {
  return age === 0 ? `${shard}.jsonl` : `${shard}.${age}.jsonl`;
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}
