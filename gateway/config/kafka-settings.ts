/**
 * Settings of the Kafka adapter: where the cluster is, how it is spoken to, and every bound.
 *
 * Each value is checked here by itself; what they say together is refused by `checkKafkaSettings`
 * when the adapter opens.
 */

import { Type } from "@sinclair/typebox";

import { KAFKA_SETTINGS } from "../../actors/brokers/kafka/kafka-options.ts";
import { GIB, group, integer, KIB, MINUTE_MS, oneOf, SECOND_MS, text } from "./setting-types.ts";

const BROKERS_MAX = 64;
const initial = KAFKA_SETTINGS;

export const KafkaGroup = group({
  brokers: Type.Array(Type.String({ pattern: "^[^\\s:/]+:\\d{1,5}$", maxLength: 255 }), {
    minItems: 1,
    maxItems: BROKERS_MAX,
    default: [...initial.brokers],
    description: "host:port of some brokers of the cluster",
  }),
  driver: oneOf(
    ["kafkajs", "platformatic"],
    initial.driver,
    "the client library; both pass the same tests",
  ),
  clientId: text(initial.clientId, "how the cluster's logs and quotas name this program"),
  topicPrefix: Type.String({
    pattern: "^[A-Za-z0-9._-]*$",
    maxLength: 100,
    default: initial.topicPrefix,
    description: "before the names of topics and groups",
  }),
  replicationFactor: integer(1, 15, initial.replicationFactor, "copies of topics that are made"),
  minInsyncReplicas: integer(
    1,
    15,
    initial.minInsyncReplicas,
    "copies that must have a frame before it counts as stored",
  ),
  tls: Type.Boolean({ default: initial.tls, description: "encrypt, and check the certificate" }),
  saslMechanism: oneOf(
    ["none", "plain", "scram-sha-256", "scram-sha-512"],
    initial.saslMechanism,
    "how to log in",
  ),
  username: Type.String({ maxLength: 255, default: initial.username, description: "who logs in" }),
  password: Type.String({
    maxLength: 1024,
    default: initial.password,
    description: "its password",
    secret: true,
  }),
  connectTimeoutMs: integer(100, MINUTE_MS, initial.connectTimeoutMs, "to connect to a broker"),
  requestTimeoutMs: integer(SECOND_MS, MINUTE_MS, initial.requestTimeoutMs, "for one answer"),
  publishTimeoutMs: integer(
    SECOND_MS,
    10 * MINUTE_MS,
    initial.publishTimeoutMs,
    "until a frame without a confirmation is given up",
  ),
  bufferFramesMax: integer(1, 10_000_000, initial.bufferFramesMax, "frames on their way out"),
  bufferBytesMax: integer(KIB, 4 * GIB, initial.bufferBytesMax, "bytes on their way out"),
  batchFramesMax: integer(1, 100_000, initial.batchFramesMax, "frames of one request"),
  sessionMs: integer(
    SECOND_MS,
    10 * MINUTE_MS,
    initial.sessionMs,
    "a member not heard of for so long is given up",
  ),
  rebalanceMs: integer(
    SECOND_MS,
    10 * MINUTE_MS,
    initial.rebalanceMs,
    "how long a member may take to let go of its partitions",
  ),
  heartbeatMs: integer(50, MINUTE_MS, initial.heartbeatMs, "between two heartbeats of a member"),
  fetchWaitMs: integer(1, 10 * SECOND_MS, initial.fetchWaitMs, "longest wait of an empty fetch"),
  fetchBytesMax: integer(KIB, GIB, initial.fetchBytesMax, "bytes of one fetch"),
  fetchGatherMs: integer(
    0,
    SECOND_MS,
    initial.fetchGatherMs,
    "between two fetches under traffic, so that each brings more; 0: at once; platformatic only",
  ),
  publishGatherMs: integer(
    0,
    SECOND_MS,
    initial.publishGatherMs,
    "between two requests to store frames under traffic, so that each takes more; 0: at once",
  ),
  commitIntervalMs: integer(
    1,
    SECOND_MS,
    initial.commitIntervalMs,
    "how late the cluster may hear of acknowledgements that nobody waits for",
  ),
});
