/**
 * Acknowledgements on their way to the server: gathered, sent one batch at a time, sent again.
 *
 * Acknowledging twice is the same as once, so a batch without an answer is repeated until there is
 * one or the partition is no longer held. Who waits hears whether the server took it. It keeps what
 * it was given and refuses nothing.
 */

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { Argument, RedisLink } from "./redis-link.ts";

import { entryId, laterKey, logKey } from "./redis-keys.ts";
import { list, whole } from "./redis-reply.ts";
import { ACK } from "./redis-scripts.ts";

/** Ids of one partition in one batch; Lua cannot take many thousands. */
const PART_IDS_MAX = 1_000;
/** Ids of one batch, which the server works off in one go. */
const BATCH_IDS_MAX = 4_000;
const RETRY_MS = 100;

export interface AckQueueOptions {
  readonly environment: Environment;
  readonly link: Pick<RedisLink, "run">;
  readonly prefix: string;
  readonly group: string;
  readonly ownersKey: string;
  readonly delayMs: number;
  /** The server says that it is another's. */
  readonly onStale: (partition: number, fence: string) => void;
  readonly onTrouble: (error: unknown) => void;
}

interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly fence: string;
}

/** Acknowledgements of one partition of one topic, for one batch. */
interface Part extends Place {
  readonly ids: string[];
  mayBeLater: boolean;
  readonly answer: PromiseWithResolvers<boolean>;
}

export class RedisAckQueue {
  readonly #options: AckQueueOptions;
  /** The newest part of each partition of each topic, to which more can be added. */
  readonly #open = new Map<string, Part>();
  readonly #later = new Set<string>();
  #waiting: Part[] = [];
  #sent: readonly Part[] = [];
  #timer: Timer | undefined;
  #isDue = false;
  #isClosed = false;

  constructor(options: AckQueueOptions) {
    this.#options = options;
  }

  /** Sent within the delay, or sooner. */
  add(place: Place, sequences: readonly number[]): void {
    if (this.#isClosed || sequences.length === 0) return;
    const name = nameOf(place.topic, place.partition);
    const mayBeLater = this.#later.has(name);
    let isFull = false;
    let part: Part | undefined;
    for (const sequence of sequences) {
      if (part === undefined || part.ids.length >= PART_IDS_MAX) part = this.#partOf(name, place);
      part.ids.push(entryId(sequence));
      part.mayBeLater ||= mayBeLater;
      isFull ||= part.ids.length >= PART_IDS_MAX;
    }
    if (isFull) this.#flushNow();
    else this.#flushIn(this.#options.delayMs);
  }

  /** The newest part of the partition that has room. */
  #partOf(name: string, { topic, partition, fence }: Place): Part {
    const open = this.#open.get(name);
    if (open?.fence === fence && open.ids.length < PART_IDS_MAX) return open;
    const answer = Promise.withResolvers<boolean>();
    const part: Part = { topic, partition, fence, ids: [], mayBeLater: false, answer };
    this.#open.set(name, part);
    this.#waiting.push(part);
    return part;
  }

  /** Whether the server took everything of this partition that was added so far. */
  async confirmed(partition: number, topic?: string): Promise<boolean> {
    const parts = [...this.#sent, ...this.#waiting].filter(
      (part) => part.partition === partition && (topic === undefined || part.topic === topic),
    );
    if (parts.some((part) => this.#waiting.includes(part))) this.#flushNow();
    const answers = await Promise.all(parts.map(({ answer }) => answer.promise));
    return answers.every(Boolean);
  }

  /** Everything that was added so far has been answered, or will not be. */
  async settledWithin(limitMs: number): Promise<void> {
    if (this.#waiting.length > 0) this.#flushNow();
    const parts = [...this.#sent, ...this.#waiting];
    const late = Promise.withResolvers<void>();
    const timer = this.#options.environment.startTimer(limitMs, late.resolve);
    await Promise.race([Promise.all(parts.map(({ answer }) => answer.promise)), late.promise]);
    timer.cancel();
  }

  /** Of this partition of this topic something was postponed, which goes with its settling. */
  postponed(topic: string, partition: number): void {
    this.#later.add(nameOf(topic, partition));
  }

  /** The partition is not held any more: whoever waits hears so. */
  drop(partition: number): void {
    for (const part of [...this.#sent, ...this.#waiting]) {
      if (part.partition === partition) part.answer.resolve(false);
    }
    this.#waiting = this.#waiting.filter((part) => part.partition !== partition);
    for (const name of this.#later) if (name.startsWith(`${partition}:`)) this.#later.delete(name);
    for (const [name, part] of this.#open)
      if (part.partition === partition) this.#open.delete(name);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const part of [...this.#sent, ...this.#waiting]) part.answer.resolve(false);
    this.#waiting = [];
    this.#open.clear();
  }

  #flushNow(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#options.environment.defer(() => void this.#flush());
  }

  #flushIn(delayMs: number): void {
    if (this.#isDue || this.#timer !== undefined || this.#sent.length > 0) return;
    this.#timer = this.#options.environment.startTimer(delayMs, () => this.#flushNow());
  }

  /** Does not reject: what fails is sent again. */
  async #flush(): Promise<void> {
    if (this.#sent.length > 0) return; // and again once it is answered
    this.#isDue = false;
    const batch = this.#take();
    if (batch.length === 0) return;
    this.#sent = batch;
    let delayMs = 0;
    try {
      this.#answered(batch, await this.#send(batch));
    } catch (error) {
      this.#options.onTrouble(error);
      this.#waiting = [...batch, ...this.#waiting];
      delayMs = RETRY_MS;
    }
    this.#sent = [];
    if (this.#isClosed || this.#waiting.length === 0) {
      this.#isDue = false;
      return;
    }
    this.#isDue = true;
    if (delayMs === 0) this.#options.environment.defer(() => void this.#flush());
    else this.#timer = this.#options.environment.startTimer(delayMs, () => void this.#flush());
  }

  #take(): readonly Part[] {
    let ids = 0;
    let parts = 0;
    while (parts < this.#waiting.length && ids < BATCH_IDS_MAX) {
      ids += this.#waiting[parts]!.ids.length; // `!`: the loop's bound
      parts++;
    }
    const batch = this.#waiting.splice(0, parts);
    for (const part of batch) {
      const name = nameOf(part.topic, part.partition);
      if (this.#open.get(name) === part) this.#open.delete(name);
    }
    return batch;
  }

  async #send(batch: readonly Part[]): Promise<readonly unknown[]> {
    const { link, prefix, group, ownersKey } = this.#options;
    const keys = batch.flatMap(({ topic, partition }) => [
      logKey(prefix, topic, partition),
      laterKey(prefix, group, topic, partition),
    ]);
    const parts = batch.flatMap(({ partition, fence, mayBeLater, ids }): Argument[] => [
      partition,
      fence,
      mayBeLater ? 1 : 0,
      ids.length,
      ...ids,
    ]);
    return list(await link.run(ACK, [ownersKey, ...keys], group, batch.length, ...parts));
  }

  #answered(batch: readonly Part[], results: readonly unknown[]): void {
    for (const [at, part] of batch.entries()) {
      const isTaken = whole(results[at]) === 1;
      part.answer.resolve(isTaken);
      if (!isTaken) this.#options.onStale(part.partition, part.fence);
    }
  }
}

function nameOf(topic: string, partition: number): string {
  return `${partition}:${topic}`;
}
