/**
 * The dead letters of all topics: one topic with one partition, written and read in order.
 *
 * A letter is the settlement of what it is of: whoever takes a partition over looks here for those
 * of it, so that a death between the letter and the commit leaves the frame in one place. Reads go
 * no further than where the topic ended when they began.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { DeadLetter } from "../broker.ts";
import type { FetchedRecord, KafkaDriver } from "./kafka-driver.ts";
import type { LetterOrigin, NewLetter } from "./kafka-letter.ts";
import type { PublishQueue } from "./publish-queue.ts";

import { letterOf, letterRecord, originOf } from "./kafka-letter.ts";
import { patiently } from "./patience.ts";

/** Before the prefix: the topic of dead letters. */
export const LETTERS_TOPIC = "dead-letters";
const READ_BYTES_MAX = 4 * 1_048_576;
/** While a server that was away finds out what it leads. */
const READ_WITHIN_MS = 10_000;

export interface LetterBoxOptions {
  readonly environment: Environment;
  readonly driver: KafkaDriver;
  readonly queue: PublishQueue;
  /** On the server. */
  readonly topic: string;
}

export class LetterBox {
  readonly #options: LetterBoxOptions;

  constructor(options: LetterBoxOptions) {
    this.#options = options;
  }

  /** Resolves when it is stored. */
  put(letter: Omit<NewLetter, "topic">): Promise<void> {
    const { queue, topic } = this.#options;
    return queue.publish([letterRecord({ topic, ...letter })]);
  }

  /** Letters of `topic` after id `afterId`, oldest first; of two of one delivery the first. */
  async list(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]> {
    const letters: DeadLetter[] = [];
    const seen = new Set<string>();
    if (limit <= 0) return letters;
    await this.#scan(afterId, (record) => {
      const letter = letterOf(record);
      if (letter?.topic !== topic) return true;
      const { group, partition, sequence } = letter;
      const delivery = `${partition}/${sequence}/${group}`;
      if (!seen.has(delivery)) letters.push(letter);
      seen.add(delivery);
      return letters.length < limit;
    });
    return letters;
  }

  /** What letters from offset `from` on are of, and the offset up to which was looked. */
  async origins(
    from: number,
  ): Promise<{ readonly origins: readonly LetterOrigin[]; readonly through: number }> {
    const origins: LetterOrigin[] = [];
    const through = await this.#scan(from, (record) => {
      const origin = originOf(record);
      if (origin !== undefined) origins.push(origin);
      return true;
    });
    return { origins, through };
  }

  async #scan(begin: number, look: (record: FetchedRecord) => boolean): Promise<number> {
    const { environment, driver, topic } = this.#options;
    const ends = await patiently(environment, READ_WITHIN_MS, () => driver.ends(topic));
    const span = ends.get(0) ?? { first: 0, next: 0 };
    for (let offset = Math.max(begin, span.first); offset < span.next;) {
      const from = offset;
      const records = await patiently(environment, READ_WITHIN_MS, () =>
        driver.read(topic, 0, from, READ_BYTES_MAX),
      );
      if (records.length === 0) break;
      for (const record of records) {
        if (record.offset >= span.next) return span.next;
        offset = record.offset + 1;
        if (!look(record)) return offset;
      }
    }
    return span.next;
  }
}
