/**
 * The connection that everything is published on: frames, records of the adapter, talk of members.
 *
 * It is apart from the connections that consume, because a server short of disk or memory stops
 * reading from connections that publish, and acknowledgements must go on. Frames and records have
 * a lane each, so that a record does not wait behind a backlog. Refuses what its lanes refuse.
 */

import type { Channel, ChannelModel, Options } from "amqplib";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../broker.ts";
import type { RabbitMessage } from "./publish-encoder.ts";
import type { LogLevel } from "./rabbit-link.ts";
import type { RabbitNames } from "./rabbit-names.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";
import type { Place } from "./rabbit-topology.ts";

import { describeError } from "../../../runtime/errors.ts";
import { ConfirmLane } from "./confirm-lane.ts";
import { RabbitLink, tell } from "./rabbit-link.ts";
import { NEW_QUEUE_WAIT_MS, RETURN_TIMEOUT_MS } from "./rabbit-settings.ts";
import { declareGroup, declareTopics } from "./rabbit-topology.ts";

/**
 * A connection learns that the server takes nothing only by publishing. So that no frame has to
 * find out, something that is for nobody is published this often.
 */
const FEEL_MS = 500;
const EMPTY = Buffer.alloc(0);

export interface RabbitPublisherOptions {
  readonly environment: Environment;
  readonly settings: RabbitSettings;
  readonly names: RabbitNames;
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly name: string;
  readonly onConnection: (state: ConnectionState) => void;
  readonly onLog: (level: LogLevel, text: string) => void;
}

export class RabbitPublisher {
  readonly #options: RabbitPublisherOptions;
  readonly #link: RabbitLink;
  readonly #frames: ConfirmLane;
  readonly #records: ConfirmLane;
  /** Groups whose queues exist, with their topics. */
  readonly #groups = new Map<string, Set<string>>();
  readonly #unroutable = new Set<(queue: string) => void>();
  #talk: Channel | undefined;
  #feeler: Timer | undefined;
  /** Channels of an older one than the last tell nothing about those that are open. */
  #setups = 0;
  #isClosed = false;

