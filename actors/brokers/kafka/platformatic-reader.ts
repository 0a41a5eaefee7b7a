/**
 * Fetches what a member of a group is told to, from whichever node leads it, one request a node.
 *
 * Every partition is read from the offset that it was begun with and no further while it is paused.
 * A node in trouble is asked again after a while; the others go on. Refuses to hand over what was
 * fetched for an assignment that is over.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { JoinOptions } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";
import type { Fetched } from "./platformatic-fetch.ts";
import type { PlatformaticLink } from "./platformatic-link.ts";

import { listOffsetsV6 } from "@platformatic/kafka";

import { fetchOnce } from "./platformatic-fetch.ts";

const PARTITION_BYTES_MAX = 1_048_576;
const BACKOFF_MS = 200;
const OFFSET_OUT_OF_RANGE = 1;
const EARLIEST = -2n;
const CONSUMER = -1;

interface Place {
  readonly topic: string;
  readonly partition: number;
  offset: number;
  isPaused: boolean;
}

export interface PlatformaticReaderOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly link: PlatformaticLink;
  readonly onRecords: JoinOptions["onRecords"];
}

export class PlatformaticReader {
  readonly #options: PlatformaticReaderOptions;
  readonly #places = new Map<string, Place>();
  /** Nodes that a request is under way to. */
  readonly #busy = new Set<number>();
  #isDeferred = false;
  #isOver = false;

  constructor(options: PlatformaticReaderOptions) {
    this.#options = options;
  }

  begin(topic: string, partition: number, offset: number): void {
    this.#places.set(`${topic}:${partition}`, { topic, partition, offset, isPaused: false });
    this.#touch();
  }

  setPaused(topic: string, partition: number, isPaused: boolean): void {
    const place = this.#places.get(`${topic}:${partition}`);
    if (place === undefined) return;
    place.isPaused = isPaused;
    if (!isPaused) this.#touch();
  }

  /** Nothing is fetched, and nothing that is under way is handed over. */
  clear(): void {
    this.#places.clear();
  }

  stop(): void {
    this.#isOver = true;
    this.clear();
  }

  async close(): Promise<void> {
    this.stop();
    await this.#options.link.close();
  }

  #touch(): void {
    if (this.#isDeferred || this.#isOver) return;
    this.#isDeferred = true;
    this.#options.environment.defer(() => {
      this.#isDeferred = false;
      // Whatever fails is tried again, with the nodes that are known then.
      this.#start().catch(() => this.#later());
    });
  }

  #later(): void {
    this.#options.link.forget();
    this.#options.environment.startTimer(BACKOFF_MS, () => this.#touch());
  }

  async #start(): Promise<void> {
    const wanted = [...this.#places.values()].filter(({ isPaused }) => !isPaused);
    if (wanted.length === 0) return;
    const { link } = this.#options;
    const layouts = await link.layouts([...new Set(wanted.map(({ topic }) => topic))]);
    const byNode = Map.groupBy(wanted, ({ topic, partition }) => {
      return layouts.get(topic)?.leaders[partition] ?? -1;
    });
    if (byNode.delete(-1)) this.#later();
    for (const [node, places] of byNode) {
      if (this.#busy.has(node) || this.#isOver) continue;
      this.#busy.add(node);
      void this.#fetch(node, places);
    }
  }

  /** Cannot reject. */
  async #fetch(node: number, places: readonly Place[]): Promise<void> {
    const { link, settings } = this.#options;
    try {
      const answers = await fetchOnce(await link.node(node), places, {
        waitMs: settings.fetchWaitMs,
        bytesMax: settings.fetchBytesMax,
        partitionBytesMax: Math.min(PARTITION_BYTES_MAX, settings.fetchBytesMax),
      });
      let isTroubled = false;
      for (const answer of answers) {
        const place = places.find(
          ({ topic, partition }) => topic === answer.topic && partition === answer.partition,
        );
        if (place === undefined || !this.#isCurrent(place)) continue;
        if (answer.errorCode === OFFSET_OUT_OF_RANGE) await this.#reset(node, place);
        else if (answer.errorCode === 0) this.#take(place, answer);
        else isTroubled = true;
      }
      this.#busy.delete(node);
      if (isTroubled) this.#later();
      else this.#touch();
    } catch {
      this.#busy.delete(node);
      this.#later();
    }
  }

  #take(place: Place, { records, next }: Fetched): void {
    place.offset = next;
    const { topic, partition } = place;
    if (records.length > 0) this.#options.onRecords(topic, partition, records);
  }

  #isCurrent(place: Place): boolean {
    return !this.#isOver && this.#places.get(`${place.topic}:${place.partition}`) === place;
  }

  /** What it was to read is not kept any more, or never was: from the oldest there is. */
  async #reset(node: number, place: Place): Promise<void> {
    const { topic, partition } = place;
    const partitions = [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp: EARLIEST }];
    const connection = await this.#options.link.node(node);
    const answer = await listOffsetsV6.api.async(connection, CONSUMER, 0, [
      { name: topic, partitions },
    ]);
    const oldest = answer.topics[0]?.partitions[0]?.offset;
    if (oldest !== undefined) place.offset = Number(oldest);
  }
}
