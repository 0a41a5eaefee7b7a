/**
 * What the recipes make of a site: configurations, addresses, variables. Nothing is started.
 *
 * That servers accept them is in `test-server.int.test.ts`.
 */

import { describe, expect, test } from "bun:test";

import { kafkaProperties } from "./kafka-recipe.ts";
import { cacheDirectory, dataDirectory } from "./needs.ts";
import { rabbitConfiguration } from "./rabbitmq-recipe.ts";
import { SERVICE_NAMES } from "./recipe.ts";
import { RECIPES } from "./recipes.ts";
import { redisArguments } from "./redis-recipe.ts";

import type { ServiceOptions, Site } from "./recipe.ts";

function site(options: ServiceOptions = {}): Site {
  return { directory: "/site", ports: [11, 12, 13, 14, 15, 16], options };
}

describe("every recipe", () => {
  test.each(SERVICE_NAMES)("%s is called by its name and has ports for its usual place", (name) => {
    expect(RECIPES[name].name).toBe(name);
    expect(RECIPES[name].usualPorts).toHaveLength(RECIPES[name].portsPerProcess);
    expect(RECIPES[name].needs).not.toEqual([]);
  });

  test("no two want the same port", () => {
    const ports = SERVICE_NAMES.flatMap((name) => RECIPES[name].usualPorts);
    expect(new Set(ports).size).toBe(ports.length);
  });

  test.each([
    ["kafka", "127.0.0.1:11"],
    ["redis", "redis://127.0.0.1:11"],
    ["rabbitmq", "amqp://guest:guest@127.0.0.1:11"],
    ["postgres", "postgres://shopstream@127.0.0.1:11/shopstream"],
    ["mongodb", "mongodb://127.0.0.1:11/shopstream"],
    ["elasticsearch", "http://127.0.0.1:11"],
  ] as const)("%s is found at %s, and the shop is told so", (name, url) => {
    expect(RECIPES[name].url(site())).toBe(url);
    expect(Object.values(RECIPES[name].variables(site()))).toEqual([url]);
  });

  test("a password is in the address as an address wants it", () => {
    const options = { password: "p@ss/word" };
    expect(RECIPES.redis.url(site(options))).toBe("redis://:p%40ss%2Fword@127.0.0.1:11");
    expect(RECIPES.postgres.url(site(options))).toContain("shopstream:p%40ss%2Fword@");
    expect(RECIPES.rabbitmq.url(site(options))).toContain("shopstream:p%40ss%2Fword@");
  });
});

describe("with a certificate", () => {
  const tls = { certificatePath: "/s.pem", keyPath: "/s.key", authorityPath: "/a.pem" };
  const secret = site({ tls });

  test.each([
    ["redis", "rediss://127.0.0.1:11"],
    ["rabbitmq", "amqps://guest:guest@127.0.0.1:11"],
    ["postgres", "postgres://shopstream@127.0.0.1:11/shopstream?sslmode=verify-full"],
    ["mongodb", "mongodb://127.0.0.1:11/shopstream?tls=true"],
  ] as const)("%s is found at %s", (name, url) => {
    expect(RECIPES[name].url(secret)).toBe(url);
  });

  test("Kafka tells the shop, and encrypts with and without a login", () => {
    expect(RECIPES.kafka.variables(secret)).toMatchObject({ SHOPSTREAM_KAFKA_TLS: "true" });
    const protocols = "listener.security.protocol.map";
    expect(kafkaProperties(secret, 0)[protocols]).toBe("CONTROLLER:PLAINTEXT,CLIENTS:SSL");
    const guarded = kafkaProperties(site({ tls, password: "p" }), 0);
    expect(guarded[protocols]).toBe("CONTROLLER:PLAINTEXT,CLIENTS:SASL_SSL");
  });

  test("Redis and RabbitMQ have no port for plain text", () => {
    expect(redisArguments(secret).join(" ")).toContain("--port 0 ");
    expect(rabbitConfiguration(secret)).toContain("listeners.tcp = none\n");
    expect(rabbitConfiguration(secret)).not.toContain("listeners.tcp.1");
  });
});

