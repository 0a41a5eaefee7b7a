/**
 * The deployment files agree with the code: versions, paths, names and the promises they make.
 *
 * No container engine is needed, and none is used: that the image builds and runs is not proved
 * here. Files are read and parsed, and the probe is run against servers of this process.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { readTextFile } from "../gateway/config/config-file.ts";
import { loadConfig } from "../gateway/config/load-config.ts";
import { SETTINGS } from "../gateway/config/setting-names.ts";
import { COMPOSE_VARIABLES } from "./services/compose-engine.ts";
import { SERVICE_NAMES } from "./services/recipe.ts";
import { DEFAULT_NAMES } from "./services/service-arguments.ts";

const REPOSITORY = join(import.meta.dir, "..");

interface Service {
  readonly image: string;
  readonly profiles?: readonly string[];
  readonly build: { readonly context: string; readonly dockerfile: string };
  readonly environment: Readonly<Record<string, string>>;
  readonly mem_limit?: string;
  readonly restart?: string;
  readonly depends_on?: Readonly<Record<string, { readonly required?: boolean }>>;
  readonly ports: readonly string[];
  readonly volumes: readonly string[];
  readonly read_only: boolean;
  readonly user: string;
  readonly cap_drop: readonly string[];
  readonly stop_grace_period: string;
  readonly healthcheck: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

const containerfile = read("deploy/Containerfile");
// The shape that this test is about; a missing field fails where it is looked at.
const compose = Bun.YAML.parse(read("compose.yaml")) as Compose;
const services = Object.entries(compose.services);
const names = new Set(SETTINGS.map((setting) => setting.environmentName));
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function read(path: string): string {
  return readFileSync(join(REPOSITORY, path), "utf8");
}

function shop(): Service {
  const service = compose.services["shop"];
  if (service === undefined) throw new Error("compose.yaml has no service named shop");
  return service;
}

describe("deploy/Containerfile", () => {
  test("is built on the Bun version that the repository pins", () => {
    const versions = [...containerfile.matchAll(/^FROM docker\.io\/oven\/bun:(\S+)/gm)];
    expect(versions).toHaveLength(2);
    for (const [, version] of versions) expect(version).toBe(read(".bun-version").trim());
  });

  test("copies only paths that exist", () => {
    const copies = [...containerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)];
    const paths = copies.flatMap(([, sources]) => sources?.split(" ") ?? []);
    expect(paths).toContain("bun.lock");
    for (const path of paths)
      expect([path, existsSync(join(REPOSITORY, path))]).toEqual([path, true]);
  });

  test("installs by the lockfile, and does not run as root", () => {
    expect(containerfile).toContain("bun install --frozen-lockfile --production");
    expect(containerfile).toMatch(/^USER 1000:1000$/m);
  });

  test("has the patches of the dependencies before it installs them", () => {
    // The shape of this file is the package manager's.
    const { patchedDependencies } = JSON.parse(read("package.json")) as {
      readonly patchedDependencies: Readonly<Record<string, string>>;
    };
    const [beforeInstall = ""] = containerfile.split("RUN bun install");
    for (const path of Object.values(patchedDependencies)) {
      expect(beforeInstall).toContain(`COPY ${path.split("/")[0]} ./${path.split("/")[0]}\n`);
    }
  });

  test("sets only settings that the shop has", () => {
    const used = [...containerfile.matchAll(/(SHOPSTREAM_\w+)=/g)].map(([, name]) => name ?? "");
    expect(used).toHaveLength(3);
    for (const name of used) expect(names).toContain(name);
  });
});

describe("compose.yaml", () => {
  test("starts the shop alone when no profile is named, from the Containerfile", () => {
    const plain = services.filter(([, service]) => service.profiles === undefined);
    expect(plain.map(([name]) => name)).toEqual(["shop"]);
    const { context, dockerfile } = shop().build;
    expect(existsSync(join(REPOSITORY, context, dockerfile))).toBe(true);
    for (const dependency of Object.values(shop().depends_on ?? {})) {
      expect(dependency.required).toBe(false);
    }
  });

  test("has every server of `bun run services` under a profile of its name", () => {
    for (const name of SERVICE_NAMES) expect(compose.services[name]?.profiles).toContain(name);
    const full = services.filter(([, service]) => service.profiles?.includes("full") === true);
    expect(full.map(([name]) => name)).toEqual([...DEFAULT_NAMES, "grafana"]);
  });

  test("publishes each server where `bun run services` says it is", () => {
    for (const [name, variables] of Object.entries(COMPOSE_VARIABLES)) {
      const published =
        compose.services[name]?.ports.map((port) => port.replace(/:\d+$/, "")) ?? [];
      for (const value of Object.values(variables)) {
        const address = /127\.0\.0\.1:\d+/.exec(value)?.[0] ?? "";
        expect(published).toContain(address);
      }
    }
  });

  test.each(services.map(([name]) => name))(
    "%s is pinned, bounded, watched and private",
    (name) => {
      const service = compose.services[name];
      // A registry, a path, a version with at least a major and a minor part.
      expect(service?.image).toMatch(/^(([a-z.]+\.[a-z]+\/)[\w/-]+|shopstream):v?\d+\.\d+[\w.-]*$/);
      expect(service?.mem_limit).toMatch(/^\d+m$/);
      expect(service?.restart).toBe("unless-stopped");
      expect(service?.healthcheck.test[0]).toMatch(/^CMD(-SHELL)?$/);
      for (const port of service?.ports ?? []) expect(port).toStartWith("127.0.0.1:");
    },
  );

  test("mounts declared volumes and files that exist, and nothing else", () => {
    const used = new Set<string>();
    for (const [, service] of services) {
      for (const mount of service.volumes) {
        const [source = ""] = mount.split(":");
        if (source.startsWith("./"))
          expect([source, existsSync(join(REPOSITORY, source))]).toEqual([source, true]);
        else used.add(source);
      }
    }
    expect([...used].sort()).toEqual(Object.keys(compose.volumes).sort());
  });

  test("runs Kafka without ZooKeeper, and never creates a topic by accident", () => {
    const kafka = compose.services["kafka"]?.environment ?? {};
    expect(kafka["KAFKA_PROCESS_ROLES"]).toBe("broker,controller");
    expect(kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]).toBe("false");
    expect(Object.keys(kafka).filter((each) => /zookeeper/i.test(each))).toEqual([]);
  });

  test("keeps the data in a declared volume where the image looks for it", () => {
    const [volume, path] = shop().volumes[0]?.split(":") ?? [];
    expect(Object.keys(compose.volumes)).toContain(volume ?? "");
    expect(containerfile).toContain(`SHOPSTREAM_DATA=${path}`);
  });

  test("has a read-only root, no root user and no capabilities", () => {
    expect(shop().read_only).toBe(true);
    expect(shop().user).toBe("1000:1000");
    expect(shop().cap_drop).toEqual(["ALL"]);
  });

  test("gives the shop more time to stop than the shop takes", () => {
    const shutdown = SETTINGS.find((setting) => setting.path === "shutdownMs");
    const graceMs = Number.parseInt(shop().stop_grace_period, 10) * 1_000;
    expect(graceMs).toBeGreaterThan(Number(shutdown?.schema.default));
  });

  test("sets only settings that the shop has", () => {
    for (const name of Object.keys(shop().environment)) expect(names).toContain(name);
  });

  test("checks health with a program that is in the image", () => {
    const program = shop().healthcheck.test.at(-1)?.replace("/app/", "") ?? "";
    expect(containerfile).toContain(`COPY ${program} ./${program}`);
  });
});

describe("deploy/full-stack.env", () => {
  const lines = read("deploy/full-stack.env").split("\n");
  const env = Object.fromEntries(
    lines.filter((line) => /^\w+=/.test(line)).map((line) => line.split(/=(.*)/s)),
  );

  test("puts the shop on every server of the full stack, where its network has it", () => {
    const { config } = loadConfig({ argv: [], env, cwd: REPOSITORY, readFile: readTextFile });
    expect(config.store).toBe("postgres");
    expect(config.brokers).toEqual(["kafka", "redis", "rabbitmq"]);
    expect([config.analytics.store, config.audit.store]).toEqual(["mongodb", "elasticsearch"]);
    const { kafka, redis, rabbitmq, postgres, mongodb, elasticsearch } = config;
    const addresses = [...kafka.brokers, redis.url, rabbitmq.url, postgres.url, mongodb.url];
    for (const address of [...addresses, elasticsearch.url]) {
      const url = new URL(address.includes("//") ? address : `tcp://${address}`);
      expect(Object.keys(shop().depends_on ?? {})).toContain(url.hostname);
      const { environment = {} } = compose.services[url.hostname] ?? {};
      if (url.password !== "") expect(Object.values(environment)).toContain(url.password);
    }
    expect(kafka.brokers[0]).toBe(
      compose.services["kafka"]?.environment["KAFKA_ADVERTISED_LISTENERS"]?.split("//")[2],
    );
  });

  test("is what compose.yaml takes when it is told to, and is in the image's reach", () => {
    expect(read("compose.yaml")).toContain("path: ${SHOPSTREAM_ENV_FILE:-.env}");
    const path = String(env["SHOPSTREAM_CONFIG"]);
    expect(containerfile).toContain(`COPY ${path} ./${path}`);
  });
});

describe("deploy/probe.ts", () => {
  async function probe(port: number): Promise<number> {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "probe.ts")], {
      env: { ...Bun.env, SHOPSTREAM_PORT: String(port) },
    });
    return await child.exited;
  }

  function serve(status: number): number {
    const isReady = (request: Request): boolean => new URL(request.url).pathname === "/ready";
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => new Response(null, { status: isReady(request) ? status : 200 }),
    });
    cleanups.push(() => server.stop(true));
    return server.port ?? 0;
  }

  test("ends with 0 when the shop is ready, with 1 when it is not or not there", async () => {
    expect(await probe(serve(200))).toBe(0);
    expect(await probe(serve(503))).toBe(1);
    expect(await probe(1)).toBe(1);
  });
});
