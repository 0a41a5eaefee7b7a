/**
 * The ways in which the storage of `failing-journal.ts` can fail, as the word that both threads
 * share says it. Apart from that file, because importing a thread's script would run it.
 */

export const NO_FAULT = 0;
export const DISK_FULL = 1;
export const IO_FAULT = 2;
