/**
 * Fetches what a member of a group is told to, from whichever node leads it, one request a node.
 *
 * Every partition is read from the offset that it was begun with and no further while it is paused.
 * A node is told only what changed since it was last asked (`fetch-session.ts`), and under traffic
 * it is asked at a pace, so that an answer carries more than one record. What is in trouble, a node
 * or a partition, is asked again after a while and told (`read-trouble.ts`); the others go on.
 * Refuses to hand over what was fetched for an assignment that is over.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { JoinOptions } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";
import type { FetchAnswer, Fetched, FetchLimits } from "./platformatic-fetch.ts";
import type { PlatformaticLink, TopicLayout } from "./platformatic-link.ts";

import { listOffsetsV6 } from "@platformatic/kafka";

import { ShopError } from "../../../runtime/errors.ts";
import { FetchSession } from "./fetch-session.ts";
import { summaryOf } from "./platformatic-errors.ts";
import { fetchOnce } from "./platformatic-fetch.ts";
import { ReadTrouble } from "./read-trouble.ts";
import { RequestPace } from "./request-pace.ts";
import { settledWithin } from "./settled-within.ts";

const PARTITION_BYTES_MAX = 1_048_576;
/** Until it is asked again who leads what. */
const BACKOFF_MS = 200;
/** For telling the nodes that nobody fetches any more. */
const END_WITHIN_MS = 500;
/** An answer of so much is worth its request: the next does not wait. */
const FULL_BYTES = 65_536;
const OFFSET_OUT_OF_RANGE = 1;
/** The node has forgotten the session, or did not see its last request. */
const SESSION_LOST = 70;
const SESSION_ASTRAY = 71;
const EARLIEST = -2n;
const CONSUMER = -1;

interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly trouble: ReadTrouble;
  offset: number;
  isPaused: boolean;
}

interface Node {
  readonly id: number;
  readonly session: FetchSession;
  readonly pace: RequestPace;
  readonly trouble: ReadTrouble;
  /** A request is under way, or waits for its time. */
  isBusy: boolean;
}

type Places = Map<string, Map<number, Place>>;

export interface PlatformaticReaderOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly link: PlatformaticLink;
  readonly onRecords: JoinOptions["onRecords"];
  readonly onUnreadable: JoinOptions["onUnreadable"];
}

export class PlatformaticReader {
  readonly #options: PlatformaticReaderOptions;
  /** By topic and partition. */
  readonly #places: Places = new Map();
  readonly #nodes = new Map<number, Node>();
  #layouts: ReadonlyMap<string, TopicLayout> = new Map();
  /** The layouts are wrong, and asked for anew from then on; absent: they are right. */
  #askAgainMs: number | undefined;
  /** The one timer for whatever is asked again later. */
  #retry: { readonly dueMs: number; readonly timer: Timer } | undefined;
  #isDeferred = false;
  #isOver = false;

  constructor(options: PlatformaticReaderOptions) {
    this.#options = options;
  }

