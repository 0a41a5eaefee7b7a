/**
 * A broker whose members claim the slots they are assigned, and release them in good order.
 *
 * A slot is claimed with the first of the group's topics that has it, and released once the last
 * has lost it and nothing of it is under way. Nothing of a topic is delivered before the claim. A
 * slot that some topic lost without warning, or with work of it still under way, is not released
 * before that work is known to have ended: whoever takes it must not rely on this member having
 * stopped, and fences it. The subscriber is asked for that until it has, and then nobody need fence
 * anybody, though the broker took all slots away at once. A member that closes at rest releases
 * before it leaves its group: whoever is assigned its slots then may ask for them at once, and
 * would fence the whole shard. It does not wait long for a database that is away: the group would
 * wait with it.
 *
 * A slot may come back while an older loss of it is still being waited for. So what ends is always
 * one tenure, and whoever ends an old one does nothing to the next.
 */

import type { Broker, SubscribeOptions, Subscription } from "../../brokers/broker.ts";
import type { SlotFences } from "./slot-fences.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { LossWatch } from "./slot-fences-loss.ts";

/** Longest that a member keeps what it gives up only because its slots are not released yet. */
const LEAVE_WAIT_MS = 1_000;
/**
 * Longest that a hand-over waits for its release: a broker gives it ten seconds and more, and a
 * database that is silent for half of them is not going to answer in the rest. What was lost is
 * released likewise, and nobody waits.
 */
const HAND_OVER_RELEASE_MS = 5_000;

type Fences = Pick<SlotFences, "claim" | "release">;

export function withFences(
  broker: Pick<Broker, "subscribe">,
  fences: Fences,
): Pick<Broker, "subscribe"> {
  return {
    async subscribe(options) {
      const slots = new MemberSlots(options.group, fences);
      const inner = await broker.subscribe({ ...options, ...assignments(options, slots) });
      return releasingOnClose(inner, slots);
    },
  };
}

type Assignments = Required<Pick<SubscribeOptions, "onAssigned" | "onRevoking" | "onRevoked">>;

function assignments(options: SubscribeOptions, slots: MemberSlots): Assignments {
  const { onRevoking } = options;
  const losses = new LossWatch<Tenure>({
    isLost: (tenure) => slots.isLost(tenure),
    ask: async ({ topic, slot }) => (await onRevoking?.(topic, [slot])) ?? false,
    onRest: (tenures) => void slots.release(tenures, HAND_OVER_RELEASE_MS),
  });

  return {
    async onAssigned(topic, partitions) {
      try {
        await slots.add(topic, partitions);
      } catch (error) {
        losses.follow(slots.lostOf(topic, partitions));
        throw error;
      }
      await options.onAssigned?.(topic, partitions);
    },
    async onRevoking(topic, partitions) {
      const tenures = slots.of(topic, partitions);
      const atRest = (await onRevoking?.(topic, partitions)) ?? true;
      if (atRest === true) await slots.release(tenures, HAND_OVER_RELEASE_MS);
      else {
        slots.lose(tenures);
        // One by one: most of them may be at rest.
        losses.follow(tenures);
      }
      return atRest;
    },
    onRevoked(topic, partitions) {
      const tenures = slots.of(topic, partitions);
      slots.lose(tenures);
      options.onRevoked?.(topic, partitions);
      losses.follow(tenures);
    },
  };
}

function releasingOnClose(inner: Subscription, slots: MemberSlots): Subscription {
  return {
    ack: (deliveries) => inner.ack(deliveries),
    postpone: (delivery, postponement) => inner.postpone(delivery, postponement),
    bury: (delivery, burial) => inner.bury(delivery, burial),
    standing: (look) => inner.standing(look),
    pause: () => inner.pause(),
    resume: () => inner.resume(),
    async close(isAtRest) {
      slots.end();
      const isReleased = isAtRest && (await slots.releaseAll(LEAVE_WAIT_MS));
      await inner.close(isReleased);
    },
  };
}

/** One topic of one slot, from when the member is assigned it until it is not its own any more. */
interface Tenure {
  readonly topic: string;
  readonly slot: number;
}

/** By slot, then by topic. */
type Tenures = Map<number, Map<string, Tenure>>;

/** The slots of one member: which topics have each, and whether it is claimed. */
class MemberSlots {
  readonly #group: string;
  readonly #fences: Fences;
  /** What is the member's own now. */
  readonly #tenures: Tenures = new Map();
  readonly #claims = new Map<number, Promise<void>>();
  /**
   * Those that ended with work perhaps under way, until it is found to have ended, or the topic is
   * this member's again: its next end tells of all its work.
   */
  readonly #unsafe: Tenures = new Map();
  /** The slots of each release that is under way. */
  readonly #releases = new Set<readonly number[]>();
  #hasEnded = false;

  constructor(group: string, fences: Fences) {
    this.#group = group;
    this.#fences = fences;
  }

