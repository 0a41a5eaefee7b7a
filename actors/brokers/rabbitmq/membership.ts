/**
 * Who is in a group, by what its members say of themselves, and who should own what.
 *
 * A view of one member, without clock or I/O: it is told what was heard and when. Views of several
 * members agree once each has heard all others; until then the server's single active consumer
 * keeps a partition with one of them. It refuses what is no beat.
 */

import type { Static } from "@sinclair/typebox";

import { Type } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";

import type { ShareMember } from "./member-shares.ts";

import { murmur2 } from "../../../runtime/frames/murmur2.ts";
import { memberShares } from "./member-shares.ts";

const MEMBERS_MAX = 1_024;
const Partitions = Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 65_536 });
const ByTopic = Type.Record(Type.String(), Partitions);

const BeatSchema = Type.Object({
  /** `hello` wants an answer from everybody, `bye` is the last. */
  kind: Type.Union([Type.Literal("hello"), Type.Literal("beat"), Type.Literal("bye")]),
  id: Type.String({ minLength: 1, maxLength: 64 }),
  /** By the clock of who says it; nothing to anybody else. */
  saidAtMs: Type.Optional(Type.Number()),
  topics: Type.Array(Type.String(), { maxItems: 256 }),
  /** Partitions it may own; absent: any. */
  partitions: Type.Optional(Partitions),
  /** Types that concern it; absent: all. */
  types: Type.Optional(Type.Array(Type.Integer(), { maxItems: 4_096 })),
  /** Partitions it lost to a lease and does not want back yet. */
  shunned: ByTopic,
  /** Partitions that others must leave to it: it consumes, or has not yet let go of them. */
  held: ByTopic,
  /** Of the members it knows, itself included. */
  roster: Type.Integer(),
  /** It holds what it should, by its own view. */
  isSettled: Type.Boolean(),
});

export type Beat = Static<typeof BeatSchema>;

const beatCheck = TypeCompiler.Compile(BeatSchema);

export function parseBeat(text: string): Beat | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return beatCheck.Check(value) ? value : undefined;
  } catch {
    return undefined; // what others publish here is not for us
  }
}

interface Known {
  beat: Beat;
  heardAtMs: number;
}

export class Membership {
  readonly #others = new Map<string, Known>();
  #version = 0;
  /** Before, others could not be heard. */
  #listeningSinceMs = 0;

  /** Another number whenever shares may be others. */
  get version(): number {
    return this.#version;
  }

  /** `new`: not heard of before. `changed`: what it is or has is another. */
  hear(beat: Beat, nowMs: number): "new" | "changed" | "same" {
    const known = this.#others.get(beat.id);
    if (beat.kind === "bye") return this.drop(beat.id) ? "changed" : "same";
    if (known === undefined) {
      if (this.#others.size >= MEMBERS_MAX) return "same";
      this.#others.set(beat.id, { beat, heardAtMs: nowMs });
      this.#version++;
      return "new";
    }
    const { beat: before } = known;
    known.beat = beat;
    known.heardAtMs = nowMs;
    if (!Bun.deepEquals(claimsOf(before), claimsOf(beat))) this.#version++;
    else if (before.roster === beat.roster && before.isSettled === beat.isSettled) {
      return Bun.deepEquals(before.held, beat.held) ? "same" : "changed";
    }
    return "changed";
  }

  /** True when it was known. */
  drop(id: string): boolean {
    const wasKnown = this.#others.delete(id);
    if (wasKnown) this.#version++;
    return wasKnown;
  }

  clear(): void {
    this.#others.clear();
    this.#version++;
  }

  /** Members of which nothing was heard for longer than that. */
  silent(nowMs: number, forMs: number): readonly string[] {
    return [...this.#others]
      .filter(([, { heardAtMs }]) => nowMs - heardAtMs > forMs)
      .map(([id]) => id);
  }

  /** Others could be heard for longer than that. */
  hasListened(nowMs: number, forMs: number): boolean {
    return nowMs - this.#listeningSinceMs > forMs;
  }

  /** Nobody is counted out, nor taken for absent, for a time in which nobody could be heard. */
  excuse(nowMs: number): void {
    this.#listeningSinceMs = nowMs;
    for (const known of this.#others.values()) known.heardAtMs = nowMs;
  }

  get others(): readonly Beat[] {
    return [...this.#others.values()].map(({ beat }) => beat);
  }

  /** Partitions of `topic` that must be left to some other member, as that one says. */
  heldElsewhere(topic: string): ReadonlySet<number> {
    return new Set(this.others.flatMap(({ held }) => held[topic] ?? []));
  }
}

/** What of a beat decides about shares. */
function claimsOf({ partitions, shunned, topics }: Beat): unknown {
  return { partitions, shunned, topics };
}

/** A number for the set of members; two views with the same number know the same members. */
export function rosterOf(ids: readonly string[]): number {
  return murmur2([...ids].sort().join("\n"));
}

/** Partitions of `topic` that `me` should own; `beats` has everybody, `me` included. */
export function shareOf(
  me: string,
  topic: string,
  partitions: number,
  beats: readonly Beat[],
): readonly number[] {
  const members = beats.filter(({ topics }) => topics.includes(topic));
  const able = (beat: Beat, partition: number): boolean =>
    beat.partitions === undefined || beat.partitions.includes(partition);
  // Of any topic: those of one partition stay together, for whoever has some fences who has others.
  const shuns = ({ shunned }: Beat, partition: number): boolean =>
    Object.values(shunned).some((each) => each.includes(partition));
  const sharing = members.map((beat): ShareMember => {
    const mayOwn = (partition: number): boolean => {
      if (!able(beat, partition)) return false;
      if (!shuns(beat, partition)) return true;
      // What nobody wants goes to whoever may have it.
      return members.every((each) => !able(each, partition) || shuns(each, partition));
    };
    return { id: beat.id, mayOwn };
  });
  return memberShares(partitions, sharing).get(me) ?? [];
}

/** What a member makes of a view; good for as long as the view has this version. */
export interface Plan {
  readonly version: number;
  readonly roster: number;
  /** Its own, by topic. */
  readonly shares: ReadonlyMap<string, readonly number[]>;
}

export function planOf(mine: Beat, { others, version }: Membership, partitions: number): Plan {
  const all = [mine, ...others];
  const shares = new Map(
    mine.topics.map((topic) => [topic, shareOf(mine.id, topic, partitions, all)]),
  );
  return { version, roster: rosterOf(all.map(({ id }) => id)), shares };
}

/** All know the same members, and each has what it should. */
export function isSettledGroup(mine: Beat, others: readonly Beat[]): boolean {
  return [mine, ...others].every(({ roster, isSettled }) => isSettled && roster === mine.roster);
}
