/**
 * A broker whose members claim the slots they are assigned, and release them in good order.
 *
 * A slot is claimed with the first of the group's topics that has it, and released once the last
 * has lost it and nothing of it is under way. Nothing of a topic is delivered before the claim. A
 * slot that some topic lost without warning, or with work of it still under way, is not released:
 * whoever takes it must not rely on this member having stopped, and fences it. A member that closes
 * at rest releases before it leaves its group: whoever is assigned its slots then may ask for them
 * at once, and would fence the whole shard. It does not wait long for a database that is away: the
 * group would wait with it.
 */

import type { Broker, SubscribeOptions, Subscription } from "../../brokers/broker.ts";
import type { SlotFences } from "./slot-fences.ts";

import { ShopError } from "../../../runtime/errors.ts";

/** Longest that a member stays in its group only because its slots are not released yet. */
const LEAVE_WAIT_MS = 1_000;

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
  return {
    async onAssigned(topic, partitions) {
      await slots.add(topic, partitions);
      await options.onAssigned?.(topic, partitions);
    },
    async onRevoking(topic, partitions) {
      const isAtRest = (await options.onRevoking?.(topic, partitions)) ?? true;
      if (isAtRest) await slots.release(topic, partitions);
      else slots.lose(topic, partitions);
      return isAtRest;
    },
    onRevoked(topic, partitions) {
      slots.lose(topic, partitions);
      options.onRevoked?.(topic, partitions);
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

/** The slots of one member: which topics have each, and whether it is claimed. */
class MemberSlots {
  readonly #group: string;
  readonly #fences: Fences;
  readonly #topics = new Map<number, Set<string>>();
  readonly #claims = new Map<number, Promise<void>>();
  /** Of which topics of a slot there may be work under way, until they are this member's again. */
  readonly #unsafe = new Map<number, Set<string>>();
  #hasEnded = false;

  constructor(group: string, fences: Fences) {
    this.#group = group;
    this.#fences = fences;
  }

  async add(topic: string, slots: readonly number[]): Promise<void> {
    if (this.#hasEnded) {
      throw new ShopError("CLOSED", `the member of group ${this.#group} is leaving`, "never");
    }
    const fresh: number[] = [];
    for (const slot of slots) {
      const topics = this.#topics.get(slot);
      if (topics === undefined) fresh.push(slot);
      this.#topics.set(slot, (topics ?? new Set()).add(topic));
      this.#unsafe.get(slot)?.delete(topic);
    }
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
      await this.#release(this.#remove(topic, slots));
      throw error;
    }
  }

  async release(topic: string, slots: readonly number[]): Promise<void> {
    const free = this.#remove(topic, slots);
    await this.#release(free.filter((slot) => (this.#unsafe.get(slot)?.size ?? 0) === 0));
  }

  /** They stay claimed, until the member closes or another fences it. */
  lose(topic: string, slots: readonly number[]): void {
    for (const slot of slots) {
      if (this.#topics.get(slot)?.has(topic) !== true) continue;
      this.#unsafe.set(slot, (this.#unsafe.get(slot) ?? new Set()).add(topic));
    }
    this.#remove(topic, slots);
  }

  /** Nothing is claimed any more. */
  end(): void {
    this.#hasEnded = true;
  }

  /** False: the next owners of some will have to fence this shard. */
  async releaseAll(withinMs: number): Promise<boolean> {
    this.#topics.clear();
    return await this.#release([...this.#claims.keys()], withinMs);
  }

  /** Those that no topic has any more. */
  #remove(topic: string, slots: readonly number[]): readonly number[] {
    return slots.filter((slot) => {
      const topics = this.#topics.get(slot);
      if (topics?.delete(topic) !== true || topics.size > 0) return false;
      return this.#topics.delete(slot);
    });
  }

  /** A slot that could not be released is its next owner's to fence. */
  async #release(slots: readonly number[], withinMs?: number): Promise<boolean> {
    if (slots.length === 0) return true;
    for (const slot of slots) this.#claims.delete(slot);
    try {
      await this.#fences.release(this.#group, slots, withinMs);
      return true;
    } catch {
      return false;
    }
  }
}
