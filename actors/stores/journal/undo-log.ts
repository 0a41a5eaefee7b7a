/**
 * Takes back what a transaction changed in memory when the transaction itself is rolled back.
 *
 * Every table of the journal mirrors some of its state; it changes the mirror at once and leaves
 * the way back here. Refuses nothing; an undo must not throw.
 */

export interface UndoLog {
  push(undo: () => void): void;
  /** Runs what was pushed, newest first. */
  rollback(): void;
  /** Forgets it. */
  commit(): void;
}

export function createUndoLog(): UndoLog {
  const undos: (() => void)[] = [];
  return {
    push: (undo) => void undos.push(undo),
    rollback() {
      for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) undo();
    },
    commit() {
      undos.length = 0;
    },
  };
}
