/**
 * Whose a slot is, kept beside the rows it guards: what a shard does before it takes a slot on.
 *
 * A broker gives a partition to another member when it believes the former one gone; it may be
 * merely slow. So the new owner fences whoever did not release the slot, which ends that shard,
 * and waits until everything that was committed for the slot before is published: what it will
 * commit itself comes after. The wait is bounded; what is left then is told, and the slot taken.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { ShardLease } from "./shard-lease.ts";
import type { SlotRows } from "./slot-fences-rows.ts";

import { describeError, ShopError } from "../../../runtime/errors.ts";
import { postgresFailure, readFailure } from "./postgres-failure.ts";

/** What the former owner left is looked for this often, and adopted anew this often. */
const POLL_MS = 40;
const ADOPT_EVERY = 25;
const RETRY_MS = 250;

export interface FenceSettings {
  /** Longest wait for what the former owner of a slot has left to be published. */
  readonly publishedWaitMs: number;
  /** Longest a claim is tried while the database does not answer it, or a release before it. */
  readonly takeWaitMs: number;
}

export const FENCE_SETTINGS: FenceSettings = { publishedWaitMs: 30_000, takeWaitMs: 20_000 };

export interface SlotFencesOptions {
  readonly environment: Environment;
  readonly rows: SlotRows;
  readonly lease: ShardLease;
  /** Those whose order matters across owners: what waits for another broker holds up nobody. */
  readonly topics: readonly string[];
  /**
   * Whether it is known of all commits that were answered whether they are done; finds it out, if
   * it can.
   */
  readonly areDecided: () => Promise<boolean>;
  readonly settings?: FenceSettings | undefined;
  readonly onLog?: ((level: "debug" | "info" | "warning", text: string) => void) | undefined;
}

export interface SlotFences {
  /**
   * The slots are this shard's once it resolves, and what was committed for them before is
   * published. A release of some of them that is under way is waited for, or it would give away
   * what was just taken. Rejects with `FENCED`, or with `STORAGE_FAULT` when the database is away
   * or silent; they may be taken all the same then, but nobody is fenced for them.
   */
  claim(group: string, slots: readonly number[]): Promise<void>;
  /**
   * To be called once nothing of them is under way any more. A claim of some of them that is being
   * taken is waited for, so that nothing is taken after it was released; and so is the outcome of
   * commits that were answered without it, so that the next owner sees their frames. Rejects with
   * `STORAGE_FAULT` when that cannot be found out, and after `withinMs`, if that is given; they may
   * be released all the same then.
   */
  release(group: string, slots: readonly number[], withinMs?: number): Promise<void>;
  /**
   * Resolves when what other shards committed for `slots` before the call is published; false: it
   * was not within `withinMs`, or the database did not say so in that time.
   */
  published(slots: readonly number[], withinMs: number): Promise<boolean>;
}

/** A claim or a release on its way. */
interface Change {
  readonly group: string;
  readonly slots: ReadonlySet<number>;
  readonly done: Promise<void>;
}

