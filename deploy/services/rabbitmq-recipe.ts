/**
 * RabbitMQ from Debian as a node of its own: own name, own ports, own directories, own cookie.
 *
 * Nothing of the machine's configuration is read, and nothing outside the data directory written.
 * Its port mapper runs in the same process group, so that a kill takes both.
 */

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { askRabbit } from "./ask-server.ts";
import { clientPort, isSecure, portAt } from "./recipe.ts";

import type { Command, Recipe, Site } from "./recipe.ts";

const SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";

export const rabbitmqRecipe: Recipe = {
  name: "rabbitmq",
  title: "RabbitMQ 3.10",
  needs: [
    { kind: "program", paths: [SERVER], debian: "rabbitmq-server" },
    { kind: "program", paths: ["epmd", "/usr/bin/epmd"], debian: "erlang-base" },
  ],
  portsPerProcess: 3,
  usualPorts: [5672, 25672, 4370],
  startTimeoutMs: 180_000,
  stopSignal: "SIGTERM",
  prepare: async (site) => {
    mkdirSync(site.directory, { recursive: true });
    const cookie = join(site.directory, ".erlang.cookie");
    if (!existsSync(cookie)) writeFileSync(cookie, crypto.randomUUID(), { mode: 0o400 });
    writeFileSync(join(site.directory, "rabbitmq.conf"), rabbitConfiguration(site));
    writeFileSync(join(site.directory, "enabled_plugins"), "[].\n");
  },
  commands: (site) => [command(site)],
  isReady: (site) => askRabbit(clientPort(site), isSecure(site)),
  url,
  variables: (site) => ({ SHOPSTREAM_RABBITMQ_URL: url(site) }),
};

function url(site: Site): string {
  const { password } = site.options;
  const user =
    password === undefined ? "guest:guest" : `shopstream:${encodeURIComponent(password)}`;
  return `${isSecure(site) ? "amqps" : "amqp"}://${user}@127.0.0.1:${clientPort(site)}`;
}

export function rabbitConfiguration(site: Site): string {
  const { password } = site.options;
  const settings: Record<string, string> = {
    ...listeners(site),
    "disk_free_limit.absolute": "50MB",
    "vm_memory_high_watermark.absolute": "1GB",
    ...(password === undefined ? {} : { default_user: "shopstream", default_pass: password }),
    ...site.options.settings,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  return lines.join("");
}

function listeners(site: Site): Readonly<Record<string, string>> {
  const { tls } = site.options;
  const clients = `127.0.0.1:${clientPort(site)}`;
  if (tls === undefined) return { "listeners.tcp.1": clients };
  return {
    "listeners.tcp": "none",
    "listeners.ssl.1": clients,
    "ssl_options.certfile": tls.certificatePath,
    "ssl_options.keyfile": tls.keyPath,
    "ssl_options.verify": "verify_none",
    "ssl_options.fail_if_no_peer_cert": "false",
  };
}

function command(site: Site): Command {
  const at = (path: string): string => join(site.directory, path);
  const mapperPort = String(portAt(site, 2));
  return {
    argv: [
      "sh",
      "-c",
      `"$0" -port ${mapperPort} -address 127.0.0.1 & exec ${SERVER}`,
      Bun.which("epmd") ?? "/usr/bin/epmd",
    ],
    env: {
      HOME: site.directory,
      ERL_EPMD_PORT: mapperPort,
      ERL_EPMD_ADDRESS: "127.0.0.1",
      RABBITMQ_NODENAME: `shopstream-${clientPort(site)}@localhost`,
      RABBITMQ_NODE_PORT: String(clientPort(site)),
      RABBITMQ_DIST_PORT: String(portAt(site, 1)),
      RABBITMQ_MNESIA_BASE: at("mnesia"),
      RABBITMQ_LOG_BASE: at("log"),
      RABBITMQ_LOGS: "-",
      RABBITMQ_CONFIG_FILE: at("rabbitmq"),
      RABBITMQ_ADVANCED_CONFIG_FILE: at("advanced"),
      RABBITMQ_CONF_ENV_FILE: at("rabbitmq-env.conf"),
      RABBITMQ_ENABLED_PLUGINS_FILE: at("enabled_plugins"),
      // The script becomes the server instead of waiting for it.
      RUNNING_UNDER_SYSTEMD: "1",
      // Idle schedulers that spin would take a core from everybody else.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
        "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
    },
  };
}
