/**
 * Connections of @platformatic/kafka to the nodes of a cluster, and who leads what.
 *
 * The library's clients retry, batch and rejoin by their own rules, which the adapter has its own
 * for; so only its connections and its protocol are used. What is known of the cluster is asked for
 * once and forgotten on the first trouble. Refuses nothing; what fails, fails with the library's
 * errors.
 */

import type { ConnectionOptions, Connection, SASLOptions } from "@platformatic/kafka";
import type { KafkaSettings } from "./kafka-options.ts";

import { ConnectionPool, findCoordinatorV4, metadataV9 } from "@platformatic/kafka";

import { ShopError } from "../../../runtime/errors.ts";
import { responseOf } from "./platformatic-errors.ts";

const GROUP_KEY = 0;
/** Requests under way on one connection; those of a producer keep their order. */
const INFLIGHT_MAX = 5;

export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

export interface TopicLayout {
  readonly partitions: number;
  /** Node by partition; -1: nobody leads it now. */
  readonly leaders: readonly number[];
}

interface Question {
  readonly topics: readonly string[];
  readonly answer: Promise<ReadonlyMap<string, TopicLayout>>;
}

export class PlatformaticLink {
  readonly #settings: KafkaSettings;
  readonly #newPool: () => ConnectionPool;
  #pool: ConnectionPool;
  readonly #bootstrap: readonly NodeAddress[];
  readonly #nodes = new Map<number, NodeAddress>();
  readonly #topics = new Map<string, TopicLayout>();
  readonly #coordinators = new Map<string, NodeAddress>();
  #asking: Question | undefined;

  /** `requestTimeoutMs`: for connections whose answers may take longer than the settings say. */
  constructor(settings: KafkaSettings, requestTimeoutMs = settings.requestTimeoutMs) {
    this.#settings = settings;
    this.#bootstrap = settings.brokers.map((address) => {
      const at = address.lastIndexOf(":");
      return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
    });
    this.#newPool = () =>
      new ConnectionPool(settings.clientId, optionsOf(settings, requestTimeoutMs));
    this.#pool = this.#newPool();
  }

  /** A link of its own connections, to the same cluster. */
  another(requestTimeoutMs?: number): PlatformaticLink {
    return new PlatformaticLink(this.#settings, requestTimeoutMs);
  }

  /** Of the first node that answers. */
  async any(): Promise<Connection> {
    return listened(await this.#pool.getFirstAvailable([...this.#bootstrap]));
  }

  async node(id: number): Promise<Connection> {
    const address = this.#nodes.get(id);
    if (address === undefined) {
      this.forget();
      throw new ShopError("STORAGE_FAULT", `kafka: nobody knows node ${id}`, "later");
    }
    return listened(await this.#pool.get({ ...address }));
  }

  async coordinator(group: string): Promise<Connection> {
    const known = this.#coordinators.get(group);
    if (known !== undefined) return listened(await this.#pool.get({ ...known }));
    const answer = await findCoordinatorV4.api.async(await this.any(), GROUP_KEY, [group]);
    const [found] = answer.coordinators;
    if (found === undefined) {
      throw new ShopError("STORAGE_FAULT", `kafka: nobody coordinates group ${group}`, "later");
    }
    const address = { host: found.host, port: found.port };
    this.#coordinators.set(group, address);
    return listened(await this.#pool.get(address));
  }

  /** Those of `topics` that exist. */
  async layouts(topics: readonly string[]): Promise<ReadonlyMap<string, TopicLayout>> {
    const known = this.#known(topics);
    if (known.size === topics.length) return known;
    const asking = (this.#asking ??= this.#askFor(topics));
    // Whoever finds somebody else's question under way asks its own after it.
    const answered = await asking.answer;
    if (topics.every((topic) => asking.topics.includes(topic))) return pick(answered, topics);
    return await this.layouts(topics);
  }

  /** The node that leads the partition; rejects when nobody does. */
  async leader(topic: string, partition: number): Promise<number> {
    const leader = (await this.layouts([topic])).get(topic)?.leaders[partition] ?? -1;
    if (leader >= 0) return leader;
    this.forget();
    const message = `kafka: nobody leads ${topic}/${partition}`;
    throw new ShopError("STORAGE_FAULT", message, "later");
  }

  /** What was known may be wrong. */
  forget(): void {
    this.#topics.clear();
    this.#coordinators.clear();
  }

  /** Connections may be silent: what waits for an answer on one fails, and new ones are made. */
  renew(): void {
    this.forget();
    const before = this.#pool;
    this.#pool = this.#newPool();
    before.close().catch(() => undefined); // of what is given up, nothing matters any more
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  #known(topics: readonly string[]): ReadonlyMap<string, TopicLayout> {
    return pick(this.#topics, topics);
  }

  #askFor(topics: readonly string[]): Question {
    const answer = this.#ask(topics);
    const done = (): void => void (this.#asking = undefined);
    answer.then(done, done);
    return { topics, answer };
  }

  async #ask(topics: readonly string[]): Promise<ReadonlyMap<string, TopicLayout>> {
    const answer = await metadataOf(await this.any(), topics);
    for (const { nodeId, host, port } of answer.brokers) this.#nodes.set(nodeId, { host, port });
    const found = new Map<string, TopicLayout>();
    for (const { name, errorCode, partitions } of answer.topics) {
      if (name === null || errorCode !== 0 || partitions.length === 0) continue;
      const leaders: number[] = [];
      for (const { partitionIndex, leaderId } of partitions) leaders[partitionIndex] = leaderId;
      found.set(name, { partitions: partitions.length, leaders });
    }
    for (const [name, layout] of found) this.#topics.set(name, layout);
    return found;
  }
}

function pick(
  layouts: ReadonlyMap<string, TopicLayout>,
  topics: readonly string[],
): ReadonlyMap<string, TopicLayout> {
  return new Map(
    topics.flatMap((topic) => {
      const layout = layouts.get(topic);
      return layout === undefined ? [] : [[topic, layout] as const];
    }),
  );
}

type Metadata = Awaited<ReturnType<typeof metadataV9.api.async>>;

/** An answer that names topics in trouble is an answer. */
async function metadataOf(connection: Connection, topics: readonly string[]): Promise<Metadata> {
  try {
    return await metadataV9.api.async(connection, [...topics], false, false);
  } catch (error) {
    const response = responseOf(error);
    if (response === undefined) throw error;
    return response as Metadata; // the library's own, of this request
  }
}

const heard = new WeakSet<Connection>();

/** A failing connection tells those who wait for it; without any, it must not throw. */
function listened(connection: Connection): Connection {
  if (heard.has(connection)) return connection;
  heard.add(connection);
  connection.on("error", () => undefined);
  return connection;
}

function optionsOf(settings: KafkaSettings, requestTimeoutMs: number): ConnectionOptions {
  const sasl = saslOf(settings);
  return {
    connectTimeout: settings.connectTimeoutMs,
    requestTimeout: requestTimeoutMs,
    maxInflights: INFLIGHT_MAX,
    ...(settings.tls ? { tls: {} } : {}),
    ...(sasl === undefined ? {} : { sasl }),
  };
}

function saslOf({ saslMechanism, username, password }: KafkaSettings): SASLOptions | undefined {
  switch (saslMechanism) {
    case "none":
      return undefined;
    case "plain":
      return { mechanism: "PLAIN", username, password };
    case "scram-sha-256":
      return { mechanism: "SCRAM-SHA-256", username, password };
    case "scram-sha-512":
      return { mechanism: "SCRAM-SHA-512", username, password };
  }
}
