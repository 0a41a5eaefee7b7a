/**
 * Fetches what a member of a group is told to, from whichever node leads it, one request a node.
 *
 * Every partition is read from the offset that it was begun with and no further while it is paused.
 * A node is told only what changed since it was last asked (`fetch-session.ts`), and under traffic
 * it is asked at a pace, so that an answer carries more than one record. A node in trouble is asked
 * again after a while; the others go on. Refuses to hand over what was fetched for an assignment
 * that is over.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { JoinOptions } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";
import type { FetchAnswer, Fetched } from "./platformatic-fetch.ts";
import type { PlatformaticLink } from "./platformatic-link.ts";

import { listOffsetsV6 } from "@platformatic/kafka";

import { ShopError } from "../../../runtime/errors.ts";
import { FetchSession } from "./fetch-session.ts";
import { fetchOnce } from "./platformatic-fetch.ts";
import { RequestPace } from "./request-pace.ts";

const PARTITION_BYTES_MAX = 1_048_576;
const BACKOFF_MS = 200;
/** An answer of so much is worth its request: the next does not wait. */
const FULL_BYTES = 65_536;
const OFFSET_OUT_OF_RANGE = 1;
/** The session is forgotten, or did not see the last request. */
const SESSION_OVER: ReadonlySet<number> = new Set([70, 71]);
const EARLIEST = -2n;
const CONSUMER = -1;

interface Place {
  readonly topic: string;
  readonly partition: number;
  offset: number;
  isPaused: boolean;
}

interface Node {
  readonly id: number;
  readonly session: FetchSession;
  readonly pace: RequestPace;
  /** A request is under way, or waits for its time. */
  isBusy: boolean;
}

type Places = Map<string, Map<number, Place>>;

export interface PlatformaticReaderOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly link: PlatformaticLink;
  readonly onRecords: JoinOptions["onRecords"];
}

export class PlatformaticReader {
  readonly #options: PlatformaticReaderOptions;
  /** By topic and partition. */
  readonly #places: Places = new Map();
  readonly #nodes = new Map<number, Node>();
  #isDeferred = false;
  #isOver = false;

  constructor(options: PlatformaticReaderOptions) {
    this.#options = options;
  }

  begin(topic: string, partition: number, offset: number): void {
    const ofTopic = this.#places.get(topic) ?? new Map<number, Place>();
    this.#places.set(topic, ofTopic);
    ofTopic.set(partition, { topic, partition, offset, isPaused: false });
    this.#touch();
  }

  setPaused(topic: string, partition: number, isPaused: boolean): void {
    const place = this.#find(topic, partition);
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

  #find(topic: string, partition: number): Place | undefined {
    return this.#places.get(topic)?.get(partition);
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
    const { link } = this.#options;
    const layouts = await link.layouts([...this.#places.keys()]);
    const byNode = new Map<number, Place[]>();
    for (const [topic, places] of this.#places) {
      const leaders = layouts.get(topic)?.leaders;
      for (const place of places.values()) {
        if (place.isPaused) continue;
        const leader = leaders?.[place.partition] ?? -1;
        const led = byNode.get(leader);
        if (led === undefined) byNode.set(leader, [place]);
        else led.push(place);
      }
    }
    if (byNode.delete(-1)) this.#later();
    for (const [id, places] of byNode) {
      const node = this.#node(id);
      if (node.isBusy || this.#isOver) continue;
      node.isBusy = true;
      void this.#fetch(node, places);
    }
  }

  #node(id: number): Node {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    const { environment, settings } = this.#options;
    const pace = new RequestPace(environment, settings.fetchGatherMs);
    const node: Node = { id, session: new FetchSession(), pace, isBusy: false };
    this.#nodes.set(id, node);
    return node;
  }

  /** Cannot reject. */
  async #fetch(node: Node, places: readonly Place[]): Promise<void> {
    try {
      const asked = placesBy(places);
      const answer = await this.#ask(node, places, asked);
      let isTroubled = false;
      for (const each of answer.fetched) {
        const place = asked.get(each.topic)?.get(each.partition);
        if (place === undefined || !this.#isCurrent(place)) continue;
        if (each.errorCode === OFFSET_OUT_OF_RANGE) await this.#reset(node.id, place);
        else if (each.errorCode === 0) this.#take(place, each);
        else isTroubled = true;
      }
      if (!isTroubled) return this.#gather(node, answer.bytes);
    } catch {
      node.session.forget();
    }
    node.isBusy = false;
    this.#later();
  }

  async #ask(node: Node, places: readonly Place[], asked: Places): Promise<FetchAnswer> {
    const { link, settings } = this.#options;
    const connection = await link.node(node.id);
    const limits = {
      waitMs: settings.fetchWaitMs,
      bytesMax: settings.fetchBytesMax,
      partitionBytesMax: Math.min(PARTITION_BYTES_MAX, settings.fetchBytesMax),
    };
    node.pace.noted();
    const answer = await fetchOnce(connection, node.session.ask(places), limits, (topic, at) => {
      const place = asked.get(topic)?.get(at);
      return place !== undefined && this.#isCurrent(place) ? place.offset : undefined;
    });
    if (SESSION_OVER.has(answer.errorCode)) node.session.forget();
    else if (answer.errorCode === 0) node.session.answered(answer.sessionId);
    else {
      const message = `kafka: node ${node.id} refuses to be read (${answer.errorCode})`;
      throw new ShopError("STORAGE_FAULT", message, "later");
    }
    return answer;
  }

  /** Asks again at once or, when answers come often with little in them, a moment later. */
  #gather(node: Node, answeredBytes: number): void {
    const again = (): void => {
      node.isBusy = false;
      this.#touch();
    };
    const waitMs = answeredBytes >= FULL_BYTES ? 0 : node.pace.waitMs();
    if (waitMs === 0) again();
    else this.#options.environment.startTimer(waitMs, again);
  }

  #take(place: Place, { records, next }: Fetched): void {
    place.offset = next;
    const { topic, partition } = place;
    if (records.length > 0) this.#options.onRecords(topic, partition, records);
  }

  #isCurrent(place: Place): boolean {
    return !this.#isOver && this.#find(place.topic, place.partition) === place;
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

function placesBy(places: readonly Place[]): Places {
  const byTopic: Places = new Map();
  for (const place of places) {
    const ofTopic = byTopic.get(place.topic);
    if (ofTopic === undefined) byTopic.set(place.topic, new Map([[place.partition, place]]));
    else ofTopic.set(place.partition, place);
  }
  return byTopic;
}
