/**
 * The shop that a load script starts for itself: on an empty directory and embedded storage, or on
 * whatever a configuration file and the environment name.
 *
 * With a file, the `SHOPSTREAM_…` of this process count too, as they would for `bun start`: they
 * say where the servers are. Such a shop is ready for a run once every slot of each of its services
 * has an owner; without one, an order would be measured that waits for the start. Refuses what the
 * shop itself would refuse, in its words.
 */

import { join, resolve } from "node:path";

import type { ShopConfig } from "../gateway/config/config-schema.ts";
import type { ServerProcess } from "./shop-process.ts";

import { GROUPS } from "../actors/contracts/topics.ts";
import { loadConfig } from "../gateway/config/load-config.ts";
import { readTextFile } from "../gateway/config/config-file.ts";
import { ShopError } from "../runtime/errors.ts";
import { openClusterDatabase } from "./cluster-database.ts";
import { findFreePort, REPOSITORY, startServer } from "./shop-process.ts";

export interface OwnShopOptions {
  /** Empty; holds data and log. */
  readonly directory: string;
  /** Configuration file; empty: defaults on embedded storage. */
  readonly config: string;
  /** Number, or `auto`. */
  readonly shards: string;
}

export interface OwnShop extends ServerProcess {
  /** As `stop`, within the time that the shop itself allows. */
  stopInOrder(): Promise<number | undefined>;
}

const READY_DEADLINE_MS = 30_000;
/** Topics and queues of fresh servers are made within this time as well. */
const READY_ON_SERVERS_MS = 120_000;
const OWNERS_DEADLINE_MS = 60_000;
/** Beyond the time of an orderly stop. */
const STOP_MARGIN_MS = 10_000;
const POLL_MS = 100;

export async function startOwnShop(options: OwnShopOptions): Promise<OwnShop> {
  const { directory } = options;
  // The shop runs in the repository's directory, whoever starts this wherever.
  const file = options.config === "" ? "" : resolve(options.config);
  const port = findFreePort();
  const environment = environmentOf(options, port);
  const config = configOf(file, environment);
  const isOnServers = config.store === "postgres";
  const shop = await startServer({
    command: [process.execPath, "gateway/main.ts", ...(file === "" ? [] : ["--config", file])],
    port,
    environment,
    inheritsSettings: file !== "",
    readyPath: "/ready",
    readyDeadlineMs: isOnServers ? READY_ON_SERVERS_MS : READY_DEADLINE_MS,
    logFile: join(directory, "shop.log"),
  });
  try {
    if (isOnServers) await awaitOwners(config);
    return { ...shop, stopInOrder: () => shop.stop(config.shutdownMs + STOP_MARGIN_MS) };
  } catch (error) {
    await shop.kill();
    throw error;
  }
}

export function dataOf(directory: string): string {
  return join(directory, "data");
}

/** What is not left to the file. */
function environmentOf(
  { directory, config, shards }: OwnShopOptions,
  port: number,
): Readonly<Record<string, string>> {
  return {
    SHOPSTREAM_PORT: String(port),
    SHOPSTREAM_DATA: dataOf(directory),
    ...(config !== "" && shards === "auto" ? {} : { SHOPSTREAM_SHARDS: shards }),
  };
}

/** As the shop will read it. Throws `BAD_CONFIGURATION`. */
function configOf(file: string, environment: Readonly<Record<string, string>>): ShopConfig {
  const own = { env: environment, argv: [] };
  const shared = { env: { ...Bun.env, ...environment }, argv: ["--config", file] };
  const given = file === "" ? own : shared;
  return loadConfig({ ...given, cwd: REPOSITORY, readFile: readTextFile }).config;
}

async function awaitOwners({ postgres, slots, roles }: ShopConfig): Promise<void> {
  const groups = roles.filter((role) => Object.hasOwn(GROUPS, role));
  const database = await openClusterDatabase(postgres, slots);
  const dueMs = performance.now() + OWNERS_DEADLINE_MS;
  try {
    for (const group of groups) {
      while ((await database.owners(group)).size < slots) {
        if (performance.now() >= dueMs) {
          const problem = `slots of ${group} without an owner after ${OWNERS_DEADLINE_MS} ms`;
          throw new ShopError("CLOSED", problem, "never");
        }
        await Bun.sleep(POLL_MS);
      }
    }
  } finally {
    await database.close();
  }
}
