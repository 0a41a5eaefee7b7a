/**
 * What a group remembers, as one member knows it: retries that wait, and burials under way.
 *
 * Every member writes to one queue, which keeps a bounded number of entries, the newest. A frame
 * that is given out again may have been given out elsewhere before, so its member reads the queue
 * first. It refuses to hold a partition up: what cannot be read is done without, and a retry then
 * comes too early, which is better than never.
 */

import type { Channel } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { Postponement } from "../broker.ts";
import type { MemoryRecord } from "./memory-record.ts";
import type { RabbitPublisher } from "./rabbit-publisher.ts";

import { readKept } from "./kept-queue.ts";
import { decodeMemory, encodeMemory } from "./memory-record.ts";
import { isPassing } from "./rabbit-faults.ts";
import { MEMORY_ENTRIES_MAX } from "./rabbit-settings.ts";

const CATCH_UP_MS = 10_000;
/** Between two looks for a queue that is not there yet. */
const AGAIN_MS = 100;

export class GroupMemory {
  readonly #environment: Environment;
  readonly #publisher: RabbitPublisher;
  readonly #queue: string;
  readonly #newChannel: () => Promise<Channel>;
  /** By copy; the newest last. */
  readonly #postponed = new Map<string, Postponement>();
  readonly #burying = new Map<string, true>();
  #catchingUp: Promise<void> | undefined;

  constructor(
    environment: Environment,
    publisher: RabbitPublisher,
    queue: string,
    newChannel: () => Promise<Channel>,
  ) {
    this.#environment = environment;
    this.#publisher = publisher;
    this.#queue = queue;
    this.#newChannel = newChannel;
  }

  postponement(copy: string): Postponement | undefined {
    return this.#postponed.get(copy);
  }

  /** A burial of this copy has begun, here or elsewhere; it may have been cut short. */
  isBeingBuried(copy: string): boolean {
    return this.#burying.has(copy);
  }

  async remember(copy: string, postponement: Postponement): Promise<void> {
    await this.#write({ kind: "postponed", copy, ...postponement });
  }

  async announceBurial(copy: string): Promise<void> {
    await this.#write({ kind: "burying", copy });
  }

  forget(copy: string): void {
    this.#postponed.delete(copy);
    this.#burying.delete(copy);
  }

  /** Resolves when everything that was written before this call has been read. */
  catchUp(): Promise<void> {
    // Whoever asks in the same turn shares a reading, which begins after all of them asked.
    this.#catchingUp ??= new Promise((resolve) => {
      this.#environment.defer(() => {
        this.#catchingUp = undefined;
        void this.#read().then(resolve);
      });
    });
    return this.#catchingUp;
  }

  async #read(): Promise<void> {
    const untilMs = this.#environment.monotonicMs() + CATCH_UP_MS;
    for (;;) {
      try {
        const channel = await this.#newChannel();
        await readKept(this.#environment, this.#publisher, channel, this.#queue, (content) => {
          const record = decodeMemory(content);
          if (record !== undefined) this.#take(record);
        });
        return;
      } catch (error) {
        if (!isPassing(error) || this.#environment.monotonicMs() >= untilMs) return;
      }
      const environment = this.#environment;
      await new Promise<void>((resolve) => void environment.startTimer(AGAIN_MS, resolve));
    }
  }

  async #write(record: MemoryRecord): Promise<void> {
    this.#take(record);
    await this.#publisher.record(this.#queue, encodeMemory(record), {});
  }

  #take(record: MemoryRecord): void {
    const { kind, copy } = record;
    if (kind === "burying") {
      keep(this.#burying, copy, true);
      return;
    }
    const { attempt, notBeforeMs, error } = record;
    keep(this.#postponed, copy, { attempt, notBeforeMs, error });
  }
}

function keep<Value>(entries: Map<string, Value>, copy: string, value: Value): void {
  entries.delete(copy);
  entries.set(copy, value);
  if (entries.size <= MEMORY_ENTRIES_MAX) return;
  for (const oldest of entries.keys()) {
    entries.delete(oldest);
    return;
  }
}
