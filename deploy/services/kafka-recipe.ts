/**
 * Apache Kafka in KRaft mode from the jars of Maven Central: one broker, or a quorum of three.
 *
 * Every process is broker and controller. Topics are never created by using them, groups balance
 * without waiting, and a broker that was killed may come back within seconds. With a password,
 * clients log in by SASL/PLAIN, or by SCRAM as the user `shopstream`, who alone may do everything.
 * With TLS, what clients and brokers say to each other is encrypted, and not what controllers do.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { runToEnd } from "./account.ts";
import { countKafkaBrokers } from "./ask-server.ts";
import { cacheDirectory, DEBIAN_PROGRAMS } from "./needs.ts";
import { isSecure, portAt } from "./recipe.ts";

import type { KafkaLogin } from "./ask-server.ts";
import type { Recipe, Site } from "./recipe.ts";

const USER = "shopstream";
const SCRAM = ["SCRAM-SHA-256", "SCRAM-SHA-512"] as const;
const FOLDER = "kafka-4.3.0";
const PORTS_PER_BROKER = 2;
/** Compiles quickly and not well. */
const QUICK_COMPILER = "-XX:TieredStopAtLevel=1";

export const kafkaRecipe: Recipe = {
  name: "kafka",
  title: "Apache Kafka 4.3.0 (KRaft)",
  needs: [DEBIAN_PROGRAMS.java, { kind: "maven", folder: FOLDER, source: "kafka" }],
  portsPerProcess: PORTS_PER_BROKER,
  usualPorts: [9092, 9093],
  startTimeoutMs: 180_000,
  stopSignal: "SIGTERM",
  prepare,
  commands: (site) =>
    brokers(site).map((index) => ({
      argv: [
        ...java(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", ...quickly(site)]),
        "kafka.Kafka",
        file(site, index),
      ],
    })),
  async isReady(site) {
    const known = await Promise.all(brokers(site).map((index) => asked(site, index)));
    return known.every((count) => count === known.length);
  },
  url: addresses,
  variables: (site) => ({
    SHOPSTREAM_KAFKA_BROKERS: addresses(site),
    ...(isSecure(site) ? { SHOPSTREAM_KAFKA_TLS: "true" } : {}),
    ...loginVariables(site),
  }),
};

function asked(site: Site, index: number): Promise<number> {
  return countKafkaBrokers(brokerPort(site, index), loginOf(site), isSecure(site));
}

function loginOf({ options: { password } }: Site): KafkaLogin | undefined {
  return password === undefined ? undefined : { user: USER, password };
}

function loginVariables({ options: { password } }: Site): Readonly<Record<string, string>> {
  if (password === undefined) return {};
  return {
    SHOPSTREAM_KAFKA_SASL_MECHANISM: "plain",
    SHOPSTREAM_KAFKA_USERNAME: USER,
    SHOPSTREAM_KAFKA_PASSWORD: password,
  };
}

function brokers(site: Site): readonly number[] {
  return Array.from({ length: site.options.brokers ?? 1 }, (_, index) => index);
}

function brokerPort(site: Site, index: number): number {
  return portAt(site, index * PORTS_PER_BROKER);
}

function addresses(site: Site): string {
  return brokers(site)
    .map((index) => `127.0.0.1:${brokerPort(site, index)}`)
    .join(",");
}

function file(site: Site, index: number): string {
  return join(site.directory, `broker-${index + 1}.properties`);
}

function quickly({ options }: Site): readonly string[] {
  return options.startsFast === true ? [QUICK_COMPILER] : [];
}

function java(options: readonly string[]): readonly string[] {
  return ["java", ...options, "-cp", join(cacheDirectory(), FOLDER, "libs", "*")];
}

async function prepare(site: Site): Promise<void> {
  mkdirSync(site.directory, { recursive: true });
  const clusterId = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64url");
  const isNew = brokers(site).some((index) => !existsSync(formattedPath(site, index)));
  writeKeyStore(site);
  for (const index of brokers(site)) {
    const properties = Object.entries(kafkaProperties(site, index));
    writeFileSync(
      file(site, index),
      properties.map(([key, value]) => `${key}=${value}\n`).join(""),
    );
    // A format that was cut short leaves a directory that is refused: begin again.
    if (isNew) rmSync(join(site.directory, `log-${index + 1}`), { recursive: true, force: true });
  }
  if (!isNew) return;
  const tool = [...java(["-Xmx128m", QUICK_COMPILER]), "kafka.tools.StorageTool"];
  await Promise.all(
    brokers(site).map((index) =>
      // One word: an id may begin with a dash.
      runToEnd([
        ...tool,
        "format",
        `--cluster-id=${clusterId}`,
        ...scramLogins(site),
        "-c",
        file(site, index),
      ]),
    ),
  );
}

/** What the cluster knows of passwords from its first start; those of PLAIN it is told. */
function scramLogins({ options: { password } }: Site): readonly string[] {
  if (password === undefined) return [];
  return SCRAM.map((name) => `--add-scram=${name}=[name=${USER},password=${password}]`);
}

function formattedPath(site: Site, index: number): string {
  return join(site.directory, `log-${index + 1}`, "bootstrap.checkpoint");
}

/** The server.properties of one broker. */
export function kafkaProperties(site: Site, index: number): Readonly<Record<string, string>> {
  const all = brokers(site);
  const clients = `127.0.0.1:${brokerPort(site, index)}`;
  const controllerAt = (each: number): string =>
    `127.0.0.1:${portAt(site, each * PORTS_PER_BROKER + 1)}`;
  const copies = String(all.length);
  const inSync = all.length === 3 ? "2" : "1";
  return {
    "process.roles": "broker,controller",
    "node.id": String(index + 1),
    "controller.quorum.voters": all.map((each) => `${each + 1}@${controllerAt(each)}`).join(","),
    listeners: `PLAINTEXT://${clients},CONTROLLER://${controllerAt(index)}`,
    "advertised.listeners": `PLAINTEXT://${clients}`,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "log.dirs": join(site.directory, `log-${index + 1}`),
    "default.replication.factor": copies,
    "min.insync.replicas": inSync,
    "offsets.topic.replication.factor": copies,
    "transaction.state.log.replication.factor": copies,
    "transaction.state.log.min.isr": inSync,
    "share.coordinator.state.topic.replication.factor": copies,
    "share.coordinator.state.topic.min.isr": inSync,
    // Fifty of each by default: most of the start of a fresh broker's first group.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controlled.shutdown.max.retries": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
    ...guarded(site, index),
    ...encrypted(site, index),
    ...site.options.settings,
  };
}

/** What changes when there is a password. */
function guarded(site: Site, index: number): Readonly<Record<string, string>> {
  const { password, users = {} } = site.options;
  if (password === undefined) return {};
  const clients = `CLIENTS://127.0.0.1:${brokerPort(site, index)}`;
  const controllers = `CONTROLLER://127.0.0.1:${portAt(site, index * PORTS_PER_BROKER + 1)}`;
  const known = Object.entries({ ...users, [USER]: password });
  const module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
  const own = `username="${USER}" password="${password}"`;
  const logins = known.map(([name, secret]) => `user_${name}="${secret}"`).join(" ");
  return {
    listeners: `${clients},${controllers}`,
    "advertised.listeners": clients,
    "inter.broker.listener.name": "CLIENTS",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENTS:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms": ["PLAIN", ...SCRAM].join(","),
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.clients.plain.sasl.jaas.config": `${module} ${own} ${logins};`,
    ...Object.fromEntries(SCRAM.map(scramModule)),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    // Who comes by the controllers' own door has no name.
    "super.users": `User:${USER};User:ANONYMOUS`,
  };
}

function scramModule(name: string): readonly [string, string] {
  const module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
  return [`listener.name.clients.${name.toLowerCase()}.sasl.jaas.config`, module];
}

/** What changes with TLS; after what changes with a password. */
function encrypted(site: Site, index: number): Readonly<Record<string, string>> {
  const { password, tls } = site.options;
  if (tls === undefined) return {};
  const clients = `CLIENTS://127.0.0.1:${brokerPort(site, index)}`;
  const controllers = `CONTROLLER://127.0.0.1:${portAt(site, index * PORTS_PER_BROKER + 1)}`;
  const protocol = password === undefined ? "SSL" : "SASL_SSL";
  return {
    listeners: `${clients},${controllers}`,
    "advertised.listeners": clients,
    "inter.broker.listener.name": "CLIENTS",
    "listener.security.protocol.map": `CONTROLLER:PLAINTEXT,CLIENTS:${protocol}`,
    "ssl.keystore.type": "PEM",
    "ssl.keystore.location": keyStorePath(site),
    "ssl.truststore.type": "PEM",
    "ssl.truststore.location": tls.authorityPath,
  };
}

function keyStorePath(site: Site): string {
  return join(site.directory, "keystore.pem");
}

/** Key and certificate in one file, as Kafka wants them. */
function writeKeyStore(site: Site): void {
  const { tls } = site.options;
  if (tls === undefined) return;
  const parts = [tls.keyPath, tls.certificatePath].map((path) => readFileSync(path, "utf8"));
  writeFileSync(keyStorePath(site), parts.join(""), { mode: 0o600 });
}
