/**
 * The way of outgoing frames to one broker: in order, for ever, within a bounded memory.
 *
 * All topics go on one line, in batches together. When a batch may have been taken in part, each of
 * its topics gets a line of its own, with a memory of its own, until that has caught up: a topic
 * that nobody reads holds up no other, as far as the broker's own client keeps them apart. Kafka's
 * sends one request at a time for all of them, and RabbitMQ's has one window of unconfirmed frames:
 * a topic that is never confirmed slows the others there until it is. Frames that wait are counted
 * together: admission looks at all of them. On a line of one topic smaller and
 * smaller batches are tried, so that one frame that no queue takes does not have its neighbours
 * sent for ever. What the broker will never take is handed to `onRefused`. Nothing is dropped and
 * nothing of a topic overtakes.
 */

import type { ShopError } from "../../../runtime/errors.ts";
import type { Environment } from "../../../runtime/environment.ts";
import type { Broker } from "../../brokers/broker.ts";
import type { RelayLineOptions } from "./outbox-relay-line.ts";
import type { Removals } from "./outbox-relay-removals.ts";
import type { RelayLaneSettings } from "./outbox-relay-settings.ts";
import type { OutboxFrame, OutboxTable } from "./outbox-relay-table.ts";

import { describeError } from "../../../runtime/errors.ts";
import { RelayLine } from "./outbox-relay-line.ts";
import { RelayPublisher } from "./outbox-relay-publisher.ts";

export interface RelayLaneOptions {
  /** The broker's name, for people. */
  readonly name: string;
  readonly topics: readonly string[];
  readonly broker: Pick<Broker, "publish">;
  readonly environment: Environment;
  readonly relayId: string;
  readonly table: Pick<OutboxTable, "read" | "count" | "settled">;
  readonly removals: Removals;
  readonly settings: RelayLaneSettings;
  /** Keeps a frame that the broker will never take; it leaves the outbox once this resolves. */
  readonly onRefused: (frame: OutboxFrame, error: ShopError) => Promise<void>;
  /** The broker takes frames of every topic again, or does not any more. */
  readonly onState?: (name: string, isUp: boolean, detail: string) => void;
}

export interface RelayLaneState {
  readonly name: string;
  /** Frames that wait for this broker, exact but for a moment. */
  readonly depth: number;
  readonly isUp: boolean;
  /** Why not; empty when it is. */
  readonly detail: string;
  /** Frames confirmed, frames of publications that failed, frames that were refused for good. */
  readonly published: number;
  readonly failed: number;
  readonly refused: number;
  /** Frames come from the table, not from memory. */
  readonly readsBack: boolean;
}

const NOTHING = (): void => undefined;

export class RelayLane {
  readonly #options: RelayLaneOptions;
  readonly #publisher: RelayPublisher;
  readonly #common: RelayLine;
  /** By topic. */
  readonly #apart = new Map<string, RelayLine>();
  readonly #runs = new Set<Promise<void>>();
  readonly #ended = Promise.withResolvers<void>();
  #relays: readonly string[];
  #isUp = true;

