/**
 * The conformance suite on a real Kafka, through @platformatic/kafka.
 *
 * One server for the file; every case has topics and groups of its own.
 */

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { testRemoteBroker } from "../../testing/remote-hooks.suite.ts";
import { KAFKA_CAPABILITIES } from "./kafka-broker.ts";

/** Cases in which a member dies wait for it to end. */
const SESSION_MS = 3_000;

testRemoteBroker("kafka (platformatic)", KAFKA_CAPABILITIES, {
  service: "kafka",
  missing: whyMissing("kafka"),
  // Clients go where the server says that it is: through the proxy.
  startServer: (advertised) =>
    startTestServer("kafka", {
      settings: { "advertised.listeners": `PLAINTEXT://${advertised}` },
    }),
  rig: new URL("./platformatic-rig.fixture.ts", import.meta.url),
  sessionMs: SESSION_MS,
});
