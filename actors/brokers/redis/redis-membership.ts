/**
 * A member of a group: signs of life, claims, and letting go, on a server that decides nothing.
 *
 * Members tell the server that they live and read who else does; each works out the same fair
 * shares, claims what is free of its own, and gives up what is another's once that is settled. A
 * claim counts up the partition's epoch, and what is changed under an older one is refused, so who
 * was taken for dead does no harm. Who cannot reach the server lets go before others may take over.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { GroupSnapshot } from "./membership-plan.ts";
import type { RedisLink } from "./redis-link.ts";
import type { RedisSettings } from "./redis-options.ts";
import type { GroupKeys } from "./redis-keys.ts";

import { ShopError } from "../../../runtime/errors.ts";
import {
  crewName,
  encodeMember,
  fenceOf,
  planOf,
  snapshotOf,
  typesName,
} from "./membership-plan.ts";
import { list, whole } from "./redis-reply.ts";
import { BEAT, CLAIM, LEAVE } from "./redis-scripts.ts";

/** Share of the time between two signs of life, while the group is finding its shape. */
const HASTE = 0.1;
/** Heartbeats for which a group is taken to be finding its shape after somebody came or went. */
const UNREST_BEATS = 3;
/** Heartbeats that a joining member waits for its share. */
const JOIN_BEATS = 10;

export interface Claim {
  readonly partition: number;
  readonly epoch: number;
  readonly fence: string;
}

export interface MembershipOptions {
  readonly settings: RedisSettings;
  readonly environment: Environment;
  readonly link: RedisLink;
  readonly keys: GroupKeys;
  readonly me: string;
  /** All there are. */
  readonly partitions: readonly number[];
  /** The member may own these; absent: any. */
  readonly mayOwn: readonly number[] | undefined;
  readonly types: readonly number[] | undefined;
  /** Held here or being taken on: fences by partition. */
  readonly held: () => ReadonlyMap<number, string>;
  /** They are this member's now; no more are claimed before it resolves. Must not reject. */
  readonly onClaimed: (claims: readonly Claim[]) => Promise<void>;
  /** Another may have them: forget them at once. */
  readonly onLost: (partitions: readonly number[]) => void;
  /** They are to go to another. Called again until they are gone. */
  readonly onGive: (partitions: readonly number[]) => void;
  /** The server still has this member for an owner of what is not held here. */
  readonly onLeftOver: (partition: number, fence: string) => void;
  readonly onTrouble: (error: unknown) => void;
  /** Others of the group want other types. */
  readonly onRefused: (error: ShopError) => void;
}