  constructor(options: RabbitPublisherOptions) {
    const { environment, settings, name, onConnection, onLog } = options;
    this.#options = options;
    this.#frames = new ConfirmLane(environment, settings, settings.publishGatherMs);
    this.#records = new ConfirmLane(environment, settings);
    this.#link = new RabbitLink({
      environment,
      settings,
      name,
      setup: (model) => this.#setUp(model),
      onDown: (error) => {
        this.#lose();
        onConnection({ isUp: false, detail: describeError(error) });
      },
      onAttempt: (error) => {
        this.#lose();
        if (!this.#isClosed) onConnection({ isUp: false, detail: describeError(error) });
      },
      onBlocked: (isBlocked) => this.#setBlocked(isBlocked),
      onLog,
    });
    for (const [topic, groups] of Object.entries(settings.groups)) {
      for (const group of groups) this.#groupTopics(group).add(topic);
    }
  }

  get isBlocked(): boolean {
    return this.#frames.isBlocked;
  }

  get isUp(): boolean {
    return this.#talk !== undefined;
  }

  async open(): Promise<void> {
    await this.#link.open();
  }

  /** Makes the queues of a group that the configuration does not name. */
  async addGroup(group: string, topics: readonly string[]): Promise<void> {
    const known = this.#groupTopics(group);
    const added = topics.filter((topic) => !known.has(topic));
    if (added.length === 0) return;
    const { names, partitions } = this.#options;
    const place = this.#place(this.#link.model);
    const isNew = await declareGroup(place, names, group, added, partitions);
    if (isNew) await this.#untilOnDisk();
    for (const topic of added) known.add(topic);
  }

  publish(messages: readonly RabbitMessage[]): Promise<void> {
    return this.#frames.send(messages);
  }

  /** One message to the queue of this name, confirmed. */
  async record(queue: string, content: Buffer, headers: Record<string, unknown>): Promise<void> {
    const options = { headers };
    await this.#records.send([{ exchange: "", routingKey: queue, content, options }]);
  }

  /** Resolves when all that the server took before on this node is on its disk. */
  async fence(): Promise<void> {
    if (this.isBlocked || !this.isUp) return;
    await this.record(this.#options.names.fenceQueue.name, EMPTY, {});
  }

  /** Without a confirmation; dropped while there is no connection. */
  say(exchange: string, text: string): void {
    this.#tell(exchange, "", Buffer.from(text));
  }

  /** Tells `onUnroutable` listeners when there is no queue of this name. */
  ask(queue: string): void {
    this.#tell("", queue, EMPTY, { mandatory: true });
  }

  /** Calls `listener` with names of queues that were asked for and are not there. */
  onUnroutable(listener: (queue: string) => void): () => void {
    this.#unroutable.add(listener);
    return () => void this.#unroutable.delete(listener);
  }

  async close(): Promise<void> {
    await Promise.all([this.#frames.close(), this.#records.close()]);
    this.#isClosed = true;
    this.#feeler?.cancel();
    await this.#link.close();
    this.#lose();
  }

  async #setUp(model: ChannelModel): Promise<void> {
    const { names, topics, partitions, onConnection } = this.#options;
    this.#lose();
    const place = this.#place(model);
    let isNew = await declareTopics(place, names, topics);
    for (const [group, known] of this.#groups) {
      if (await declareGroup(place, names, group, [...known], partitions)) isNew = true;
    }
    if (isNew) await this.#untilOnDisk();
    const setup = ++this.#setups;
    const renew = (): void => {
      if (setup !== this.#setups) return;
      this.#lose();
      void this.#link.renew();
    };
    const frames = await this.#link.confirmChannel(model, renew);
    const records = await this.#link.confirmChannel(model, renew);
    const talk = await this.#link.channel(model, renew);
    talk.on("return", ({ fields }) => {
      const queue: unknown = "routingKey" in fields ? fields.routingKey : undefined;
      if (typeof queue !== "string") return;
      for (const listener of this.#unroutable) listener(queue);
    });
    this.#talk = talk;
    this.#frames.open(frames);
    this.#records.open(records);
    this.#feel();
    onConnection({ isUp: true, detail: "" });
  }

  #place(model: ChannelModel): Place {
    const { environment } = this.#options;
    return { environment, model, untilMs: environment.monotonicMs() + RETURN_TIMEOUT_MS };
  }

  #untilOnDisk(): Promise<void> {
    const { environment } = this.#options;
    return new Promise((resolve) => void environment.startTimer(NEW_QUEUE_WAIT_MS, resolve));
  }

  #lose(): void {
    this.#talk = undefined;
    this.#feeler?.cancel();
    this.#frames.lose();
    this.#records.lose();
  }

  #setBlocked(isBlocked: boolean): void {
    const { onConnection, onLog } = this.#options;
    if (isBlocked !== this.isBlocked) {
      const full = "rabbitmq: the server is short of disk or memory and takes nothing";
      if (isBlocked) onLog("warn", full);
      else onLog("info", "rabbitmq: the server takes frames again");
      onConnection(isBlocked ? { isUp: false, detail: full } : { isUp: true, detail: "" });
    }
    this.#frames.setBlocked(isBlocked);
    this.#records.setBlocked(isBlocked);
  }

  #feel(): void {
    this.#feeler?.cancel();
    this.#feeler = this.#options.environment.startTimer(FEEL_MS, () => {
      this.#tell("", "", EMPTY);
      this.#feel();
    });
  }

  #tell(exchange: string, key: string, content: Buffer, options?: Options.Publish): void {
    if (this.#talk === undefined || this.isBlocked) return;
    tell(this.#talk, exchange, key, content, options);
  }

  #groupTopics(group: string): Set<string> {
    const known = this.#groups.get(group) ?? new Set();
    this.#groups.set(group, known);
    return known;
  }
}
