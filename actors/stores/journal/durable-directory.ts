/**
 * Makes a directory whose entry survives a power cut, and files that only their owner may read.
 *
 * A new directory is an entry of its parent, and that entry is only on the disk once the parent
 * has been synced. What is made here holds tokens and addresses, so nobody but the owner may look
 * into it. Refuses nothing: what is there already is left alone, with the rights it has.
 */

import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";

export const PRIVATE_DIRECTORY_MODE = 0o700;
export const PRIVATE_FILE_MODE = 0o600;

export function makeDurableDirectory(directory: string): void {
  const made = mkdirSync(directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  if (made !== undefined) syncDirectory(dirname(directory));
}

/**
 * Makes an empty file for a database, whose log and index get its rights from SQLite. A file that
 * is there is not even opened: closing it would drop the locks that this process holds on it.
 */
export function makePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, "wx", PRIVATE_FILE_MODE));
  } catch (error) {
    // Whatever else keeps it from being made keeps SQLite from opening it, which says so better.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
