/**
 * Kafka for the conformance suite, with kafkajs.
 *
 * Loaded by tests and by the member processes they start; refuses nothing.
 */

import type { RemoteOpen } from "../../testing/remote-rig.fixture.ts";
import type { Broker } from "../broker.ts";

import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { openKafka } from "./open-kafka.ts";

export async function openBroker(open: RemoteOpen): Promise<Broker> {
  const { environment, topics, partitions, prefix, address } = open;
  return await openKafka({
    environment,
    topics,
    slots: partitions,
    settings: {
      ...KAFKA_SETTINGS,
      brokers: [address],
      topicPrefix: prefix,
      publishTimeoutMs: open.publishTimeoutMs,
      requestTimeoutMs: open.publishTimeoutMs / 2,
      sessionMs: open.sessionMs,
    },
  });
}