export class RedisMembership {
  readonly #options: MembershipOptions;
  readonly #joined = Promise.withResolvers<void>();
  #timer: Timer | undefined;
  #guard: Timer | undefined;
  #beating: Promise<void> | undefined;
  #isClaiming = false;
  #isClosed = false;
  #isHungry = true;
  #crew = "";
  #restlessUntilMs: number;
  #unwellUntilMs = 0;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#restlessUntilMs = 0;
  }

  /** Resolves when it has its share, or has waited long enough for others to give theirs up. */
  async join(): Promise<void> {
    const { environment, settings } = this.#options;
    const snapshot = await this.#signOfLife();
    this.#follow(snapshot);
    this.#beatIn(settings.heartbeatMs * HASTE);
    const patience = environment.startTimer(JOIN_BEATS * settings.heartbeatMs, () =>
      this.#joined.resolve(),
    );
    await this.#joined.promise;
    patience.cancel();
  }

  /** Takes no partitions for a while, as long as others can. */
  unwell(): void {
    const { environment, settings } = this.#options;
    this.#unwellUntilMs = environment.monotonicMs() + settings.unwellMs;
    this.hurry();
  }

  /** Something changed: looks at the group now. */
  hurry(): void {
    if (!this.#isClosed && this.#beating === undefined) this.#beatIn(0);
  }

  /** No more signs of life, claims or calls. */
  async stop(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#guard?.cancel();
    this.#joined.resolve();
    await this.#beating;
  }

  async leave(): Promise<void> {
    const { link, keys, me } = this.#options;
    await link.run(LEAVE, [keys.members, keys.facts], me);
  }

  #beatIn(delayMs: number): void {
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#timer = this.#options.environment.startTimer(delayMs, () => {
      this.#beating = this.#beat().finally(() => {
        this.#beating = undefined;
        this.#beatIn(this.#pauseMs());
      });
    });
  }

  #pauseMs(): number {
    const { settings, environment } = this.#options;
    const isRestless = this.#isHungry || environment.monotonicMs() < this.#restlessUntilMs;
    return settings.heartbeatMs * (isRestless ? HASTE : 1);
  }

  /** Does not reject: the next one tries again. */
  async #beat(): Promise<void> {
    const { onTrouble, onRefused } = this.#options;
    try {
      const snapshot = await this.#signOfLife();
      if (!this.#isClosed) this.#follow(snapshot);
    } catch (error) {
      if (error instanceof ShopError && error.code === "BAD_CONFIGURATION") onRefused(error);
      else onTrouble(error);
    }
  }

  async #signOfLife(): Promise<GroupSnapshot> {
    const { link, keys, me, settings, mayOwn, types, environment } = this.#options;
    const sentMs = environment.monotonicMs();
    const told = encodeMember(mayOwn, sentMs < this.#unwellUntilMs);
    const names = [keys.members, keys.facts, keys.owners];
    const reply = await link.run(BEAT, names, me, settings.sessionMs, told, typesName(types));
    const snapshot = snapshotOf(reply);
    if (snapshot === undefined) {
      const named = typesName(types);
      const why = `members of one group name the same types; others do not name ${named}`;
      throw new ShopError("BAD_CONFIGURATION", why, "never");
    }
    this.#guardFrom(sentMs);
    const crew = crewName(snapshot);
    if (crew !== this.#crew) {
      this.#restlessUntilMs = environment.monotonicMs() + UNREST_BEATS * settings.heartbeatMs;
    }
    this.#crew = crew;
    return snapshot;
  }

  /** Lets go of everything when the next sign of life does not come before others may take over. */
  #guardFrom(sentMs: number): void {
    const { environment, settings, onLost, held } = this.#options;
    this.#guard?.cancel();
    if (this.#isClosed) return;
    const untilMs = sentMs + settings.sessionMs - settings.heartbeatMs;
    this.#guard = environment.startTimer(Math.max(0, untilMs - environment.monotonicMs()), () =>
      onLost([...held().keys()]),
    );
  }

  #follow(snapshot: GroupSnapshot): void {
    const { me, partitions, held, onLost, onGive, onLeftOver } = this.#options;
    const plan = planOf(me, partitions, held(), snapshot);
    if (plan.lost.length > 0) onLost(plan.lost);
    if (plan.give.length > 0) onGive(plan.give);
    // What a claim under way takes may not be known here yet.
    if (this.#isClaiming) return;
    this.#isHungry = plan.isHungry || plan.claim.length > 0 || plan.give.length > 0;
    for (const [partition, fence] of plan.release) onLeftOver(partition, fence);
    if (plan.claim.length > 0) void this.#claim(plan.claim, !plan.isHungry);
    else if (!plan.isHungry) this.#joined.resolve();
  }

  /** Does not reject: what was not got is tried for again. */
  async #claim(partitions: readonly number[], isAll: boolean): Promise<void> {
    const { link, keys, me, onClaimed, onTrouble } = this.#options;
    this.#isClaiming = true;
    try {
      const names = [keys.members, keys.owners, keys.epochs];
      const epochs = list(await link.run(CLAIM, names, me, ...partitions)).map(whole);
      const claims = partitions.flatMap((partition, at) => {
        const epoch = epochs[at] ?? 0;
        return epoch === 0 ? [] : [{ partition, epoch, fence: fenceOf(me, epoch) }];
      });
      if (!this.#isClosed) await onClaimed(claims);
      if (isAll && claims.length === partitions.length) this.#joined.resolve();
    } catch (error) {
      onTrouble(error);
    } finally {
      this.#isClaiming = false;
    }
  }
}