  async add(topic: string, slots: readonly number[]): Promise<void> {
    if (this.#hasEnded) {
      throw new ShopError("CLOSED", `the member of group ${this.#group} is leaving`, "never");
    }
    const fresh = slots.filter((slot) => !this.#tenures.has(slot));
    const tenures = slots.map((slot): Tenure => ({ topic, slot }));
    // An older tenure whose claim is under way yet may stand for work that was lost before it.
    const lost = [...this.lostOf(topic, slots), ...this.of(topic, slots)];
    this.#rest(lost);
    for (const tenure of tenures) put(this.#tenures, tenure);
    if (fresh.length > 0) {
      const claim = this.#fences.claim(this.#group, fresh);
      // Whoever waits for another of its slots may fail first.
      claim.catch(() => undefined);
      for (const slot of fresh) this.#claims.set(slot, claim);
    }
    try {
      // Another topic's claim of a slot may still be under way.
      for (const slot of slots) await this.#claims.get(slot);
    } catch (error) {
      for (const tenure of tenures) take(this.#tenures, tenure);
      // What was lost before may be under way yet. A newer tenure tells of it, if there is one.
      for (const tenure of lost) if (!this.#has(tenure)) put(this.#unsafe, tenure);
      await this.release(tenures, LEAVE_WAIT_MS);
      throw error;
    }
  }

  /** Of these, what is the member's own now. */
  of(topic: string, slots: readonly number[]): readonly Tenure[] {
    return slots.flatMap((slot) => this.#tenures.get(slot)?.get(topic) ?? []);
  }

  /** Of these, what it lost and does not know to be at rest. */
  lostOf(topic: string, slots: readonly number[]): readonly Tenure[] {
    return slots.flatMap((slot) => this.#unsafe.get(slot)?.get(topic) ?? []);
  }

  /** Whether it was lost, is not known to be at rest, and there is still something to be done. */
  isLost(tenure: Tenure): boolean {
    return !this.#hasEnded && this.#unsafe.get(tenure.slot)?.get(tenure.topic) === tenure;
  }

  /** They end, or have ended by now, and nothing of them is under way any more. */
  async release(tenures: readonly Tenure[], withinMs: number): Promise<void> {
    this.#rest(tenures);
    for (const tenure of tenures) take(this.#tenures, tenure);
    const free = slotsOf(tenures).filter((slot) => this.#isFree(slot));
    await this.#release(free, withinMs);
  }

  /** They stay claimed, until they are found to be at rest, or another fences the shard. */
  lose(tenures: readonly Tenure[]): void {
    for (const tenure of tenures) {
      if (take(this.#tenures, tenure)) put(this.#unsafe, tenure);
    }
  }

  /** Nothing is claimed any more. */
  end(): void {
    this.#hasEnded = true;
  }

  /** False: the next owners of some will have to fence this shard. */
  async releaseAll(withinMs: number): Promise<boolean> {
    this.#tenures.clear();
    // What a hand-over is releasing is released again: that one may take longer than `withinMs`.
    const releasing = [...this.#releases].flat();
    return await this.#release([...new Set([...releasing, ...this.#claims.keys()])], withinMs);
  }

  #rest(tenures: readonly Tenure[]): void {
    for (const tenure of tenures) take(this.#unsafe, tenure);
  }

  /** Whether the member has its topic and slot now. */
  #has({ topic, slot }: Tenure): boolean {
    return this.#tenures.get(slot)?.has(topic) === true;
  }

  /** Claimed, and for nothing. */
  #isFree(slot: number): boolean {
    return this.#claims.has(slot) && !this.#tenures.has(slot) && !this.#unsafe.has(slot);
  }

  /** A slot that could not be released is its next owner's to fence. */
  async #release(slots: readonly number[], withinMs: number): Promise<boolean> {
    if (slots.length === 0) return true;
    for (const slot of slots) this.#claims.delete(slot);
    this.#releases.add(slots);
    try {
      await this.#fences.release(this.#group, slots, withinMs);
      return true;
    } catch {
      return false;
    } finally {
      this.#releases.delete(slots);
    }
  }
}

function slotsOf(tenures: readonly Tenure[]): readonly number[] {
  return [...new Set(tenures.map(({ slot }) => slot))];
}

function put(tenures: Tenures, tenure: Tenure): void {
  const { topic, slot } = tenure;
  tenures.set(slot, (tenures.get(slot) ?? new Map<string, Tenure>()).set(topic, tenure));
}

/** False: it is not there, or another of its topic and slot is. */
function take(tenures: Tenures, tenure: Tenure): boolean {
  const { topic, slot } = tenure;
  const ofSlot = tenures.get(slot);
  if (ofSlot?.get(topic) !== tenure) return false;
  ofSlot.delete(topic);
  if (ofSlot.size === 0) tenures.delete(slot);
  return true;
}
