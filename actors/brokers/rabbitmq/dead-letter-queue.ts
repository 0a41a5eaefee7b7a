/**
 * The dead letters of a topic: appended with a confirmation, listed without being taken away.
 *
 * A letter's id is made of the time it was buried at, so that ids ascend and last whatever becomes
 * of the letters before it; letters of one moment are told apart by a count and by chance. It
 * refuses what the queue refuses.
 */

import type { Channel } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { DeadLetter } from "../broker.ts";
import type { LetterHead } from "./dead-letter-record.ts";
import type { RabbitNames } from "./rabbit-names.ts";
import type { RabbitPublisher } from "./rabbit-publisher.ts";

import { IDS_PER_MS, letterHeaders, readLetter } from "./dead-letter-record.ts";
import { readKept } from "./kept-queue.ts";

/** A member counts on from a chance number below this. */
const CHANCE = 2_048;

export class DeadLetterQueue {
  readonly #environment: Environment;
  readonly #publisher: RabbitPublisher;
  readonly #names: RabbitNames;
  #lastId = 0;

  constructor(environment: Environment, publisher: RabbitPublisher, names: RabbitNames) {
    this.#environment = environment;
    this.#publisher = publisher;
    this.#names = names;
  }

  async append(bytes: Buffer, head: LetterHead): Promise<void> {
    const { name } = this.#names.deadLetterQueue(head.topic);
    await this.#publisher.record(name, bytes, letterHeaders(this.#newId(head.buriedAtMs), head));
  }

  /** Letters with ids above `afterId`, oldest first. The channel is used up. */
  async list(
    channel: Channel,
    topic: string,
    afterId: number,
    limit: number,
  ): Promise<readonly DeadLetter[]> {
    const letters: DeadLetter[] = [];
    await this.#read(channel, topic, (content, headers) => {
      const letter = readLetter(topic, new Uint8Array(content), headers);
      if (letter !== undefined && letter.id > afterId) letters.push(letter);
    });
    return letters.sort((a, b) => a.id - b.id).slice(0, limit);
  }

  /** Was this copy buried by its group? The channel is used up. */
  async has(channel: Channel, topic: string, group: string, copy: string): Promise<boolean> {
    let isThere = false;
    await this.#read(channel, topic, (_content, headers) => {
      isThere ||= headers["copy"] === copy && headers["group"] === group;
    });
    return isThere;
  }

  #read(
    channel: Channel,
    topic: string,
    look: (content: Buffer, headers: Readonly<Record<string, unknown>>) => void,
  ): Promise<void> {
    const { name } = this.#names.deadLetterQueue(topic);
    return readKept(this.#environment, this.#publisher, channel, name, look);
  }

  #newId(buriedAtMs: number): number {
    const chance = Math.floor(this.#environment.random() * CHANCE);
    this.#lastId = Math.max(this.#lastId + 1, buriedAtMs * IDS_PER_MS + chance);
    return this.#lastId;
  }
}