test.each(["elasticsearch", "opensearch"] as const)(
  "%s does without the second compiler",
  (name) => {
    expect(RECIPES[name].commands(site())[0]?.argv).toContain("-XX:TieredStopAtLevel=1");
  },
);

describe("Kafka", () => {
  test("one broker is its own quorum and keeps one copy", () => {
    expect(kafkaProperties(site(), 0)).toMatchObject({
      "controller.quorum.voters": "1@127.0.0.1:12",
      listeners: "PLAINTEXT://127.0.0.1:11,CONTROLLER://127.0.0.1:12",
      "default.replication.factor": "1",
      "min.insync.replicas": "1",
      "auto.create.topics.enable": "false",
    });
  });

  test("three brokers share a quorum, and a write needs two of them", () => {
    const three = site({ brokers: 3 });
    expect(kafkaProperties(three, 2)).toMatchObject({
      "node.id": "3",
      "controller.quorum.voters": "1@127.0.0.1:12,2@127.0.0.1:14,3@127.0.0.1:16",
      listeners: "PLAINTEXT://127.0.0.1:15,CONTROLLER://127.0.0.1:16",
      "default.replication.factor": "3",
      "min.insync.replicas": "2",
    });
    expect(RECIPES.kafka.url(three)).toBe("127.0.0.1:11,127.0.0.1:13,127.0.0.1:15");
    expect(RECIPES.kafka.commands(three)).toHaveLength(3);
  });

  test("with a password clients log in, and only one of them may do everything", () => {
    const guarded = site({ password: "x", users: { guest: "y" } });
    const properties = kafkaProperties(guarded, 0);
    expect(properties).toMatchObject({
      listeners: "CLIENTS://127.0.0.1:11,CONTROLLER://127.0.0.1:12",
      "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENTS:SASL_PLAINTEXT",
      "super.users": "User:shopstream;User:ANONYMOUS",
    });
    const logins = properties["listener.name.clients.plain.sasl.jaas.config"];
    expect(logins).toEndWith(
      'username="shopstream" password="x" user_guest="y" user_shopstream="x";',
    );
    expect(RECIPES.kafka.variables(guarded)).toEqual({
      SHOPSTREAM_KAFKA_BROKERS: "127.0.0.1:11",
      SHOPSTREAM_KAFKA_SASL_MECHANISM: "plain",
      SHOPSTREAM_KAFKA_USERNAME: "shopstream",
      SHOPSTREAM_KAFKA_PASSWORD: "x",
    });
  });

  test("settings of one's own win", () => {
    const own = site({ settings: { "auto.create.topics.enable": "true" } });
    expect(kafkaProperties(own, 0)["auto.create.topics.enable"]).toBe("true");
  });
});

describe("Redis and RabbitMQ", () => {
  test("Redis syncs every write and never evicts", () => {
    const line = redisArguments(site()).join(" ");
    expect(line).toContain("--appendonly yes --appendfsync always");
    expect(line).toContain("--maxmemory-policy noeviction");
    expect(line).toContain("--bind 127.0.0.1");
    expect(line).not.toContain("requirepass");
    expect(redisArguments(site({ password: "x" })).join(" ")).toContain("--requirepass x");
  });

  test("RabbitMQ listens on the loopback address only", () => {
    expect(rabbitConfiguration(site())).toContain("listeners.tcp.1 = 127.0.0.1:11\n");
    expect(rabbitConfiguration(site({ password: "x" }))).toContain("default_pass = x\n");
  });
});

describe("directories", () => {
  test("follow the variable, then the desktop's convention", () => {
    expect(cacheDirectory({ SHOPSTREAM_SERVICES: "/own" })).toBe("/own");
    expect(cacheDirectory({ XDG_CACHE_HOME: "/cache" })).toBe("/cache/shopstream/services");
    expect(cacheDirectory({})).toEndWith("/.cache/shopstream/services");
    expect(dataDirectory({ SHOPSTREAM_SERVICES_DATA: "/data" })).toBe("/data");
    expect(dataDirectory({})).toEndWith("/shopstream/services");
  });
});
