/**
 * The visitors of each hour, as sketches.
 *
 * A batch collects its own sketches and merges them with what is stored at its end. Must be called
 * within a transaction; holds one sketch for each hour that a batch touches.
 */

import type { Database } from "bun:sqlite";

import { HOUR_MS, windowStart } from "./event-windows.ts";
import { addVisitor, createVisitorSketch, mergeVisitors } from "./visitor-sketch.ts";

export interface VisitorBatch {
  add(atMs: number, visitor: string): void;
  save(): void;
}

export interface VisitorTable {
  begin(): VisitorBatch;
  /** Forgets hours before `beforeMs`. */
  remove(beforeMs: number): void;
}

export function createVisitorTable(handle: Database): VisitorTable {
  const select = handle.prepare<{ registers: Uint8Array }, [number]>(
    "SELECT registers FROM visitors WHERE start = ?",
  );
  const save = handle.prepare<unknown, [number, Uint8Array]>(
    "INSERT OR REPLACE INTO visitors VALUES (?, ?)",
  );
  const remove = handle.prepare<unknown, [number]>("DELETE FROM visitors WHERE start < ?");

  function begin(): VisitorBatch {
    const hours = new Map<number, Uint8Array>();
    return {
      add(atMs, visitor) {
        const startMs = windowStart(atMs, HOUR_MS);
        let registers = hours.get(startMs);
        if (registers === undefined) hours.set(startMs, (registers = createVisitorSketch()));
        addVisitor(registers, visitor);
      },
      save() {
        for (const [startMs, registers] of hours) {
          const stored = select.get(startMs);
          if (stored !== null) mergeVisitors(registers, stored.registers);
          save.run(startMs, registers);
        }
      },
    };
  }

  return { begin, remove: (beforeMs) => void remove.run(beforeMs) };
}
