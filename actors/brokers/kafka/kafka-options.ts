/**
 * Settings of the Kafka adapter, as plain data that can be sent to a thread.
 *
 * Where they come from and what is allowed is said in `gateway/config/kafka-settings.ts`; what
 * they say together is refused by `checkKafkaSettings`.
 */

import { ShopError } from "../../../runtime/errors.ts";

export type KafkaDriverName = "kafkajs" | "platformatic";
export type SaslMechanism = "none" | "plain" | "scram-sha-256" | "scram-sha-512";

export interface KafkaSettings {
  /** `host:port`, any of the cluster. */
  readonly brokers: readonly string[];
  readonly driver: KafkaDriverName;
  readonly clientId: string;
  /** Before the names of topics and groups. */
  readonly topicPrefix: string;
  /** Of topics that are created. */
  readonly replicationFactor: number;
  readonly minInsyncReplicas: number;
  readonly tls: boolean;
  readonly saslMechanism: SaslMechanism;
  readonly username: string;
  readonly password: string;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly publishTimeoutMs: number;
  /** Frames that wait for a confirmation, in all. */
  readonly bufferFramesMax: number;
  readonly bufferBytesMax: number;
  /** Frames of one request to the server. */
  readonly batchFramesMax: number;
  /** A member that is not heard of for so long is given up. */
  readonly sessionMs: number;
  /** How long a member may take to let go of its partitions. */
  readonly rebalanceMs: number;
  readonly heartbeatMs: number;
  /** How long the server may hold back an empty answer. */
  readonly fetchWaitMs: number;
  readonly fetchBytesMax: number;
  /** Between two fetches under traffic; the first after a rest wait for nothing. `platformatic`. */
  readonly fetchGatherMs: number;
  /** Between two requests to store frames, in the same way. */
  readonly publishGatherMs: number;
  /** How late the server may hear of acknowledgements that nobody waits for. */
  readonly commitIntervalMs: number;
}

export const KAFKA_SETTINGS: KafkaSettings = {
  brokers: ["127.0.0.1:9092"],
  driver: "platformatic",
  clientId: "shopstream",
  topicPrefix: "shopstream.",
  replicationFactor: 1,
  minInsyncReplicas: 1,
  tls: false,
  saslMechanism: "none",
  username: "",
  password: "",
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  publishTimeoutMs: 30_000,
  bufferFramesMax: 100_000,
  bufferBytesMax: 64 * 1_048_576,
  batchFramesMax: 4_096,
  sessionMs: 10_000,
  rebalanceMs: 30_000,
  heartbeatMs: 500,
  fetchWaitMs: 100,
  fetchBytesMax: 8 * 1_048_576,
  fetchGatherMs: 10,
  publishGatherMs: 5,
  commitIntervalMs: 250,
};

/** Throws `BAD_CONFIGURATION` naming what does not go together. */
export function checkKafkaSettings(settings: KafkaSettings): void {
  const { brokers, replicationFactor, minInsyncReplicas, saslMechanism } = settings;
  const { sessionMs, heartbeatMs, rebalanceMs, username, password } = settings;
  if (brokers.length === 0) refuse("kafka.brokers: at least one host:port is needed");
  for (const address of brokers) {
    if (!/^[^\s:/]+:\d{1,5}$/.test(address)) {
      refuse(`kafka.brokers: "${address}" is not host:port`);
    }
  }
  if (minInsyncReplicas > replicationFactor) {
    refuse("kafka.minInsyncReplicas: cannot exceed kafka.replicationFactor");
  }
  if (heartbeatMs * 3 > sessionMs) {
    refuse("kafka.heartbeatMs: at most a third of kafka.sessionMs");
  }
  if (rebalanceMs < sessionMs) refuse("kafka.rebalanceMs: at least kafka.sessionMs");
  if (saslMechanism !== "none" && (username === "" || password === "")) {
    refuse(`kafka.username and kafka.password: needed for ${saslMechanism}`);
  }
  if (saslMechanism === "none" && password !== "") {
    refuse("kafka.saslMechanism: plain or scram-sha-…, as there is a password");
  }
}

function refuse(message: string): never {
  throw new ShopError("BAD_CONFIGURATION", message, "never");
}
