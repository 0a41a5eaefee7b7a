/**
 * The right of one incarnation of a shard to commit, and the watch it keeps over the others.
 *
 * An incarnation registers under an id of its own and beats. Whoever beats regularly fences those
 * that have fallen silent and has the frames published that they left. A shard that was fenced,
 * because it was stopped, cut off or replaced, finds its next commit refused and must end. Nobody
 * judges others by silence who has been silent himself: after an outage of the database everybody
 * has been.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { LeaseRows, RelayName } from "./shard-lease-rows.ts";

import { describeError } from "../../../runtime/errors.ts";

export interface LeaseSettings {
  readonly beatMs: number;
  /** A shard that has not beaten for so long is fenced. */
  readonly silentMs: number;
}

export const LEASE_SETTINGS: LeaseSettings = { beatMs: 2_000, silentMs: 10_000 };
/** Incarnations that are remembered as fenced. */
const FENCED_MAX = 1_000;

export interface ShardLeaseOptions extends RelayName {
  readonly environment: Environment;
  readonly rows: LeaseRows;
  readonly settings?: LeaseSettings | undefined;
  /** Once: nothing this shard does will be committed any more; it must end. */
  readonly onFenced: () => void;
  /** All relays whose frames this shard publishes now, itself excepted. */
  readonly onAdopted: (relayIds: readonly string[]) => void;
  /** After each beat that succeeded. */
  readonly onBeat?: () => void;
  readonly onLog?: ((level: "debug" | "info" | "warning", text: string) => void) | undefined;
}

export interface ShardLease {
  readonly relayId: string;
  /** Resolves when no commit of these relays is under way and none will succeed any more. */
  fence(relayIds: readonly string[], why: string): Promise<void>;
  /** Beats and looks after the others: what was done before the call is seen. */
  beat(): Promise<void>;
  /** Gives everything back. To be called once nothing is committed or published any more. */
  close(): Promise<void>;
}

/** When its own beats came, as far as it matters for judging others. */
export interface BeatRun {
  /** Since then no two beats were further apart than they may be. */
  readonly sinceMs: number;
  readonly lastMs: number;
}

/** Registers the incarnation; its predecessors are fenced and their frames adopted. */
export async function openShardLease(options: ShardLeaseOptions): Promise<ShardLease> {
  const { environment, rows } = options;
  const relayId = environment.newId();
  const former = await rows.register(relayId, options);
  const watch = new LeaseWatch(relayId, options);
  const why = `${options.process}/${options.shard} has started anew`;
  await watch.fence(
    former.filter((id) => id !== relayId),
    why,
  );
  await watch.beat();
  watch.start();
  return watch;
}

/** `run` after a beat at `nowMs`. */
export function afterBeat(
  run: BeatRun | undefined,
  nowMs: number,
  { silentMs }: LeaseSettings,
): BeatRun {
  const isBroken = run === undefined || nowMs - run.lastMs > silentMs / 2;
  return { sinceMs: isBroken ? nowMs : run.sinceMs, lastMs: nowMs };
}

/** Whether all who live have had the time to be heard again since it could hear them itself. */
export function mayJudge({ sinceMs, lastMs }: BeatRun, { silentMs }: LeaseSettings): boolean {
  return lastMs - sinceMs >= silentMs;
}

class LeaseWatch implements ShardLease {
  readonly relayId: string;
  readonly #options: ShardLeaseOptions;
  readonly #settings: LeaseSettings;
  readonly #fenced = new Map<string, Promise<void>>();
  #adopted: readonly string[] = [];
  #run: BeatRun | undefined;
  #timer: Timer | undefined;
  #beating: Promise<void> | undefined;
  /** After the one under way, for all who asked since that began. */
  #nextBeat: Promise<void> | undefined;
  #isFenced = false;
  #isClosed = false;

  constructor(relayId: string, options: ShardLeaseOptions) {
    this.relayId = relayId;
    this.#options = options;
    this.#settings = options.settings ?? LEASE_SETTINGS;
  }

  start(): void {
    this.#timer = this.#options.environment.startTimer(this.#settings.beatMs, () => {
      void this.#beatPatiently();
    });
  }

  async fence(relayIds: readonly string[], why: string): Promise<void> {
    for (const id of relayIds) await this.#fenceOnce(id, why);
  }

  /** Whoever is fenced stays it: many slots may have been the same one's. */
  async #fenceOnce(id: string, why: string): Promise<void> {
    const known = this.#fenced.get(id);
    if (known !== undefined) return await known;
    const fencing = this.#fence(id, why);
    this.#fenced.set(id, fencing);
    try {
      await fencing;
    } catch (error) {
      this.#fenced.delete(id);
      throw error;
    }
    for (const oldest of this.#fenced.keys()) {
      if (this.#fenced.size <= FENCED_MAX) break;
      this.#fenced.delete(oldest);
    }
  }

  async #fence(id: string, why: string): Promise<void> {
    this.#options.onLog?.("warning", `fencing shard incarnation ${id}: ${why}`);
    while (!(await this.#options.rows.fence(id))) {
      this.#options.onLog?.("warning", `a commit of ${id} does not end`);
    }
  }

  beat(): Promise<void> {
    if (this.#beating === undefined) return this.#begin();
    this.#nextBeat ??= this.#beating
      .catch(() => undefined)
      .then(() => {
        this.#nextBeat = undefined;
        return this.#begin();
      });
    return this.#nextBeat;
  }

  #begin(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => (this.#beating = undefined));
    return this.#beating;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    await (this.#nextBeat ?? this.#beating)?.catch(() => undefined);
    await this.#options.rows.retire(this.relayId);
  }

  async #beatPatiently(): Promise<void> {
    try {
      await this.beat();
      this.#options.onBeat?.();
    } catch (error) {
      // Whoever needs the database says so; a beat that fails is one that is missed.
      this.#options.onLog?.("debug", `shard lease: ${describeError(error)}`);
    }
    if (!this.#isClosed && !this.#isFenced) this.start();
  }

  async #beatOnce(): Promise<void> {
    const { rows, environment, onFenced } = this.#options;
    if (this.#isFenced) return;
    if (!(await rows.beat(this.relayId))) {
      this.#isFenced = true;
      if (!this.#isClosed) onFenced();
      return;
    }
    this.#run = afterBeat(this.#run, environment.monotonicMs(), this.#settings);
    if (mayJudge(this.#run, this.#settings)) await this.#fenceSilent();
    await this.#lookAfterTheDead();
  }

  async #fenceSilent(): Promise<void> {
    const { rows, onLog } = this.#options;
    const { silentMs } = this.#settings;
    for (const id of await rows.silent(this.relayId, silentMs)) {
      onLog?.("warning", `fencing shard incarnation ${id}: silent for ${silentMs} ms`);
      // One whose commit does not end is met again at the next beat.
      await rows.fence(id, silentMs);
    }
  }

  async #lookAfterTheDead(): Promise<void> {
    const { rows, onAdopted } = this.#options;
    const before = this.#adopted;
    const forgotten = before.length === 0 ? [] : await rows.forget(before);
    const adopted = await rows.adopt(this.relayId);
    const now = before.filter((id) => !forgotten.includes(id) && !adopted.includes(id));
    this.#adopted = [...now, ...adopted];
    if (forgotten.length > 0 || adopted.length > 0) onAdopted(this.#adopted);
  }
}
