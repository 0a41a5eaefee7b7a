/**
 * Redis from Debian, durable: every write is in the append-only file, and synced, before its reply.
 *
 * Never evicts. A password is asked of the default user when one is given.
 */

import { mkdirSync } from "node:fs";

import { askRedis } from "./ask-server.ts";
import { clientPort, isSecure } from "./recipe.ts";

import type { Recipe, Site } from "./recipe.ts";

export const redisRecipe: Recipe = {
  name: "redis",
  title: "Redis 7",
  needs: [
    { kind: "program", paths: ["redis-server", "/usr/bin/redis-server"], debian: "redis-server" },
  ],
  portsPerProcess: 1,
  usualPorts: [6379],
  startTimeoutMs: 120_000,
  stopSignal: "SIGTERM",
  prepare: async (site) => {
    mkdirSync(site.directory, { recursive: true });
  },
  commands: (site) => [{ argv: ["redis-server", ...redisArguments(site)] }],
  isReady: (site) => askRedis(clientPort(site), isSecure(site)),
  url,
  variables: (site) => ({ SHOPSTREAM_REDIS_URL: url(site) }),
};

function url(site: Site): string {
  const { password } = site.options;
  const user = password === undefined ? "" : `:${encodeURIComponent(password)}@`;
  return `${isSecure(site) ? "rediss" : "redis"}://${user}127.0.0.1:${clientPort(site)}`;
}

export function redisArguments(site: Site): readonly string[] {
  const settings: Record<string, string> = {
    bind: "127.0.0.1",
    port: String(clientPort(site)),
    dir: site.directory,
    daemonize: "no",
    save: "",
    appendonly: "yes",
    appendfsync: "always",
    "maxmemory-policy": "noeviction",
    ...(site.options.password === undefined ? {} : { requirepass: site.options.password }),
    ...encrypted(site),
    ...site.options.settings,
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

function encrypted(site: Site): Readonly<Record<string, string>> {
  const { tls } = site.options;
  if (tls === undefined) return {};
  return {
    port: "0",
    "tls-port": String(clientPort(site)),
    "tls-cert-file": tls.certificatePath,
    "tls-key-file": tls.keyPath,
    "tls-auth-clients": "no",
  };
}
