/**
 * A broker beside the log whose members begin with a partition once what the members before have
 * made of it is published: the order of a key is the same whoever takes its frames in.
 *
 * Nobody is fenced for it: a broker that is away for a while loses its members, and that must not
 * end shards whose orders go on without it. Who lost a partition and does not know yet may take a
 * frame in that another takes in too; it comes twice then, and first in its place. The wait is
 * bounded; what is left then is told, and the partition begun with. Partitions may be assigned one
 * by one, and all of them ask for the same: one wait at a time is under way, and those that come
 * meanwhile share the next.
 */

import type { Broker } from "../brokers/broker.ts";
import type { SlotFences } from "../stores/postgres/slot-fences.ts";

import { FENCE_SETTINGS } from "../stores/postgres/slot-fences.ts";

export interface TurnOptions {
  readonly fences: Pick<SlotFences, "published">;
  /** Of the log: a frame that is taken in goes by its key, whatever partition it came from. */
  readonly slots: number;
  readonly onLog: (level: "warning", text: string) => void;
}

export function takingTurns(broker: Broker, { fences, slots, onLog }: TurnOptions): Broker {
  const all = Array.from({ length: slots }, (_, slot) => slot);
  const { publishedWaitMs } = FENCE_SETTINGS;

  async function waitForOthers(group: string): Promise<void> {
    if (await fences.published(all, publishedWaitMs)) return;
    const left = "frames of other shards are still unpublished";
    onLog("warning", `${group}: after ${publishedWaitMs} ms ${left}; order may suffer`);
  }

  return {
    capabilities: broker.capabilities,
    publish: (frames) => broker.publish(frames),
    subscribe(options) {
      const othersAreOut = shared(() => waitForOthers(options.group));
      return broker.subscribe({
        ...options,
        async onAssigned(topic, partitions) {
          await othersAreOut();
          await options.onAssigned?.(topic, partitions);
        },
      });
    },
    deadLetters: (topic, afterId, limit) => broker.deadLetters(topic, afterId, limit),
    close: () => broker.close(),
  };
}

/** `work` one at a time: calls that come before it begins share it. */
function shared(work: () => Promise<void>): () => Promise<void> {
  let current: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  async function begin(after: Promise<void> | undefined): Promise<void> {
    await after?.catch(() => undefined);
    current = next;
    next = undefined;
    await work();
  }

  return () => (next ??= begin(current));
}
