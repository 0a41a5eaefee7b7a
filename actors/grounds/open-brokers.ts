/**
 * Opens the message brokers that a thread uses, each with connections of its own.
 *
 * All or none: when one of them cannot be used, those that could are closed again and the reason is
 * passed on; a thread that begins anew goes on without it until it is back. Refuses a broker that
 * has no topics, which nobody would notice otherwise. A client is loaded when its broker is opened:
 * a thread that uses none must not pay for their code.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Broker, BrokerCapabilities, ConnectionState } from "../brokers/broker.ts";
import type { KafkaSettings } from "../brokers/kafka/kafka-options.ts";
import type { RabbitSettings } from "../brokers/rabbitmq/rabbit-settings.ts";
import type { RedisSettings } from "../brokers/redis/redis-options.ts";
import type { BrokerName } from "./placement.ts";

import { ShopError } from "../../runtime/errors.ts";
import { openOrAwait } from "../brokers/late-broker.ts";

/** What there is at a broker beside the journal. */
export interface BrokerLink {
  readonly name: BrokerName;
  readonly topics: readonly string[];
  /** Those of its topics that this shop takes in. */
  readonly ingressTopics: readonly string[];
}

/** How each is reached: plain values, cloneable. */
export interface BrokerSettings {
  readonly kafka: KafkaSettings;
  readonly redis: RedisSettings;
  readonly rabbitmq: RabbitSettings;
}

export interface BrokerUse {
  readonly name: BrokerName;
  readonly topics: readonly string[];
  /** Groups that read each topic: some brokers keep a message for those alone. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
}

export interface OpenBrokersOptions {
  readonly environment: Environment;
  readonly settings: BrokerSettings;
  readonly uses: readonly BrokerUse[];
  readonly slots: number;
  /** One that cannot be used is waited for in the background: it could when the shop started. */
  readonly mayBeAway?: boolean;
  readonly onConnection: (server: string, state: ConnectionState) => void;
  readonly onLog: (level: "debug" | "info" | "warning", text: string) => void;
}

/** Rejects with `SERVER_UNUSABLE` or `BAD_CONFIGURATION` within ten seconds. */
export async function openBrokers(
  options: OpenBrokersOptions,
): Promise<ReadonlyMap<BrokerName, Broker>> {
  // All are loaded before one is opened: what loads holds up the thread, and opening has deadlines.
  const openers = await Promise.all(options.uses.map((use) => loadOpener(use, options)));
  const opening = openers.map((opener) => openOne(opener, options));
  const results = await Promise.allSettled(opening);
  const failure = results.find((result) => result.status === "rejected");
  if (failure === undefined) {
    const brokers = await Promise.all(opening);
    return new Map(options.uses.map(({ name }, at) => [name, brokers[at]!])); // `!`: one for each
  }
  const opened = results.filter((result) => result.status === "fulfilled");
  await Promise.allSettled(opened.map(({ value }) => value.close()));
  throw failure.reason;
}

interface Opener {
  readonly name: BrokerName;
  readonly capabilities: BrokerCapabilities;
  readonly open: (onConnection: (state: ConnectionState) => void) => Promise<Broker>;
}

function openOne(opener: Opener, options: OpenBrokersOptions): Promise<Broker> {
  const onConnection = (state: ConnectionState): void => options.onConnection(opener.name, state);
  if (options.mayBeAway !== true) return opener.open(onConnection);
  const { environment } = options;
  return openOrAwait({ ...opener, environment, onConnection });
}

async function loadOpener(use: BrokerUse, options: OpenBrokersOptions): Promise<Opener> {
  const { name, topics, groups } = use;
  const { environment, settings, slots } = options;
  if (topics.length === 0) {
    const problem = `${name} is among brokers and carries no topic`;
    throw new ShopError("BAD_CONFIGURATION", problem, "never");
  }
  const common = {
    environment,
    topics,
    onLog: (level: string, text: string) => options.onLog(levelOf(level), `${name}: ${text}`),
  };
  switch (name) {
    case "kafka": {
      const { openKafka } = await import("../brokers/kafka/open-kafka.ts");
      const { KAFKA_CAPABILITIES: capabilities } = await import("../brokers/kafka/kafka-broker.ts");
      const own = { ...common, settings: settings.kafka, slots };
      return { name, capabilities, open: (onConnection) => openKafka({ ...own, onConnection }) };
    }
    case "redis": {
      const redis = await import("../brokers/redis/redis-broker.ts");
      const own = { ...common, settings: settings.redis, partitions: slots };
      return {
        name,
        capabilities: redis.REDIS_CAPABILITIES,
        open: (onConnection) => redis.openRedisBroker({ ...own, onConnection }),
      };
    }
    case "rabbitmq": {
      const rabbit = await import("../brokers/rabbitmq/rabbit-broker.ts");
      const { rabbitmq } = settings;
      const own = {
        ...common,
        settings: { ...rabbitmq, groups: { ...rabbitmq.groups, ...groups } },
        partitions: slots,
      };
      return {
        name,
        capabilities: rabbit.RABBIT_CAPABILITIES,
        open: (onConnection) => rabbit.openRabbitBroker({ ...own, onConnection }),
      };
    }
  }
}

/** Nothing of a broker is worse than a warning: the shop goes on without it. */
function levelOf(level: string): "debug" | "info" | "warning" {
  return level === "debug" || level === "info" ? level : "warning";
}
