/**
 * A broker whose members bury into a store of dead letters that all brokers share.
 *
 * A letter is kept first and then acknowledged at the broker: whoever dies in between is given the
 * frame again and buries it again, which the store knows it by. Operators see all letters in one
 * place, whichever broker the frame came from. A delivery that is not in hand any more is not
 * buried: somebody else has it. For brokers whose deliveries are settled through their
 * subscription, and not by a store.
 */

import type { DeadLetterReads } from "../dead-letters/letter-port.ts";
import type {
  Broker,
  Burial,
  DeadLetter,
  Delivery,
  DeliveryRef,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";

import { LETTERS_PAGE_MAX } from "../dead-letters/letter-port.ts";

/** A letter as it is to be kept. */
export type LetterDraft = Omit<DeadLetter, "id">;

export interface LetterStore extends Pick<DeadLetterReads, "page"> {
  /**
   * Idempotent, and durable once it resolves. `isPositionLasting`: partition and sequence name the
   * same delivery for ever; else the message's id names it.
   */
  bury(letter: LetterDraft, isPositionLasting: boolean): Promise<unknown>;
}

export interface LetterStoreOptions {
  readonly broker: Broker;
  readonly letters: LetterStore;
  readonly nowMs: () => number;
}

export function withLetterStore({ broker, letters, nowMs }: LetterStoreOptions): Broker {
  return {
    capabilities: broker.capabilities,
    publish: (frames) => broker.publish(frames),
    async deadLetters(topic, afterId, limit) {
      const bounded = Math.min(limit, LETTERS_PAGE_MAX);
      return (await letters.page({ topic }, { afterId, limit: bounded })).letters;
    },
    close: () => broker.close(),
    async subscribe(options) {
      const inHand = new BytesInHand();
      const inner = await broker.subscribe({ ...options, ...noting(options, inHand) });
      return buryingElsewhere(inner, inHand, async (ref, bytes, burial) => {
        const { group, topic, partition, sequence } = ref;
        const buriedAtMs = nowMs();
        const letter = { group, topic, partition, sequence, bytes, burial, buriedAtMs };
        await letters.bury(letter, broker.capabilities.sequencesLast);
      });
    },
  };
}

function noting(
  options: SubscribeOptions,
  inHand: BytesInHand,
): Required<Pick<SubscribeOptions, "onDeliveries" | "onRevoked">> {
  return {
    onDeliveries(deliveries) {
      inHand.add(deliveries);
      options.onDeliveries(deliveries);
    },
    onRevoked(topic, partitions) {
      for (const partition of partitions) inHand.lose(topic, partition);
      options.onRevoked?.(topic, partitions);
    },
  };
}

function buryingElsewhere(
  inner: Subscription,
  inHand: BytesInHand,
  bury: (ref: DeliveryRef, bytes: Uint8Array, burial: Burial) => Promise<void>,
): Subscription {
  async function ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    const results = await inner.ack(deliveries);
    for (const delivery of deliveries) inHand.remove(delivery);
    return results;
  }
  return {
    ack,
    postpone: (delivery, postponement) => inner.postpone(delivery, postponement),
    async bury(delivery, burial) {
      const bytes = inHand.find(delivery);
      // Only the broker knows whether it was settled or is another's.
      if (bytes !== undefined) await bury(delivery, bytes, burial);
      const [result] = await ack([delivery]);
      return result ?? "stale";
    },
    standing: (look) => inner.standing(look),
    pause: () => inner.pause(),
    resume: () => inner.resume(),
    close: (isAtRest) => inner.close(isAtRest),
  };
}

/** The bytes of what one member holds, which are in memory anyway. */
class BytesInHand {
  /** By topic, partition and sequence. */
  readonly #topics = new Map<string, Map<number, Map<number, Delivery>>>();

  add(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      const { topic, partition, sequence } = delivery;
      let partitions = this.#topics.get(topic);
      if (partitions === undefined) this.#topics.set(topic, (partitions = new Map()));
      let held = partitions.get(partition);
      if (held === undefined) partitions.set(partition, (held = new Map<number, Delivery>()));
      held.set(sequence, delivery);
    }
  }

  find({ topic, partition, sequence, epoch }: DeliveryRef): Uint8Array | undefined {
    const held = this.#topics.get(topic)?.get(partition)?.get(sequence);
    return held?.epoch === epoch ? held.bytes : undefined;
  }

  /** Unless it is another delivery of the same frame by now. */
  remove({ topic, partition, sequence, epoch }: DeliveryRef): void {
    const held = this.#topics.get(topic)?.get(partition);
    if (held?.get(sequence)?.epoch === epoch) held.delete(sequence);
  }

  lose(topic: string, partition: number): void {
    this.#topics.get(topic)?.delete(partition);
  }
}
