/**
 * Shared memory that tells a reader whether something may have changed since it looked.
 *
 * Every change of a key counts up the word the key hashes to. Two keys may share a word, so a
 * change may be seen that was another's, but none is ever missed; the rows tell what happened.
 */

import { murmur2 } from "../runtime/frames/murmur2.ts";

const WORDS = 8_192;

export function createChangePage(): SharedArrayBuffer {
  return new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT);
}

/** To be called after the change is committed. */
export function noteChange(page: Int32Array, key: string): void {
  // Several threads may count up one word.
  Atomics.add(page, wordOf(key), 1);
}

/** To be called when somebody may have died between a change and its `noteChange`. */
export function noteEveryChange(page: Int32Array): void {
  for (let word = 0; word < page.length; word++) {
    // Other threads may count up the same word.
    Atomics.add(page, word, 1);
  }
}

/** To be compared with an earlier answer; the number itself means nothing. */
export function readChange(page: Int32Array, key: string): number {
  // Written by other threads.
  return Atomics.load(page, wordOf(key));
}

function wordOf(key: string): number {
  return (murmur2(key) >>> 0) % WORDS;
}