  constructor(options: RelayLaneOptions) {
    this.#options = options;
    this.#publisher = new RelayPublisher(options);
    this.#relays = [options.relayId];
    this.#common = this.#line({
      topics: options.topics,
      onTurn: () => this.#rejoin(),
      onRest: NOTHING,
      onDoubt: (batch, error) => this.#divide(batch, error),
    });
    this.#run(this.#common);
  }

  /** Settles when the lane was closed; rejects for a bug. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Topics that are to be looked at apart, because some of others may wait for long. */
  get shares(): readonly (readonly string[])[] {
    return this.#lines().map(({ topics }) => topics);
  }

  /** Frames in the order in which they were committed. */
  outgoing(frames: readonly OutboxFrame[]): void {
    const shares = Map.groupBy(frames, ({ topic }) => this.#apart.get(topic) ?? this.#common);
    for (const [line, share] of shares) line.outgoing(share);
  }

  /** From now on until it has caught up the lane believes only the table. */
  distrustMemory(): void {
    for (const line of this.#lines()) line.distrustMemory();
  }

  /** Rows of these relays beside its own are this lane's too. */
  setAdopted(relayIds: readonly string[]): void {
    this.#relays = [this.#options.relayId, ...relayIds];
    for (const line of this.#lines()) line.setRelays(this.#relays);
  }

  isKnown({ id, topic }: Pick<OutboxFrame, "id" | "topic">): boolean {
    return (this.#apart.get(topic) ?? this.#common).isKnown(id);
  }

  state(): RelayLaneState {
    const lines = this.#lines();
    return {
      name: this.#options.name,
      depth: lines.reduce((sum, { depth }) => sum + depth, 0),
      isUp: this.#isUp,
      detail: this.#trouble() ?? "",
      ...this.#publisher.counts,
      readsBack: lines.some(({ readsBack }) => readsBack),
    };
  }

  /** Frames in memory stay in the table, those of a publication under way as well. */
  async close(): Promise<void> {
    this.#stop();
    await Promise.allSettled(this.#runs);
    this.#ended.resolve();
    await this.#ended.promise;
  }

  #stop(): void {
    for (const line of this.#lines()) line.close();
    this.#publisher.abandon();
  }

  #lines(): readonly RelayLine[] {
    return [this.#common, ...this.#apart.values()];
  }

  #line(own: LineOwn): RelayLine {
    const { environment, relayId, table, removals, settings } = this.#options;
    return new RelayLine({
      environment,
      relayId,
      table,
      removals,
      settings,
      publisher: this.#publisher,
      relays: this.#relays,
      onState: () => this.#tell(),
      ...own,
    });
  }

  #run(line: RelayLine): void {
    const run = line.run().catch((error: unknown) => {
      this.#ended.reject(error);
      this.#stop();
    });
    this.#runs.add(run);
    void run.then(() => this.#runs.delete(run));
  }

  /** Nobody knows what of it was taken, nor whose fault it is: each topic for itself from now. */
  #divide(batch: readonly OutboxFrame[], error: unknown): void {
    const { settings, topics } = this.#options;
    const mixed = new Set(batch.map(({ topic }) => topic));
    const halfOf = Math.max(1, Math.floor(batch.length / 2));
    const framesMax = mixed.size === 1 ? halfOf : settings.batchFramesMax;
    for (const topic of mixed) {
      const line = this.#line({
        topics: [topic],
        settings: {
          ...settings,
          memoryFramesMax: Math.max(1, Math.floor(settings.memoryFramesMax / topics.length)),
          memoryBytesMax: Math.floor(settings.memoryBytesMax / topics.length),
        },
        doubt: { detail: describeError(error), framesMax },
        onTurn: NOTHING,
        onRest: () => this.#common.wake(),
        onDoubt: NOTHING,
      });
      this.#apart.set(topic, line);
      this.#common.give(topic, line);
      this.#run(line);
    }
  }

  /** What caught up goes with the others again. */
  #rejoin(): void {
    if (this.#common.detail !== undefined) return;
    for (const [topic, line] of this.#apart) {
      if (!line.hasCaughtUp) continue;
      this.#apart.delete(topic);
      this.#common.takeOver(line);
    }
  }

  /** Why the broker takes nothing of some topic. */
  #trouble(): string | undefined {
    if (this.#common.detail !== undefined) return this.#common.detail;
    for (const [topic, { detail }] of this.#apart) {
      if (detail !== undefined) return `${topic}: ${detail}`;
    }
    return undefined;
  }

  #tell(): void {
    const trouble = this.#trouble();
    const isUp = trouble === undefined;
    if (this.#isUp === isUp) return;
    this.#isUp = isUp;
    this.#options.onState?.(this.#options.name, isUp, trouble ?? "");
  }
}

type LineOwn = Pick<RelayLineOptions, "topics" | "onTurn" | "onRest" | "onDoubt"> &
  Partial<Pick<RelayLineOptions, "settings" | "doubt">>;
