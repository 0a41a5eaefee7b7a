/**
 * The RabbitMQ adapter on a real server: the conformance suite of all brokers.
 *
 * The server is started here, killed, frozen and filled up. What is special to this adapter is in
 * `rabbit-server.int.test.ts`.
 */

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { testRemoteBroker } from "../../testing/remote-hooks.suite.ts";
import { RABBIT_CAPABILITIES } from "./rabbit-broker.ts";
import { setServerFull, startRabbit } from "./rabbit-server.fixture.ts";

testRemoteBroker("rabbitmq", RABBIT_CAPABILITIES, {
  service: "rabbitmq",
  missing: whyMissing("rabbitmq"),
  startServer: startRabbit,
  serverFull: setServerFull,
  rig: new URL("./rabbit-rig.fixture.ts", import.meta.url),
});
