/**
 * PostgreSQL 15 from Debian as a cluster of its own, with a database and a user named `shopstream`.
 *
 * Syncs as it does by default: a commit is on the disk. Without a password everyone on this machine
 * is let in; with one, nobody without it.
 */

import { chmodSync, copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { asAccount, giveDirectory, runToEnd } from "./account.ts";
import { askPostgres } from "./ask-server.ts";
import { clientPort, isSecure } from "./recipe.ts";

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
  isReady: (site) => askPostgres(clientPort(site), NAME, isSecure(site)),
  url,
  variables: (site) => ({ SHOPSTREAM_POSTGRES_URL: url(site) }),
};

function url(site: Site): string {
  const { password } = site.options;
  const user = password === undefined ? NAME : `${NAME}:${encodeURIComponent(password)}`;
  const query = isSecure(site) ? "?sslmode=verify-full" : "";
  return `postgres://${user}@127.0.0.1:${clientPort(site)}/${NAME}${query}`;
}

function dataDirectory(site: Site): string {
  return join(site.directory, "cluster");
}

/** Written last: a cluster without it was cut short while being made. */
function completePath(site: Site): string {
  return join(site.directory, "complete");
}

async function prepare(site: Site): Promise<void> {
  await makeCluster(site);
  await giveCertificate(site);
}

async function makeCluster(site: Site): Promise<void> {
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
    ...encrypted(site),
    ...site.options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return [`${PROGRAMS}/postgres`, "-D", dataDirectory(site), ...flags];
}

function encrypted(site: Site): Readonly<Record<string, string>> {
  if (!isSecure(site)) return {};
  return {
    ssl: "on",
    ssl_cert_file: ownPath(site, "server.crt"),
    ssl_key_file: ownPath(site, "server.key"),
    hba_file: ownPath(site, "hba.conf"),
  };
}

/** Copies that the account may read, and nobody else; and the rule that lets in TLS alone. */
async function giveCertificate(site: Site): Promise<void> {
  const { tls, password } = site.options;
  if (tls === undefined) return;
  const method = password === undefined ? "trust" : "scram-sha-256";
  copyFileSync(tls.certificatePath, ownPath(site, "server.crt"));
  copyFileSync(tls.keyPath, ownPath(site, "server.key"));
  writeFileSync(ownPath(site, "hba.conf"), `hostssl all all 127.0.0.1/32 ${method}\n`);
  for (const name of ["server.crt", "server.key", "hba.conf"]) {
    chmodSync(ownPath(site, name), 0o600);
    if (process.getuid?.() === 0) await runToEnd(["chown", ACCOUNT, ownPath(site, name)]);
  }
}

function ownPath(site: Site, name: string): string {
  return join(dataDirectory(site), name);
}
