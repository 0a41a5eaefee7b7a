/**
 * What the server remembers of a partition for a group, as it is written and read.
 *
 * Refuses what this adapter did not write.
 */

import type { Postponement } from "../broker.ts";

import { assert } from "../../../runtime/errors.ts";
import { sequenceOf } from "./redis-keys.ts";
import { list, pairs, whole } from "./redis-reply.ts";

const ERROR_CHARS_MAX = 2_000;

export interface StoredPlace {
  /** Everything up to here is settled. */
  readonly position: number;
  /** Entries after it that were delivered and not settled. */
  readonly pending: number;
  readonly postponed: ReadonlyMap<number, Postponement>;
}

/** Of each topic of a subscription; `undefined` when the partition is another's. */
export function positionsOf(reply: unknown): readonly StoredPlace[] | undefined {
  if (reply === null) return undefined;
  return list(reply).map((topic) => {
    const [position, pending, postponed] = list(topic);
    return {
      position: whole(position),
      pending: whole(pending),
      postponed: new Map(
        pairs(postponed).map(([id, told]) => [sequenceOf(id), decodePostponement(told)]),
      ),
    };
  });
}

export function encodePostponement({ attempt, notBeforeMs, error }: Postponement): string {
  return JSON.stringify([attempt, notBeforeMs, error.slice(0, ERROR_CHARS_MAX)]);
}

function decodePostponement(told: string): Postponement {
  const parsed: unknown = JSON.parse(told);
  assert(Array.isArray(parsed), "a postponement is a list");
  const [attempt, notBeforeMs, error]: unknown[] = parsed;
  assert(typeof error === "string", "a postponement ends with its error");
  return { attempt: whole(attempt), notBeforeMs: whole(notBeforeMs), error };
}
