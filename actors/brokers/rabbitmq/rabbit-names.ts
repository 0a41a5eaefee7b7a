/**
 * What the adapter's exchanges and queues are called, and with which arguments.
 *
 * All names begin with the configured prefix, so that two shops can share a server. A queue that
 * exists with other arguments is refused by the server when it is declared; nothing is changed.
 */

import type { RabbitSettings } from "./rabbit-settings.ts";

import { MEMORY_AGE_MAX_MS, MEMORY_ENTRIES_MAX } from "./rabbit-settings.ts";

/** Of a queue that is read without being emptied, by one reader at a time. */
const KEPT = {
  "x-queue-type": "quorum",
  "x-single-active-consumer": true,
  "x-overflow": "drop-head",
  // Each reading counts as a delivery; newer servers have a small limit unless told otherwise.
  "x-delivery-limit": 1_000_000_000,
} as const;

export interface QueueSpec {
  readonly name: string;
  readonly arguments: Readonly<Record<string, string | number | boolean>>;
}

export class RabbitNames {
  readonly #settings: RabbitSettings;

  constructor(settings: RabbitSettings) {
    this.#settings = settings;
  }

  /** Takes the frames of a topic; the routing key is the partition. */
  topicExchange(topic: string): string {
    return `${this.#settings.prefix}${topic}`;
  }

  /** Frames that were given out too often, on their way to the dead letters of their topic. */
  get burialExchange(): string {
    return `${this.#settings.prefix}dead-letters`;
  }

  /** What members of a group tell each other. */
  membersExchange(group: string): string {
    return `${this.#settings.prefix}members.${group}`;
  }

  memberQueue(group: string, member: string): string {
    return `${this.membersExchange(group)}.${member}`;
  }

  partitionQueue(group: string, topic: string, partition: number): QueueSpec {
    const { prefix, deliveryLimit, queueFramesMax } = this.#settings;
    return {
      name: `${prefix}${topic}.${group}.${partition}`,
      arguments: {
        "x-queue-type": "quorum",
        "x-single-active-consumer": true,
        "x-overflow": "reject-publish",
        "x-max-length": queueFramesMax,
        "x-delivery-limit": deliveryLimit,
        "x-dead-letter-exchange": this.burialExchange,
        "x-dead-letter-routing-key": topic,
        "x-dead-letter-strategy": "at-least-once",
      },
    };
  }

  /** Dead letters of a topic. Reading returns them, which must not count against them. */
  deadLetterQueue(topic: string): QueueSpec {
    return {
      name: `${this.#settings.prefix}dead-letters.${topic}`,
      arguments: { ...KEPT, "x-max-length": this.#settings.deadLettersMax },
    };
  }

  /** Retries and burials of a group that are under way. */
  memoryQueue(group: string): QueueSpec {
    const bounds = { "x-max-length": MEMORY_ENTRIES_MAX, "x-message-ttl": MEMORY_AGE_MAX_MS };
    return {
      name: `${this.#settings.prefix}memory.${group}`,
      arguments: { ...KEPT, ...bounds },
    };
  }

  /** Its newest message stands for everything that was written before it. */
  get fenceQueue(): QueueSpec {
    return {
      name: `${this.#settings.prefix}fence`,
      arguments: { "x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "drop-head" },
    };
  }
}
