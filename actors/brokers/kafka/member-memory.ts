/**
 * From what a member knows of a partition to what the group remembers, and back.
 *
 * Kafka counts no attempts. What was handed out and not settled is one attempt older for whoever
 * comes next; of what had not been handed out yet, the earlier count goes on. Pure.
 */

import type { Postponement } from "../broker.ts";
import type { MemberPosition, RemotePosition } from "../remote-member.ts";
import type { PartitionMemory } from "./offset-metadata.ts";

import { addSettled, hasSettled, settledAbove } from "../../stores/journal/settled-set.ts";

/** Unsettled sequences whose second attempt is noted one by one; of more, the attempt is lost. */
const NOTED_MAX = 65_536;

export function memoryOf(position: MemberPosition, lettersThrough: number): PartitionMemory {
  const { settled, postponed, attempts, cursor } = position;
  const next = new Map<number, { readonly attempt: number; readonly notBeforeMs: number }>();
  let reached = cursor;
  for (const sequence of new Set([...postponed.keys(), ...attempts.keys()])) {
    if (hasSettled(settled, sequence)) continue;
    const attempt = attempts.get(sequence) ?? postponed.get(sequence)?.attempt ?? 1;
    const notBeforeMs = postponed.get(sequence)?.notBeforeMs ?? 0;
    reached = Math.max(reached, sequence);
    const after = sequence <= cursor ? attempt + 1 : attempt;
    if (after !== 2 || notBeforeMs !== 0) next.set(sequence, { attempt: after, notBeforeMs });
  }
  return { settled, cursor: reached, attempts: next, lettersThrough };
}

/** How a partition begins for a member; `buried`: sequences of it with a dead letter. */
export function positionFrom(
  memory: PartitionMemory | undefined,
  position: number,
  buried: readonly number[],
): RemotePosition {
  const set = { position, ranges: [...(memory?.settled.ranges ?? [])] };
  for (const sequence of buried.toSorted((a, b) => a - b)) addSettled(set, sequence);
  const postponed = new Map<number, Postponement>();
  const last = Math.min(memory?.cursor ?? position, position + NOTED_MAX);
  for (let sequence = set.position + 1; sequence <= last; sequence++) {
    if (hasSettled(set, sequence)) continue;
    const { attempt, notBeforeMs } = memory?.attempts.get(sequence) ?? {
      attempt: 2,
      notBeforeMs: 0,
    };
    postponed.set(sequence, { attempt, notBeforeMs, error: "" });
  }
  return { position: set.position, settledAbove: settledAbove(set), postponed };
}
