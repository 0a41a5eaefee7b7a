/**
 * The deduplication of a route: a message id that went through within the window is acknowledged
 * and goes no further.
 *
 * An id is remembered once its frame is through and not before, so that a failed attempt does not
 * make the next one a duplicate. What it forgets, by a restart or for room, the inbox mark of the
 * commit behind it still knows.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Middleware, Passage } from "../passage.ts";
import type { IdWindow } from "../id-window.ts";
import type { CompiledRow } from "../route-table.ts";

import { ACK } from "../../delivery/outcome.ts";
import { createIdWindow } from "../id-window.ts";
import { concerns, handOn } from "../passage.ts";

export function deduplication(environment: Environment): Middleware {
  const windows = new Map<string, IdWindow>();

  function windowsOf(rows: readonly CompiledRow[]): readonly IdWindow[] {
    return rows.flatMap(({ name, policy }) => {
      if (policy.dedup === undefined) return [];
      const window = windows.get(name) ?? createIdWindow(policy.dedup);
      windows.set(name, window);
      return [window];
    });
  }

  return (next) => async (passages) => {
    if (!passages.some(wantsDedup)) return await next(passages);
    const nowMs = environment.monotonicMs();
    const isRepeated = ({ rows, message }: Passage): boolean =>
      windowsOf(rows).some((window) => window.has(message.frame.id, nowMs));
    const outcomes = await handOn(
      passages,
      (passage) => (isRepeated(passage) ? ACK : undefined),
      next,
    );
    for (const [at, { rows, message }] of passages.entries()) {
      const kind = outcomes[at]?.kind;
      if (kind !== "ack" && kind !== "settled") continue;
      for (const window of windowsOf(rows)) window.add(message.frame.id, nowMs);
    }
    return outcomes;
  };
}

/** True when a row of `passage` asks for it. */
export function wantsDedup(passage: Passage): boolean {
  return concerns(passage, ({ policy }) => policy.dedup !== undefined);
}
