/**
 * PostgreSQL 15 from Debian as a cluster of its own, with a database and a user named `shopstream`.
 *
 * Syncs as it does by default: a commit is on the disk. Without a password everyone on this machine
 * is let in; with one, nobody without it.
 */

import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { asAccount, giveDirectory, runToEnd } from "./account.ts";
import { askPostgres } from "./ask-server.ts";
import { clientPort } from "./recipe.ts";

import type { Recipe, Site } from "./recipe.ts";

const NAME = "shopstream";
const ACCOUNT = "postgres";
const PROGRAMS = "/usr/lib/postgresql/15/bin";

export const postgresRecipe: Recipe = {
  name: "postgres",
  title: "PostgreSQL 15",
  needs: [{ kind: "program", paths: [`${PROGRAMS}/postgres`], debian: "postgresql-15" }],
  portsPerProcess: 1,
  usualPorts: [5432],
  startTimeoutMs: 120_000,
  // A fast shutdown: SIGTERM would wait for every client to leave by itself.
  stopSignal: "SIGINT",
  prepare,
  commands: (site) => [{ argv: asAccount(ACCOUNT, postgresCommand(site)) }],
  isReady: (site) => askPostgres(clientPort(site), NAME),
  url,
  variables: (site) => ({ SHOPSTREAM_POSTGRES_URL: url(site) }),
};

function url(site: Site): string {
  const { password } = site.options;
  const user = password === undefined ? NAME : `${NAME}:${encodeURIComponent(password)}`;
  return `postgres://${user}@127.0.0.1:${clientPort(site)}/${NAME}`;
}

function dataDirectory(site: Site): string {
  return join(site.directory, "cluster");
}

/** Written last: a cluster without it was cut short while being made. */
function completePath(site: Site): string {
  return join(site.directory, "complete");
}

async function prepare(site: Site): Promise<void> {
  const data = dataDirectory(site);
  if (existsSync(completePath(site))) return;
  rmSync(data, { recursive: true, force: true });
  await giveDirectory(ACCOUNT, site.directory, data);
  if (readdirSync(data).length > 0) throw new Error(`${data} is not empty`);
  const { password } = site.options;
  // The account must be able to read it; the directory is removed as a whole.
  const passwordPath = join(site.directory, "password");
  if (password !== undefined) writeFileSync(passwordPath, password, { mode: 0o644 });
  const authentication =
    password === undefined
      ? ["--auth=trust"]
      : ["--auth=scram-sha-256", `--pwfile=${passwordPath}`];
  await runToEnd(
    asAccount(ACCOUNT, [
      `${PROGRAMS}/initdb`,
      `--pgdata=${data}`,
      `--username=${NAME}`,
      "--encoding=UTF8",
      "--locale=C",
      ...authentication,
    ]),
  );
  rmSync(passwordPath, { force: true });
  await runToEnd(
    asAccount(ACCOUNT, [
      "sh",
      "-c",
      `echo 'CREATE DATABASE ${NAME}' | "$0" --single -D "$1" postgres`,
      `${PROGRAMS}/postgres`,
      data,
    ]),
  );
  writeFileSync(completePath(site), "");
}

function postgresCommand(site: Site): readonly string[] {
  const settings: Record<string, string> = {
    listen_addresses: "127.0.0.1",
    port: String(clientPort(site)),
    unix_socket_directories: "",
    max_connections: "200",
    logging_collector: "off",
    ...site.options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return [`${PROGRAMS}/postgres`, "-D", dataDirectory(site), ...flags];
}
