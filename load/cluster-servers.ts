/**
 * What the processes of a cluster share: Kafka, PostgreSQL and the payment provider, all real and
 * all started for one run.
 *
 * They end with the run, or with the process that started them. Refuses a machine on which one of
 * the servers cannot be started, naming it.
 */

import { join } from "node:path";

import type { KafkaTestServer, TestServer } from "../deploy/services/test-server.ts";
import type { Books } from "./payment-provider.ts";
import type { ServerProcess } from "./shop-process.ts";

import { startTestServer } from "../deploy/services/test-server.ts";
import { findFreePort, startServer } from "./shop-process.ts";

export interface ClusterTimes {
  /** Kafka's session of a member. */
  readonly sessionMs: number;
  /** Of a shard's lease in the database. */
  readonly beatMs: number;
  readonly silentMs: number;
}

export interface ClusterServersOptions {
  /** Holds logs and the provider's ledger. */
  readonly directory: string;
  readonly brokers: 1 | 3;
  readonly slots: number;
  readonly times: ClusterTimes;
  readonly seed: number;
  /** Payments take a second, and are waited for however long: there are always some. */
  readonly hasSlowPayments: boolean;
}

export interface ClusterServers {
  readonly kafka: KafkaTestServer;
  readonly postgres: TestServer;
  /** What each process of the shop is told of them. */
  readonly environment: Readonly<Record<string, string>>;
  readBooks(): Promise<Books>;
  /** Incarnations of shards whose commits the database refused, once for each refusal. */
  readRefused(): Promise<readonly string[]>;
  /** Transactions that the database rolled back because whoever began them fell silent. */
  countCut(): Promise<number>;
  dispose(): Promise<void>;
}

const READY_DEADLINE_MS = 30_000;
const HEARTBEATS_PER_SESSION = 6;
/** Of `load/provider.ts`: mostly quick, now and then unwilling, broken or silent. */
const PROVIDER = {
  "latency-ms": 20,
  "decline-rate": 0.02,
  "failure-rate": 0.02,
  "hang-rate": 0.002,
  "hang-ms": 3_000,
};
const SLOW_PAYMENT_MS = 1_000;
const SLOW_TIMEOUT_MS = 30_000;
const DELIVERY_MS = 500;
/** The time, and the code of what went wrong. */
const LOG_PREFIX = "%m %e ";
const CUT = / 25P03 FATAL: /g;
/** What the database says when an incarnation that was fenced commits. */
const REFUSED = / SS002 ERROR: +relay (\S+) is fenced$/gm;

export async function startClusterServers(options: ClusterServersOptions): Promise<ClusterServers> {
  const started: { dispose(): Promise<void> }[] = [];
  const dispose = async (): Promise<void> => {
    await Promise.all(started.splice(0).map((server) => server.dispose()));
  };
  try {
    const kafka = await startTestServer("kafka", { brokers: options.brokers });
    started.push(kafka);
    const settings = { log_line_prefix: LOG_PREFIX };
    const postgres = await startTestServer("postgres", { settings });
    started.push(postgres);
    const provider = await startProvider(options);
    started.push({ dispose: () => provider.kill() });
    return {
      kafka,
      postgres,
      dispose,
      environment: environmentOf(options, kafka, postgres, provider),
      async readBooks() {
        const response = await fetch(`${provider.url}/ledger`);
        // Served by `payment-provider.ts` of this folder.
        return (await response.json()) as Books;
      },
      async readRefused() {
        return [...(await logOf(postgres)).matchAll(REFUSED)].map(([, relay = ""]) => relay);
      },
      async countCut() {
        return [...(await logOf(postgres)).matchAll(CUT)].length;
      },
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function logOf({ directory }: TestServer): Promise<string> {
  return Bun.file(join(directory, "process-1.log")).text();
}

function startProvider(options: ClusterServersOptions): Promise<ServerProcess> {
  const { directory, seed, hasSlowPayments } = options;
  const port = findFreePort();
  const slow = hasSlowPayments ? { "latency-ms": SLOW_PAYMENT_MS } : {};
  const flags = { port, ledger: join(directory, "ledger.jsonl"), seed, ...PROVIDER, ...slow };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return startServer({
    command: [process.execPath, "load/provider.ts", ...words],
    port,
    environment: {},
    readyPath: "/ready",
    readyDeadlineMs: READY_DEADLINE_MS,
    logFile: join(directory, "provider.log"),
  });
}

function environmentOf(
  { brokers, slots, times, hasSlowPayments }: ClusterServersOptions,
  kafka: TestServer,
  postgres: TestServer,
  provider: ServerProcess,
): Readonly<Record<string, string>> {
  const { sessionMs, beatMs, silentMs } = times;
  return {
    SHOPSTREAM_STORE: "postgres",
    SHOPSTREAM_POSTGRES_URL: postgres.url,
    SHOPSTREAM_BROKERS: "kafka",
    SHOPSTREAM_KAFKA_BROKERS: kafka.url,
    SHOPSTREAM_KAFKA_REPLICATION_FACTOR: String(brokers),
    SHOPSTREAM_KAFKA_MIN_INSYNC_REPLICAS: brokers === 3 ? "2" : "1",
    SHOPSTREAM_KAFKA_SESSION_MS: String(sessionMs),
    SHOPSTREAM_KAFKA_HEARTBEAT_MS: String(Math.floor(sessionMs / HEARTBEATS_PER_SESSION)),
    SHOPSTREAM_CLUSTER_BEAT_MS: String(beatMs),
    SHOPSTREAM_CLUSTER_SILENT_MS: String(silentMs),
    SHOPSTREAM_ROLES: "order,payment,inventory,shipping",
    SHOPSTREAM_SLOTS: String(slots),
    SHOPSTREAM_SHARDS: "1",
    SHOPSTREAM_DEMO_STOCK: "false",
    SHOPSTREAM_PAYMENT_PROVIDER: "http",
    SHOPSTREAM_PAYMENT_URL: provider.url,
    ...(hasSlowPayments ? { SHOPSTREAM_PAYMENT_TIMEOUT_MS: String(SLOW_TIMEOUT_MS) } : {}),
    SHOPSTREAM_SHIPPING_DELIVERY_MS: String(DELIVERY_MS),
  };
}
