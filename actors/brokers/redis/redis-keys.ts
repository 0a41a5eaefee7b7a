/**
 * Names of the keys on the server, and of the entries of a stream.
 *
 * Entries are numbered by the server as `0-1`, `0-2`, …, so that the second part is the position of
 * a frame in its partition. Refuses an id of any other kind.
 */

import { assert } from "../../../runtime/errors.ts";

export function logKey(prefix: string, topic: string, partition: number): string {
  return `${prefix}log:${topic}:${partition}`;
}

export function deadKey(prefix: string, topic: string): string {
  return `${prefix}dead:${topic}`;
}

/** Attempt and due time of what a group tries again, by sequence. */
export function laterKey(prefix: string, group: string, topic: string, partition: number): string {
  return `${prefix}group:${group}:later:${topic}:${partition}`;
}

export interface GroupKeys {
  /** Sorted set: until when each member is taken to be alive, by the server's clock. */
  readonly members: string;
  /** Hash: what each member may own, and the types that concern the group. */
  readonly facts: string;
  /** Hash: `member:epoch` of each partition. */
  readonly owners: string;
  /** Hash: how often each partition was claimed. */
  readonly epochs: string;
}

export function groupKeys(prefix: string, group: string): GroupKeys {
  const of = (what: string) => `${prefix}group:${group}:${what}`;
  return {
    members: of("members"),
    facts: of("facts"),
    owners: of("owners"),
    epochs: of("epochs"),
  };
}

export function entryId(sequence: number): string {
  return `0-${sequence}`;
}

export function sequenceOf(id: string): number {
  const sequence = Number(id.slice(2));
  assert(
    id.startsWith("0-") && Number.isSafeInteger(sequence),
    `${id} is no entry that this adapter wrote`,
  );
  return sequence;
}
