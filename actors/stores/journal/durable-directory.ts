/**
 * Makes a directory whose entry survives a power cut.
 *
 * A new directory is an entry of its parent, and that entry is only on the disk once the parent
 * has been synced. Refuses nothing: a directory that is there already is left alone.
 */

import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";

export function makeDurableDirectory(directory: string): void {
  if (mkdirSync(directory, { recursive: true }) !== undefined) syncDirectory(dirname(directory));
}

function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
