/**
 * Kafka for the conformance suite, with @platformatic/kafka.
 *
 * Loaded by tests and by the member processes they start; refuses nothing.
 */

import type { RemoteOpen } from "../../testing/remote-rig.fixture.ts";
import type { Broker } from "../broker.ts";

import { openKafkaBroker } from "./kafka-broker.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { SHOP_EVENT_TYPES } from "./open-kafka.ts";
import { PlatformaticDriver } from "./platformatic-driver.ts";

export async function openBroker(open: RemoteOpen): Promise<Broker> {
  const { environment, topics, partitions, prefix, address } = open;
  const settings = {
    ...KAFKA_SETTINGS,
    driver: "platformatic" as const, // a literal, not a string
    brokers: [address],
    topicPrefix: prefix,
    publishTimeoutMs: open.publishTimeoutMs,
    requestTimeoutMs: open.publishTimeoutMs / 2,
    sessionMs: open.sessionMs,
  };
  const driver = new PlatformaticDriver({ environment, settings, onLog: () => undefined });
  return await openKafkaBroker({
    environment,
    settings,
    topics,
    slots: partitions,
    driver,
    types: SHOP_EVENT_TYPES,
  });
}
