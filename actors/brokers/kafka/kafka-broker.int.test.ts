/**
 * The conformance suite on a real Kafka, through kafkajs.
 *
 * One server for the file; every case has topics and groups of its own.
 */

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { testRemoteBroker } from "../../testing/remote-hooks.suite.ts";
import { KAFKA_CAPABILITIES } from "./kafka-broker.ts";
import { SESSION_MS, startKafka } from "./kafka-case.fixture.ts";

testRemoteBroker("kafka (kafkajs)", KAFKA_CAPABILITIES, {
  service: "kafka",
  missing: whyMissing("kafka"),
  startServer: startKafka,
  rig: new URL("./kafka-rig.fixture.ts", import.meta.url),
  sessionMs: SESSION_MS,
});
