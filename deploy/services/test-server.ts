/**
 * Real servers for tests: each started by the test itself, on ports and in a directory of its own.
 *
 * A server ends with the process that started it, killed or not. Not for `services up`, whose
 * servers stay; not for anything that must be reachable from another machine.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert, isShopError, ShopError } from "../../runtime/errors.ts";
import { findFreePorts } from "./free-ports.ts";
import { startGuarded } from "./guarded-process.ts";
import { clientPort } from "./recipe.ts";
import { RECIPES, whyMissing } from "./recipes.ts";
import { untilReady } from "./until-ready.ts";

import type { GuardedProcess } from "./guarded-process.ts";
import type { Recipe, ServiceName, ServiceOptions, Site } from "./recipe.ts";

export { whyMissing };
export type { ServiceName };

const STARTS_MAX = 3;

/**
 * `password`: asked of clients. `brokers`, `startsFast`, `users`: Kafka's. `settings`: the server's
 * own.
 */
export type TestServerOptions = ServiceOptions;

export interface TestServer {
  readonly name: ServiceName;
  /** "127.0.0.1:port" */
  readonly address: string;
  /** As a client wants it, with user and password; of Kafka host:port, three with commas. */
  readonly url: string;
  /** What the shop calls it: names and values of environment variables. */
  readonly variables: Readonly<Record<string, string>>;
  /** All of its data and logs. */
  readonly directory: string;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** In order. */
  stop(): Promise<void>;
  /** Again on the same data and ports; resolves when it is ready. */
  start(): Promise<void>;
  /** SIGSTOP: connections stay open and nobody answers. */
  pause(): void;
  resume(): void;
  /** Kills it and removes its data. */
  dispose(): Promise<void>;
}

/** Brokers are counted from 0. */
export interface KafkaTestServer extends TestServer {
  readonly brokerAddresses: readonly string[];
  killBroker(index: number): Promise<void>;
  /** Resolves when all brokers know of each other again. */
  startBroker(index: number): Promise<void>;
}

/** Started and ready, on ports and data of its own. Rejects with `SERVER_UNUSABLE`. */
export async function startTestServer(
  name: ServiceName,
  options: TestServerOptions = {},
): Promise<KafkaTestServer> {
  const missing = whyMissing(name);
  if (missing !== undefined) throw new ShopError("SERVER_UNUSABLE", `${name}: ${missing}`, "never");
  const recipe = RECIPES[name];
  for (let attempt = 1; ; attempt++) {
    const server = await layOut(recipe, options);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server.dispose();
      // Somebody else may have taken one of the ports in between.
      if (attempt === STARTS_MAX || !isShopError(error) || error.retry === "never") throw error;
    }
  }
}

async function layOut(recipe: Recipe, options: TestServerOptions): Promise<KafkaTestServer> {
  const directory = mkdtempSync(join(tmpdir(), `shopstream-${recipe.name}-`));
  const count = recipe.name === "kafka" ? (options.brokers ?? 1) : 1;
  const ports = await findFreePorts(recipe.portsPerProcess * count);
  return serverAt(recipe, { directory, ports, options }, count);
}

function serverAt(recipe: Recipe, site: Site, count: number): KafkaTestServer {
  const { directory } = site;
  const processes: (GuardedProcess | undefined)[] = Array.from({ length: count });
  const logPaths = processes.map((_, index) => join(directory, `process-${index + 1}.log`));
  const running = (): readonly GuardedProcess[] =>
    processes.filter((each) => each?.isRunning() === true).filter((each) => each !== undefined);
  const hasEnded = (): boolean => running().length < count;

  const launch = async (index: number): Promise<void> => {
    const command = recipe.commands(site)[index];
    const logPath = logPaths[index];
    assert(command !== undefined && logPath !== undefined, `${recipe.name} has no part ${index}`);
    if (processes[index]?.isRunning() === true) return;
    processes[index] = await startGuarded(command, logPath, directory);
  };
  const start = async (): Promise<void> => {
    mkdirSync(directory, { recursive: true });
    await recipe.prepare(site);
    await Promise.all(processes.map((_, index) => launch(index)));
    await untilReady(recipe, site, { logPaths, hasEnded });
  };
  const kill = async (): Promise<void> => {
    await Promise.all(running().map((each) => each.kill()));
  };
  return {
    name: recipe.name,
    address: `127.0.0.1:${clientPort(site)}`,
    url: recipe.url(site),
    variables: recipe.variables(site),
    directory,
    brokerAddresses: recipe.url(site).split(","),
    kill,
    async stop() {
      await Promise.all(running().map((each) => each.stop(recipe.stopSignal)));
    },
    start,
    pause: () => running().forEach((each) => each.signal("SIGSTOP")),
    resume: () => running().forEach((each) => each.signal("SIGCONT")),
    async dispose() {
      await kill();
      rmSync(directory, { recursive: true, force: true });
    },
    async killBroker(index) {
      await processes[index]?.kill();
    },
    async startBroker(index) {
      await launch(index);
      await untilReady(recipe, site, { logPaths, hasEnded });
    },
  };
}