export function createSlotFences(options: SlotFencesOptions): SlotFences {
  const { environment, rows, lease, topics, areDecided, onLog } = options;
  const { settings = FENCE_SETTINGS } = options;
  const { relayId } = lease;
  const takes = new Set<Change>();
  const releases = new Set<Change>();

  async function arePublished(slots: readonly number[], withinMs: number): Promise<boolean> {
    const byMs = environment.monotonicMs() + withinMs;
    const throughId = await rows.lastOutgoing();
    for (let looks = 1; await rows.hasOutgoing(relayId, slots, topics, throughId); looks++) {
      if (environment.monotonicMs() >= byMs) return false;
      // Of those that died in the meantime nobody else may be about to publish anything.
      if (looks % ADOPT_EVERY === 0) await lease.beat();
      await pause(environment, POLL_MS);
    }
    return true;
  }

  async function takeFrom(
    group: string,
    slots: readonly number[],
    isGivenUp: () => boolean,
  ): Promise<void> {
    while (!isGivenUp()) {
      const former = await rows.claim(relayId, group, slots);
      // Who lives may have been given them since, and rightly.
      if (former.length === 0 || isGivenUp()) return;
      const why = `it did not release slots of group ${group} that are another's now`;
      await lease.fence(former, why);
      await lease.beat();
    }
  }

  /** A database that is away for a moment is no reason to give the slots back. */
  async function patiently<Found>(group: string, work: () => Promise<Found>): Promise<Found> {
    const byMs = environment.monotonicMs() + settings.takeWaitMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (postgresFailure(error) === undefined) throw error;
        if (environment.monotonicMs() + RETRY_MS >= byMs) {
          const problem = `slots of group ${group}: ${describeError(error)}`;
          throw new ShopError("STORAGE_FAULT", problem, "later", { cause: error });
        }
        await pause(environment, RETRY_MS);
      }
    }
  }

  /** The client waits for ever for a server that is silent: whoever claims does not. */
  async function take(group: string, slots: readonly number[]): Promise<void> {
    let isOver = false;
    const taken = follow(releases, takes, { group, slots }, () =>
      patiently(group, () => takeFrom(group, slots, () => isOver)),
    );
    const { takeWaitMs } = settings;
    const late = `slots of group ${group} were not claimed within ${takeWaitMs} ms`;
    try {
      await inTime(environment, taken, takeWaitMs, () => overdue(late));
    } finally {
      isOver = true;
    }
  }

  async function giveBack(group: string, slots: readonly number[]): Promise<void> {
    if (!(await areDecided())) {
      const problem = `slots of group ${group}: it is not known what became of a commit`;
      throw new ShopError("STORAGE_FAULT", problem, "later");
    }
    await rows.release(relayId, group, slots);
  }

  return {
    async claim(group, slots) {
      await take(group, slots);
      const { publishedWaitMs, takeWaitMs } = settings;
      const looked = patiently(group, () => arePublished(slots, publishedWaitMs));
      const late = `nothing is known of what is unpublished of slots of group ${group}`;
      const longestMs = publishedWaitMs + takeWaitMs;
      if (await inTime(environment, looked, longestMs, () => overdue(late))) return;
      const left = `frames of slots ${slots.join(", ")} are still unpublished`;
      onLog?.("warning", `${group}: after ${publishedWaitMs} ms ${left}; order may suffer`);
    },
    release(group, slots, withinMs) {
      const released = follow(takes, releases, { group, slots }, () => giveBack(group, slots));
      if (withinMs === undefined) return released;
      const late = `slots of group ${group} were not released within ${withinMs} ms`;
      return inTime(environment, released, withinMs, () => overdue(late));
    },
    async published(slots, withinMs) {
      try {
        const looked = arePublished(slots, withinMs);
        return await inTime(environment, looked, withinMs, () => false);
      } catch (error) {
        throw readFailure(error);
      }
    },
  };
}

/** Does `work` after those of `earlier` that have some of its slots, and is one of `own` then. */
async function follow(
  earlier: ReadonlySet<Change>,
  own: Set<Change>,
  { group, slots }: { readonly group: string; readonly slots: readonly number[] },
  work: () => Promise<void>,
): Promise<void> {
  const same = [...earlier].filter(
    (change) => change.group === group && slots.some((slot) => change.slots.has(slot)),
  );
  const done = Promise.allSettled(same.map((change) => change.done)).then(work);
  const change = { group, slots: new Set(slots), done };
  own.add(change);
  try {
    await done;
  } finally {
    own.delete(change);
  }
}

async function pause(environment: Environment, delayMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  environment.startTimer(delayMs, resolve);
  await promise;
}

/** What `work` comes to, or `late` if that takes longer. */
async function inTime<Found>(
  environment: Environment,
  work: Promise<Found>,
  withinMs: number,
  late: () => Found,
): Promise<Found> {
  const { promise: isLate, resolve } = Promise.withResolvers<void>();
  const timer = environment.startTimer(withinMs, resolve);
  try {
    return await Promise.race([work, isLate.then(late)]);
  } finally {
    timer.cancel();
  }
}

function overdue(problem: string): never {
  throw new ShopError("STORAGE_FAULT", problem, "later");
}
