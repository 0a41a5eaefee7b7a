/**
 * The same commands by way of a container engine: which `docker compose` line does what.
 *
 * Services have the names and profiles of `compose.yaml`, and the addresses published there.
 * Nothing here knows how to install an engine.
 */

import { join } from "node:path";

import { ShopError } from "../../runtime/errors.ts";

import type { ServiceName } from "./recipe.ts";

const COMPOSE_PATH = join(import.meta.dir, "..", "..", "compose.yaml");
const ASK_TIMEOUT_MS = 10_000;

export type ServiceAct = "up" | "down" | "status";
export type Engine = "docker" | "native";

/** Where `compose.yaml` publishes each service, as the shop's variables. */
export const COMPOSE_VARIABLES: Readonly<Record<ServiceName, Readonly<Record<string, string>>>> = {
  kafka: { SHOPSTREAM_KAFKA_BROKERS: "127.0.0.1:9092" },
  redis: { SHOPSTREAM_REDIS_URL: "redis://127.0.0.1:6379" },
  rabbitmq: { SHOPSTREAM_RABBITMQ_URL: "amqp://shopstream:shopstream@127.0.0.1:5672" },
  postgres: {
    SHOPSTREAM_POSTGRES_URL: "postgres://shopstream:shopstream@127.0.0.1:5432/shopstream",
  },
  mongodb: { SHOPSTREAM_MONGODB_URL: "mongodb://127.0.0.1:27017/shopstream" },
  elasticsearch: { SHOPSTREAM_ELASTICSEARCH_URL: "http://127.0.0.1:9200" },
  opensearch: { SHOPSTREAM_ELASTICSEARCH_URL: "http://127.0.0.1:9201" },
  prometheus: {},
};

/** The command line of `act` on `names`. */
export function composeCommand(act: ServiceAct, names: readonly ServiceName[]): readonly string[] {
  const profiles = names.flatMap((name) => ["--profile", name]);
  const head = ["docker", "compose", "--file", COMPOSE_PATH, ...profiles];
  if (act === "up") return [...head, "up", "--detach", "--wait", ...names];
  if (act === "down") return [...head, "stop", ...names];
  return [...head, "ps", "--all", "--format", "table {{.Service}}\t{{.Status}}", ...names];
}

/** The engine to use: what `SHOPSTREAM_SERVICES_ENGINE` says, else Docker where one answers. */
export function chooseEngine(asked: string | undefined, hasDocker: () => boolean): Engine {
  if (asked === "docker" || asked === "native") return asked;
  if (asked !== undefined && asked !== "") {
    const message = `SHOPSTREAM_SERVICES_ENGINE = "${asked}": allowed is docker or native`;
    throw new ShopError("BAD_CONFIGURATION", message, "never");
  }
  return hasDocker() ? "docker" : "native";
}

/** True when an engine with compose answers; a client without its engine does not count. */
export function hasDockerEngine(): boolean {
  if (Bun.which("docker") === null) return false;
  return [
    ["docker", "info"],
    ["docker", "compose", "version"],
  ].every((argv) => {
    const answer = Bun.spawnSync(argv, {
      stdout: "ignore",
      stderr: "ignore",
      timeout: ASK_TIMEOUT_MS,
    });
    return answer.exitCode === 0;
  });
}
