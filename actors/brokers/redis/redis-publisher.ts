/**
 * Publishes frames: what was given in one turn goes to the server as one script.
 *
 * No frame of anybody else comes between those of a script, and they are stored in the order they
 * were given in, but for those that the server refuses by themselves. What it did not answer is
 * `INDETERMINATE`, and never sent twice. Refuses with `SATURATED` when too many bytes wait.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Outgoing } from "../broker.ts";
import type { Argument, RedisLink } from "./redis-link.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import { RedisRefusal } from "./redis-failure.ts";
import { logKey } from "./redis-keys.ts";
import { list, text, whole } from "./redis-reply.ts";
import { PUBLISH } from "./redis-scripts.ts";

/** Frames of one script; those of one `publish` stay together. */
const SCRIPT_FRAMES_MAX = 1_000;

export interface PublisherOptions {
  readonly environment: Environment;
  readonly link: RedisLink;
  readonly prefix: string;
  readonly bytesMax: number;
}

interface Waiting {
  readonly frames: readonly Outgoing[];
  readonly answer: PromiseWithResolvers<void>;
}

export class RedisPublisher {
  readonly #options: PublisherOptions;
  readonly #pending = new Set<Promise<void>>();
  #waiting: Waiting[] = [];
  #bytes = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  async publish(frames: readonly Outgoing[]): Promise<void> {
    if (frames.length === 0) return;
    const bytes = frames.reduce((sum, { frame }) => sum + frame.byteLength, 0);
    const { bytesMax, environment } = this.#options;
    if (this.#bytes > 0 && this.#bytes + bytes > bytesMax) {
      const why = `redis: ${this.#bytes} bytes wait for their confirmation already`;
      throw new ShopError("SATURATED", why, "later");
    }
    const answer = Promise.withResolvers<void>();
    this.#bytes += bytes;
    this.#pending.add(answer.promise);
    if (this.#waiting.push({ frames, answer }) === 1) environment.defer(() => this.#flush());
    try {
      await answer.promise;
    } finally {
      this.#bytes -= bytes;
      this.#pending.delete(answer.promise);
    }
  }

  /** Everything that was given has been answered. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending);
  }

  #flush(): void {
    let batch: Waiting[] = [];
    let frames = 0;
    for (const each of this.#waiting.splice(0)) {
      if (frames > 0 && frames + each.frames.length > SCRIPT_FRAMES_MAX) {
        void this.#send(batch);
        batch = [];
        frames = 0;
      }
      batch.push(each);
      frames += each.frames.length;
    }
    void this.#send(batch);
  }

  /** Does not reject: every failure is an answer to those who wait. */
  async #send(batch: readonly Waiting[]): Promise<void> {
    try {
      const refused = await this.#store(batch.flatMap(({ frames }) => frames));
      let at = 0;
      for (const { frames, answer } of batch) {
        const refusals = refusalsIn(refused, at, at + frames.length);
        at += frames.length;
        const [first] = refusals;
        if (first === undefined) answer.resolve();
        else if (refusals.length === frames.length) answer.reject(first);
        else answer.reject(new ShopError("INDETERMINATE", first.message, "later"));
      }
    } catch (error) {
      for (const { answer } of batch) answer.reject(error);
    }
  }

  /** Those that were refused, by their place in `frames`. */
  async #store(frames: readonly Outgoing[]): Promise<ReadonlyMap<number, RedisRefusal>> {
    const { link, prefix } = this.#options;
    const logs = new Map<string, number>();
    const parts: Argument[] = [];
    for (const { topic, frame } of frames) {
      const log = logKey(prefix, topic, frameSlot(frame));
      const number = logs.get(log) ?? logs.size + 1;
      logs.set(log, number);
      parts.push(number, frame);
    }
    const answer = list(await link.run(PUBLISH, [...logs.keys()], ...parts));
    const refused = new Map<number, RedisRefusal>();
    for (let at = 0; at + 1 < answer.length; at += 2) {
      refused.set(whole(answer[at]), new RedisRefusal(text(answer[at + 1])));
    }
    return refused;
  }
}

function refusalsIn(
  refused: ReadonlyMap<number, RedisRefusal>,
  from: number,
  to: number,
): readonly RedisRefusal[] {
  if (refused.size === 0) return [];
  return [...refused].flatMap(([place, refusal]) => (place >= from && place < to ? [refusal] : []));
}