  begin(topic: string, partition: number, offset: number): void {
    const ofTopic = this.#places.get(topic) ?? new Map<number, Place>();
    this.#places.set(topic, ofTopic);
    const before = ofTopic.get(partition);
    if (before !== undefined) this.#isWell(before);
    const trouble = new ReadTrouble();
    ofTopic.set(partition, { topic, partition, trouble, offset, isPaused: false });
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
    for (const ofTopic of this.#places.values()) {
      for (const place of ofTopic.values()) this.#isWell(place);
    }
    for (const node of this.#nodes.values()) this.#isWell(node);
    this.#places.clear();
  }

  stop(): void {
    this.#isOver = true;
    this.#retry?.timer.cancel();
    this.#retry = undefined;
    this.clear();
  }

  /** `tellsNodes` false: as if the process had died. */
  async close(tellsNodes: boolean): Promise<void> {
    const { environment, link } = this.#options;
    this.stop();
    if (tellsNodes) {
      const ending = Promise.all([...this.#nodes.values()].map((node) => this.#end(node)));
      await settledWithin(environment, END_WITHIN_MS, ending);
    }
    await link.close();
  }

  async #end(node: Node): Promise<void> {
    const ask = node.session.ending();
    if (ask === undefined) return;
    const limits = { ...this.#limits(), waitMs: 0 };
    await fetchOnce(await this.#options.link.node(node.id), ask, limits, () => undefined);
  }

  #find(topic: string, partition: number): Place | undefined {
    return this.#places.get(topic)?.get(partition);
  }

  #touch(): void {
    if (this.#isDeferred || this.#isOver) return;
    this.#isDeferred = true;
    this.#options.environment.defer(() => {
      this.#isDeferred = false;
      void this.#start(); // cannot reject
    });
  }

  /** Looks again at what is to be fetched, then or earlier. */
  #touchAt(dueMs: number): void {
    if (this.#isOver) return;
    if (this.#retry !== undefined && this.#retry.dueMs <= dueMs) return;
    this.#retry?.timer.cancel();
    const { environment } = this.#options;
    const timer = environment.startTimer(Math.max(0, dueMs - environment.monotonicMs()), () => {
      this.#retry = undefined;
      this.#touch();
    });
    this.#retry = { dueMs, timer };
  }

  async #start(): Promise<void> {
    const layouts = await this.#currentLayouts();
    if (this.#isOver) return;
    const nowMs = this.#options.environment.monotonicMs();
    const byNode = new Map<Node, Place[]>();
    const leaderless: Place[] = [];
    let dueMs: number | undefined;
    for (const [topic, places] of this.#places) {
      const leaders = layouts.get(topic)?.leaders;
      for (const place of places.values()) {
        if (place.isPaused) continue;
        const leader = leaders?.[place.partition] ?? -1;
        if (leader < 0) {
          leaderless.push(place);
          continue;
        }
        const node = this.#node(leader);
        const readyMs = Math.max(place.trouble.notBeforeMs, node.trouble.notBeforeMs);
        const led = byNode.get(node);
        if (readyMs > nowMs) dueMs = Math.min(dueMs ?? readyMs, readyMs);
        else if (led === undefined) byNode.set(node, [place]);
        else led.push(place);
      }
    }
    if (leaderless.length > 0) this.#noteLeaderless(leaderless);
    if (dueMs !== undefined) this.#touchAt(dueMs);
    if (this.#askAgainMs !== undefined) this.#touchAt(this.#askAgainMs);
    for (const [node, places] of byNode) {
      if (node.isBusy) continue;
      node.isBusy = true;
      void this.#fetch(node, places); // cannot reject
    }
  }

  /** Who leads what, as far as is known. */
  async #currentLayouts(): Promise<ReadonlyMap<string, TopicLayout>> {
    const { environment, link } = this.#options;
    if (this.#askAgainMs !== undefined) {
      if (environment.monotonicMs() < this.#askAgainMs) return this.#layouts;
      this.#askAgainMs = undefined;
      link.forget();
    }
    try {
      this.#layouts = await link.layouts([...this.#places.keys()]);
    } catch {
      this.#askAgain();
    }
    return this.#layouts;
  }

  /** What is known of the cluster may be wrong. */
  #askAgain(): void {
    this.#askAgainMs ??= this.#options.environment.monotonicMs() + BACKOFF_MS;
  }

  #noteLeaderless(places: readonly Place[]): void {
    if (this.#askAgainMs !== undefined) return;
    this.#askAgain();
    for (const place of places) this.#isIll(place, "nobody is known to lead it", true);
  }

  #node(id: number): Node {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    const { environment, settings } = this.#options;
    const node: Node = {
      id,
      session: new FetchSession(),
      pace: new RequestPace(environment, settings.fetchGatherMs),
      trouble: new ReadTrouble(),
      isBusy: false,
    };
    this.#nodes.set(id, node);
    return node;
  }

  /** Cannot reject. */
  async #fetch(node: Node, places: readonly Place[]): Promise<void> {
    let waitMs = 0;
    try {
      const asked = placesBy(places);
      const answer = await this.#ask(node, places, asked);
      this.#isWell(node);
      const lost: Place[] = [];
      for (const each of answer.fetched) {
        const place = asked.get(each.topic)?.get(each.partition);
        if (place === undefined || !this.#isCurrent(place)) continue;
        if (each.errorCode === OFFSET_OUT_OF_RANGE) lost.push(place);
        else this.#take(place, each);
      }
      for (const place of lost) await this.#reset(node.id, place);
      if (answer.bytes < FULL_BYTES) waitMs = node.pace.waitMs();
    } catch (error) {
      node.session.forget();
      this.#isIll(node, summaryOf(error), true);
      this.#askAgain();
    }
    this.#goOn(node, waitMs);
  }

  async #ask(node: Node, places: readonly Place[], asked: Places): Promise<FetchAnswer> {
    const connection = await this.#options.link.node(node.id);
    if (this.#isOver) throw new ShopError("CLOSED", "nobody fetches any more", "never");
    node.pace.noted();
    const ask = node.session.ask(places);
    const answer = await fetchOnce(connection, ask, this.#limits(), (topic, at) => {
      const place = asked.get(topic)?.get(at);
      return place !== undefined && this.#isCurrent(place) ? place.offset : undefined;
    });
    if (answer.errorCode === SESSION_LOST) node.session.lost();
    else if (answer.errorCode === SESSION_ASTRAY) node.session.forget();
    else if (answer.errorCode === 0) node.session.answered(answer.sessionId);
    else {
      const message = `kafka: node ${node.id} refuses to be read (${answer.errorCode})`;
      throw new ShopError("STORAGE_FAULT", message, "later");
    }
    return answer;
  }

