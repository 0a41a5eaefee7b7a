/**
 * What a member asks of the server about partitions it holds: one script each, with its keys.
 *
 * It keeps nothing and decides nothing. Whatever changes something names the fence, and is refused
 * by the server when the partition is another's.
 */

import type { Burial, DeliveryRef, Postponement } from "../broker.ts";
import type { Argument, RedisLink } from "./redis-link.ts";
import type { RedisSettings } from "./redis-options.ts";
import type { StoredPlace } from "./redis-position.ts";

import { deadKey, entryId, groupKeys, laterKey, logKey } from "./redis-keys.ts";
import { encodePostponement, positionsOf } from "./redis-position.ts";
import { whole } from "./redis-reply.ts";
import { ATTACH, BURY, ENSURE_GROUPS, POSTPONE, RELEASE } from "./redis-scripts.ts";

/** Longest text of an error that is kept with a dead letter. */
const ERROR_CHARS_MAX = 2_000;
/** Later than anything that was handed out. */
export const NOTHING_UNSEEN = Number.MAX_SAFE_INTEGER;

export interface GroupDeskOptions {
  readonly settings: RedisSettings;
  readonly link: Pick<RedisLink, "run">;
  readonly group: string;
  readonly topics: readonly string[];
  /** Of every topic. */
  readonly partitions: number;
  readonly consumer: string;
}

export class RedisGroupDesk {
  readonly #options: GroupDeskOptions;

  constructor(options: GroupDeskOptions) {
    this.#options = options;
  }

  /** Logs and the group's place in them; what is there stays as it is. */
  async ensureGroups(from: "earliest" | "latest"): Promise<void> {
    const { link, group, topics, partitions } = this.#options;
    const keys = topics.flatMap((topic) =>
      Array.from({ length: partitions }, (_, partition) => this.#log(topic, partition)),
    );
    await link.run(ENSURE_GROUPS, keys, group, from === "earliest" ? "0" : "$");
  }

  /** Per topic; `undefined` when it is another's. */
  async places(partition: number, fence: string): Promise<readonly StoredPlace[] | undefined> {
    const { link, group, topics } = this.#options;
    const keys = topics.flatMap((topic) => [
      this.#log(topic, partition),
      this.#later(topic, partition),
    ]);
    return positionsOf(await link.run(ATTACH, [this.#owners, ...keys], group, partition, fence));
  }

  /** False when it is another's. */
  async postpone(ref: DeliveryRef, fence: string, postponement: Postponement): Promise<boolean> {
    const { link, group, consumer } = this.#options;
    const { topic, partition, sequence } = ref;
    const keys = [this.#owners, this.#log(topic, partition), this.#later(topic, partition)];
    const parts = [group, partition, fence, consumer, entryId(sequence)];
    const what = encodePostponement(postponement);
    return whole(await link.run(POSTPONE, keys, ...parts, postponement.attempt, what)) !== 0;
  }

  /** False when it is another's. True also when it was settled already. */
  async bury(ref: DeliveryRef, fence: string, burial: Burial, atMs: number): Promise<boolean> {
    const { link, group, settings } = this.#options;
    const { topic, partition, sequence } = ref;
    const { reason, attempts, firstError, lastError } = burial;
    const letters = deadKey(settings.prefix, topic);
    const log = this.#log(topic, partition);
    const keys = [this.#owners, log, this.#later(topic, partition), letters];
    const fields: readonly (readonly [string, Argument])[] = [
      ["group", group],
      ["partition", partition],
      ["sequence", sequence],
      ["reason", reason],
      ["attempts", attempts],
      ["at", atMs],
      ["first", firstError.slice(0, ERROR_CHARS_MAX)],
      ["last", lastError.slice(0, ERROR_CHARS_MAX)],
    ];
    const parts = [group, partition, fence, entryId(sequence), settings.deadLettersMax];
    return whole(await link.run(BURY, keys, ...parts, ...fields.flat())) !== 0;
  }

  /** `seen` and `received`: the last handed out and received in this claim, by topic. */
  async release(
    partition: number,
    fence: string,
    seen: ReadonlyMap<string, number>,
    received: (topic: string) => number,
  ): Promise<void> {
    const { link, group, topics, consumer } = this.#options;
    const logs = topics.map((topic) => this.#log(topic, partition));
    const lastSeen = topics.flatMap((topic) => [
      seen.get(topic) ?? NOTHING_UNSEEN,
      received(topic),
    ]);
    const parts = [group, partition, fence, consumer, ...lastSeen];
    await link.run(RELEASE, [this.#owners, ...logs], ...parts);
  }

  get #owners(): string {
    const { settings, group } = this.#options;
    return groupKeys(settings.prefix, group).owners;
  }

  #log(topic: string, partition: number): string {
    return logKey(this.#options.settings.prefix, topic, partition);
  }

  #later(topic: string, partition: number): string {
    const { settings, group } = this.#options;
    return laterKey(settings.prefix, group, topic, partition);
  }
}
