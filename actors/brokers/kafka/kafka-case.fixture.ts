/**
 * Kafka for the conformance suite: one server for all cases, and the adapter on it for each.
 *
 * A case has names of its own; the topics of the case before are deleted when the next begins, so
 * that a restart of the server does not take ever longer. Refuses what `openKafka` refuses.
 */

import { Kafka, logLevel } from "kafkajs";

import type { RemoteServer } from "../../testing/remote-hooks.suite.ts";
import type { OpenBroker, RemoteOpen } from "../../testing/remote-rig.fixture.ts";
import type { KafkaDriverName } from "./kafka-options.ts";

import { startTestServer } from "../../../deploy/services/test-server.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { openKafka } from "./open-kafka.ts";

/** Cases in which a member dies wait for it to end. */
export const SESSION_MS = 3_000;

/** Clients go where the server says that it is: through the proxy at `advertised`. */
export function startKafka(advertised: string): Promise<RemoteServer> {
  return startTestServer("kafka", {
    startsFast: true,
    settings: {
      "advertised.listeners": `PLAINTEXT://${advertised}`,
      // One that was killed is not let in again before this is over.
      "broker.session.timeout.ms": "1500",
      "broker.heartbeat.interval.ms": "250",
    },
  });
}

export function openKafkaCase(driver: KafkaDriverName): OpenBroker {
  let last: RemoteOpen | undefined;
  return async (open) => {
    if (last !== undefined && last.prefix !== open.prefix) await removeTopics(last);
    last = open;
    const { environment, topics, partitions, prefix, address } = open;
    return await openKafka({
      environment,
      topics,
      slots: partitions,
      settings: {
        ...KAFKA_SETTINGS,
        driver,
        brokers: [address],
        topicPrefix: prefix,
        publishTimeoutMs: open.publishTimeoutMs,
        requestTimeoutMs: open.publishTimeoutMs / 2,
        sessionMs: open.sessionMs,
      },
    });
  };
}

async function removeTopics({ address, prefix }: RemoteOpen): Promise<void> {
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
  await admin.deleteTopics({ topics });
  await admin.disconnect();
}
