/**
 * What the tests of members with fences stand on: a broker and fences that only note what is asked.
 *
 * Claims and releases are held up when they are told to be. Nothing here asserts.
 */

import type { Broker, SubscribeOptions } from "../../brokers/broker.ts";
import type { SlotFences } from "./slot-fences.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { withFences } from "./slot-fences-member.ts";

const OPTIONS: SubscribeOptions = {
  group: "order",
  topics: ["payments", "inventory"],
  from: "earliest",
  creditFrames: 1,
  creditBytes: 1,
  leaseMs: 1_000,
  onDeliveries: () => undefined,
};

/** `own`: instead of fences that only note what is asked. */
export function setUp(own?: Pick<SlotFences, "claim" | "release">) {
  const calls: string[] = [];
  let given: SubscribeOptions | undefined;
  let claiming: PromiseWithResolvers<void> | undefined;
  const broker: Pick<Broker, "subscribe"> = {
    async subscribe(options) {
      given = options;
      return {
        ack: async () => [],
        postpone: async () => "settled",
        bury: async () => "settled",
        standing: async () => undefined,
        pause: () => undefined,
        resume: () => undefined,
        close: async (isAtRest) => void calls.push(isAtRest ? "closed at rest" : "closed"),
      };
    },
  };
  let isAway = false;
  let releasing: PromiseWithResolvers<void> | undefined;
  const fences = {
    async claim(group: string, slots: readonly number[]) {
      calls.push(`claim ${group} ${slots.join()}`);
      await claiming?.promise;
    },
    async release(group: string, slots: readonly number[], withinMs?: number) {
      const bound = withinMs === undefined ? "" : ` within ${withinMs} ms`;
      calls.push(`release ${group} ${slots.join()}${bound}`);
      if (isAway) throw new ShopError("STORAGE_FAULT", "the database is away", "later");
      const held = releasing;
      releasing = undefined;
      await held?.promise;
    },
  };
  return {
    calls,
    goAway: () => void (isAway = true),
    holdClaims: () => (claiming = Promise.withResolvers<void>()),
    /** The next one only. */
    holdRelease: () => (releasing = Promise.withResolvers<void>()),
    join: async (options: Partial<SubscribeOptions> = {}) => {
      const subscription = await withFences(broker, own ?? fences).subscribe({
        ...OPTIONS,
        ...options,
      });
      const { onAssigned, onRevoking, onRevoked } = given ?? OPTIONS;
      return {
        subscription,
        assigned: async (topic: string, slots: readonly number[]) => onAssigned?.(topic, slots),
        revoking: async (topic: string, slots: readonly number[]) => onRevoking?.(topic, slots),
        revoked: (topic: string, slots: readonly number[]) => onRevoked?.(topic, slots),
      };
    },
  };
}

/** How the release is noted that a hand-over of these waits for. */
export function handedOver(slots: string): string {
  return `release order ${slots} within 5000 ms`;
}

/** Whatever can go on without an answer has gone on. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
