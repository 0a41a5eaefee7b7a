/**
 * Kafka for the conformance suite, with @platformatic/kafka.
 *
 * Loaded by tests and by the member processes they start; refuses nothing.
 */

import { openKafkaCase } from "./kafka-case.fixture.ts";

export const openBroker = openKafkaCase("platformatic");
