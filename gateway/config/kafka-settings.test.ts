/**
 * The Kafka settings: their defaults are the adapter's, and a password is never shown.
 *
 * No I/O.
 */

import { expect, test } from "bun:test";

import { Value } from "@sinclair/typebox/value";

import { checkKafkaSettings, KAFKA_SETTINGS } from "../../actors/brokers/kafka/kafka-options.ts";
import { isShopError } from "../../runtime/errors.ts";
import { KafkaGroup } from "./kafka-settings.ts";

const DEFAULTS = Value.Create(KafkaGroup);

function refusal(change: Partial<typeof DEFAULTS>): string {
  try {
    checkKafkaSettings({ ...DEFAULTS, ...change });
    return "nothing refused";
  } catch (error) {
    return isShopError(error, "BAD_CONFIGURATION") ? error.message : String(error);
  }
}

test("the defaults are those of the adapter, which takes them", () => {
  expect(DEFAULTS).toEqual(structuredClone(KAFKA_SETTINGS) as typeof DEFAULTS); // same fields
  expect(refusal({})).toBe("nothing refused");
});

test("the password is marked as a secret", () => {
  expect(KafkaGroup.properties.password["secret"]).toBe(true);
});

test.each<[string, Partial<typeof DEFAULTS>, string]>([
  ["no broker", { brokers: [] }, "kafka.brokers"],
  ["an address without a port", { brokers: ["kafka"] }, "kafka.brokers"],
  ["more copies in sync than there are", { minInsyncReplicas: 2 }, "kafka.minInsyncReplicas"],
  ["heartbeats as rare as the session is long", { heartbeatMs: 9_000 }, "kafka.heartbeatMs"],
  ["a hand-over shorter than a session", { rebalanceMs: 9_000 }, "kafka.rebalanceMs"],
  ["a mechanism without a password", { saslMechanism: "plain", username: "u" }, "kafka.password"],
  ["a password without a mechanism", { password: "geheim" }, "kafka.saslMechanism"],
])("%s is refused by name", (_what, change, setting) => {
  expect(refusal(change)).toContain(setting);
  expect(refusal(change)).not.toContain("geheim");
});

test.each<[string, object]>([
  ["an address without a port", { brokers: ["kafka"] }],
  ["an unknown driver", { driver: "librdkafka" }],
  ["a prefix that no topic can have", { topicPrefix: "shop stream" }],
])("%s does not pass the schema", (_what, change) => {
  expect(Value.Check(KafkaGroup, { ...DEFAULTS, ...change })).toBe(false);
});
