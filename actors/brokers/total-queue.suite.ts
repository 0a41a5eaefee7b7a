/**
 * The judge of a queue's history: what was lost, what came from nowhere, what came twice.
 *
 * After Jepsen's `total-queue` checker: everything acknowledged must have come out once the queue
 * was drained. Duplicates are reported, not condemned; a history that was not drained is refused,
 * because it proves nothing.
 */

import { assert } from "../../runtime/errors.ts";

export interface QueueHistory {
  /** Ids that someone tried to publish. */
  readonly attempted: readonly string[];
  /** Ids whose publication was confirmed. */
  readonly acked: readonly string[];
  /** Ids of every delivery, dead letters included, nothing left out. */
  readonly delivered: readonly string[];
  /** The queue was empty at the end. */
  readonly drained: boolean;
}

export interface Verdict {
  readonly valid: boolean;
  readonly attempts: number;
  readonly acked: number;
  /** Deliveries of something that was attempted, each attempt counted once. */
  readonly ok: number;
  readonly lost: readonly string[];
  readonly unexpected: readonly string[];
  readonly duplicated: readonly string[];
  /** Delivered although the publisher was not told that it is stored. */
  readonly recovered: readonly string[];
}

/** Throws `InvariantError` for a history that was not drained. */
export function totalQueue(history: QueueHistory): Verdict {
  assert(history.drained, "a history that was not drained proves nothing");
  const attempted = count(history.attempted);
  const acked = count(history.acked);
  const delivered = count(history.delivered);
  const ok = new Map<string, number>();
  const unexpected: string[] = [];
  const duplicated: string[] = [];
  for (const [id, times] of delivered) {
    const tried = attempted.get(id) ?? 0;
    if (tried === 0) unexpected.push(id);
    else ok.set(id, Math.min(times, tried));
    if (tried > 0 && times > tried) duplicated.push(id);
  }
  const lost = [...acked.keys()].filter((id) => !delivered.has(id));
  const recovered = [...ok.keys()].filter((id) => !acked.has(id));
  return {
    valid: lost.length === 0 && unexpected.length === 0,
    attempts: history.attempted.length,
    acked: history.acked.length,
    ok: [...ok.values()].reduce((sum, times) => sum + times, 0),
    lost,
    unexpected,
    duplicated,
    recovered,
  };
}

function count(ids: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}