  #limits(): FetchLimits {
    const { fetchWaitMs, fetchBytesMax } = this.#options.settings;
    return {
      waitMs: fetchWaitMs,
      bytesMax: fetchBytesMax,
      partitionBytesMax: Math.min(PARTITION_BYTES_MAX, fetchBytesMax),
    };
  }

  /** At once or, when answers come often with little in them, a moment later. */
  #goOn(node: Node, waitMs: number): void {
    const again = (): void => {
      node.isBusy = false;
      this.#touch();
    };
    if (waitMs === 0 || this.#isOver) again();
    else this.#options.environment.startTimer(waitMs, again);
  }

  #take(place: Place, { errorCode, fault, records, next }: Fetched): void {
    if (fault !== undefined) {
      // Another may lead it by now.
      if (errorCode !== 0) this.#askAgain();
      this.#isIll(place, fault.why, fault.isPassing);
      return;
    }
    this.#isWell(place);
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
    try {
      const connection = await this.#options.link.node(node);
      const answer = await listOffsetsV6.api.async(connection, CONSUMER, 0, [
        { name: topic, partitions },
      ]);
      const oldest = answer.topics[0]?.partitions[0]?.offset;
      if (oldest !== undefined) place.offset = Number(oldest);
      else if (this.#isCurrent(place)) this.#isIll(place, "nobody says where it begins", true);
    } catch (error) {
      this.#askAgain();
      if (this.#isCurrent(place)) this.#isIll(place, summaryOf(error), true);
    }
  }

  #isIll(what: Node | Place, why: string, isPassing: boolean): void {
    if (this.#isOver) return;
    const nowMs = this.#options.environment.monotonicMs();
    if (what.trouble.noted(why, isPassing, nowMs)) this.#options.onUnreadable(nameOf(what), why);
  }

  #isWell(what: Node | Place): void {
    if (what.trouble.over()) this.#options.onUnreadable(nameOf(what), undefined);
  }
}

function nameOf(what: Node | Place): string {
  return "id" in what ? `node ${what.id}` : `${what.topic}/${what.partition}`;
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
