/**
 * A store and a broker that are two systems, joined so that a commit acknowledges its deliveries as
 * it does where both are one.
 *
 * The acknowledgement follows the commit and may be lost with the process: then the deliveries come
 * again and the inbox marks of their units say so. It refuses to acknowledge what was not
 * committed. A delivery of a group that has left meanwhile is somebody else's already.
 */

import type { Broker, DeliveryRef, SubscribeOptions, Subscription } from "../brokers/broker.ts";
import type { Store } from "../stores/unit-of-work.ts";

export interface JoinedSystems {
  readonly store: Store;
  readonly broker: Broker;
}

/** `broker`: what members join; its acknowledgements need not be waited for. */
export function joinSystems(store: Store, broker: Broker): JoinedSystems {
  /** Of this thread; a group may have several members here. */
  const members = new Map<string, Set<Subscription>>();

  async function subscribe(options: SubscribeOptions): Promise<Subscription> {
    const { group } = options;
    const subscription = await broker.subscribe({ acks: "soon", ...options });
    const ofGroup = members.get(group) ?? new Set<Subscription>();
    members.set(group, ofGroup.add(subscription));
    const close = async (isAtRest: boolean): Promise<void> => {
      ofGroup.delete(subscription);
      await subscription.close(isAtRest);
    };
    return {
      ack: (deliveries) => subscription.ack(deliveries),
      postpone: (delivery, postponement) => subscription.postpone(delivery, postponement),
      bury: (delivery, burial) => subscription.bury(delivery, burial),
      standing: (look) => subscription.standing(look),
      pause: () => subscription.pause(),
      resume: () => subscription.resume(),
      close,
    };
  }

  function acknowledge(deliveries: readonly DeliveryRef[]): void {
    const [first] = deliveries;
    if (first === undefined) return;
    // A unit settles deliveries of one group.
    for (const subscription of members.get(first.group) ?? []) {
      // What is not settled by that comes again, and changes nothing.
      subscription.ack(deliveries).catch(() => undefined);
    }
  }

  return {
    store: {
      acknowledges: true,
      load: (table, keys) => store.load(table, keys),
      async commit(unit, deliveries) {
        const result = await store.commit(unit, deliveries);
        if (result.kind === "committed") acknowledge(deliveries);
        return result;
      },
    },
    broker: {
      capabilities: broker.capabilities,
      publish: (frames) => broker.publish(frames),
      subscribe,
      deadLetters: (topic, afterId, limit) => broker.deadLetters(topic, afterId, limit),
      close: () => broker.close(),
    },
  };
}
