/**
 * Looks at every server that a process is going to use, all at once and before anything is started
 * on them.
 *
 * Whoever starts a shop hears of what is wrong within `INSPECT_WITHIN_MS`, however many servers
 * there are and in whatever order threads would come to them: one that takes connections and never
 * answers is refused like one that is not there. Makes nothing that whoever opens the server would
 * not make. Refuses with `SERVER_UNUSABLE` or `BAD_CONFIGURATION`, naming the setting.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { ElasticSettings } from "../audit/elastic/elastic-settings.ts";
import type { MongoSettings } from "../analytics/mongo/mongo-settings.ts";
import type { PostgresSettings } from "../stores/postgres/postgres-options.ts";
import type { BrokerSettings, BrokerUse } from "./open-brokers.ts";

import { ShopError } from "../../runtime/errors.ts";
import { hostsOf } from "../audit/elastic/elastic-failure.ts";
import { openElasticLink } from "../audit/elastic/elastic-link.ts";
import { openMongoClient } from "../analytics/mongo/mongo-client.ts";
import { addressParts } from "../analytics/mongo/mongo-failure.ts";
import { inspectKafka } from "../brokers/kafka/kafka-inspection.ts";
import { checkKafkaSettings } from "../brokers/kafka/kafka-options.ts";
import { parseRabbitUrl } from "../brokers/rabbitmq/rabbit-faults.ts";
import { RabbitNames } from "../brokers/rabbitmq/rabbit-names.ts";
import { inspectServer } from "../brokers/rabbitmq/server-inspection.ts";
import { openRedisConnection } from "../brokers/redis/redis-connection.ts";
import { serverAddress } from "../stores/postgres/postgres-checks.ts";
import { inspectPostgres } from "../stores/postgres/postgres-connection.ts";

/** Plain values. What is absent is not used. */
export interface ServersInUse {
  readonly brokers: BrokerSettings;
  readonly uses: readonly BrokerUse[];
  /** Redis keeps something, whether or not it carries messages. */
  readonly redisKeeps: boolean;
  readonly postgres?: PostgresSettings;
  readonly mongodb?: MongoSettings;
  readonly elasticsearch?: ElasticSettings;
}

/** One server: what the setting is called, where that points, and whether it can be used. */
export interface ServerInspection {
  readonly setting: string;
  /** Never a user or a password. */
  readonly place: string;
  inspect(): Promise<void>;
}

/** With the start of the program and its end: a refusal is out within ten seconds. */
export const INSPECT_WITHIN_MS = 7_000;

/** Rejects with the first refusal that is known. */
export async function inspectServers(
  servers: ServersInUse,
  environment: Environment,
): Promise<void> {
  await inspectAll(inspectionsOf(servers, environment), environment);
}

export async function inspectAll(
  inspections: readonly ServerInspection[],
  environment: Pick<Environment, "startTimer">,
): Promise<void> {
  await Promise.all(inspections.map((each) => inspectInTime(each, environment)));
}

async function inspectInTime(
  { setting, place, inspect }: ServerInspection,
  environment: Pick<Environment, "startTimer">,
): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = environment.startTimer(INSPECT_WITHIN_MS, () => {
    const problem = `${setting}: ${place} has not answered within ${INSPECT_WITHIN_MS} ms`;
    reject(new ShopError("SERVER_UNUSABLE", problem, "never"));
  });
  try {
    await Promise.race([inspect(), late]);
  } finally {
    timer.cancel();
  }
}

function inspectionsOf(
  servers: ServersInUse,
  environment: Environment,
): readonly ServerInspection[] {
  const { brokers, uses, redisKeeps, postgres, mongodb, elasticsearch } = servers;
  const carriers = uses.map((use) => inspectionOf(use, brokers, environment));
  const isRedisCarrier = uses.some(({ name }) => name === "redis");
  return [
    ...(postgres === undefined ? [] : [postgresInspection(postgres, environment)]),
    ...carriers,
    ...(redisKeeps && !isRedisCarrier ? [redisInspection(brokers, environment)] : []),
    ...(mongodb === undefined ? [] : [mongoInspection(mongodb, environment)]),
    ...(elasticsearch === undefined ? [] : [elasticInspection(elasticsearch, environment)]),
  ];
}

function inspectionOf(
  { name, topics, groups }: BrokerUse,
  brokers: BrokerSettings,
  environment: Environment,
): ServerInspection {
  switch (name) {
    case "kafka": {
      const { kafka: settings } = brokers;
      return {
        setting: "kafka.brokers",
        place: settings.brokers.join(", "),
        async inspect() {
          checkKafkaSettings(settings);
          const joined = [...new Set(Object.values(groups).flat())];
          await inspectKafka({ environment, settings, topics, groups: joined });
        },
      };
    }
    case "redis":
      return redisInspection(brokers, environment);
    case "rabbitmq": {
      const { rabbitmq: settings } = brokers;
      const address = parseRabbitUrl(settings.url);
      const names = new RabbitNames(settings);
      return {
        setting: "rabbitmq.url",
        place: address.place,
        inspect: () => inspectServer({ environment, settings, address, names, topics }),
      };
    }
  }
}

function redisInspection(
  { redis: settings }: BrokerSettings,
  environment: Environment,
): ServerInspection {
  return {
    setting: "redis.url",
    place: URL.parse(settings.url)?.host ?? "",
    async inspect() {
      const connection = await openRedisConnection({
        settings,
        environment,
        purpose: "inspection",
      });
      connection.close();
    },
  };
}

function postgresInspection(
  settings: PostgresSettings,
  environment: Environment,
): ServerInspection {
  return {
    setting: "postgres.url",
    place: serverAddress(settings.url),
    inspect: () => inspectPostgres(settings, { environment }),
  };
}

function mongoInspection(settings: MongoSettings, environment: Environment): ServerInspection {
  return {
    setting: "mongodb.url",
    place: addressParts(settings.url).hosts,
    async inspect() {
      const handle = await openMongoClient(settings, environment);
      await handle.close();
    },
  };
}

function elasticInspection(settings: ElasticSettings, environment: Environment): ServerInspection {
  return {
    setting: "elasticsearch.url",
    place: hostsOf(settings.url),
    async inspect() {
      const link = await openElasticLink(settings, environment);
      await link.close();
    },
  };
}
