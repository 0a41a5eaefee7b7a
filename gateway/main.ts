/**
 * `bun start`: reads the configuration, starts the shop, stops it when told.
 *
 * Exit codes: 0 stopped in good order; 1 the supervision tree gave up, or a bug; 2 bad
 * configuration; 3 what it stands on cannot be had: the data directory is in use, a server cannot
 * be used; 4 the data is damaged; 130 forced by a second signal.
 */

import type { Shop } from "./shop.ts";

import { availableParallelism } from "node:os";

import { describeError, isShopError } from "../runtime/errors.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { startedWith } from "../runtime/supervision/start-failure.ts";
import { ThreadFailure } from "../runtime/threads/thread-child.ts";
import { readTextFile } from "./config/config-file.ts";
import { configHelp } from "./config/describe-config.ts";
import { loadConfig } from "./config/load-config.ts";
import { DEMO_PRODUCTS } from "./demo-stock.ts";
import { configureLog } from "./log.ts";
import { startShop } from "./shop.ts";

const EXIT_FAILED = 1;
const EXIT_CODES: Readonly<Record<string, number>> = {
  BAD_CONFIGURATION: 2,
  DATA_DIRECTORY_IN_USE: 3,
  SERVER_UNUSABLE: 3,
  DATA_DAMAGED: 4,
};
const EXIT_FORCED = 130;
/** Beyond the deadline of the stop itself: time for the last of it to be cut. */
const FORCE_MARGIN_MS = 2_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help")) {
    process.stdout.write(`${configHelp()}\n`);
    return;
  }
  const startedMs = systemEnvironment.monotonicMs();
  const { config } = loadConfig({
    argv,
    env: process.env,
    cwd: process.cwd(),
    readFile: readTextFile,
  });
  const log = configureLog(config.log.level, config.log.format);
  // Until it is ready nothing was acknowledged: a signal may end it as it is.
  const abandon = (): void => process.exit(0);
  process.once("SIGINT", abandon);
  process.once("SIGTERM", abandon);
  const shop = await startShop({
    config,
    environment: systemEnvironment,
    cores: availableParallelism(),
    log,
    onGiveUp: (code) => process.exit(code),
  });
  // At no time is a signal heard by nobody: whoever reads that it is ready may send one at once.
  stopOnSignal(shop, config.shutdownMs, (text) => log.info("{text}", { text }));
  process.off("SIGINT", abandon);
  process.off("SIGTERM", abandon);
  const readyMs = Math.round(systemEnvironment.monotonicMs() - startedMs);
  process.stdout.write(greeting(shop, config.data, readyMs));
}

function greeting(shop: Shop, directory: string, readyMs: number): string {
  const { productId } = DEMO_PRODUCTS[0];
  const order = { customerId: "ada", items: [{ productId, quantity: 2, price: 10.5 }] };
  return [
    `ShopStream is ready at ${shop.url} (${readyMs} ms)`,
    `  API      ${shop.url}/docs`,
    `  storage  ${directory}${shop.stockLoaded ? ", demo stock loaded" : ""}`,
    `  shards   ${shop.shards}`,
    "",
    "Try an order:",
    `  curl -s ${shop.url}/v1/orders -H 'content-type: application/json' \\`,
    `    -d '${JSON.stringify(order)}'`,
    "",
  ].join("\n");
}

/** The first signal stops in good order within the deadline, the second at once. */
function stopOnSignal(shop: Shop, withinMs: number, say: (text: string) => void): void {
  let isStopping = false;
  function onSignal(signal: NodeJS.Signals): void {
    if (isStopping) process.exit(EXIT_FORCED);
    isStopping = true;
    say(`${signal}: stopping; once more to force`);
    systemEnvironment.startTimer(withinMs + FORCE_MARGIN_MS, () => process.exit(EXIT_FAILED));
    shop.stop().then(
      (killed) => {
        say(killed.length === 0 ? "stopped" : `stopped; cut off: ${killed.join(", ")}`);
        process.exit(killed.length === 0 ? 0 : EXIT_FAILED);
      },
      (error: unknown) => fail(error),
    );
  }
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
}

/** One line for what is expected; a bug keeps its stack. */
function fail(error: unknown): never {
  const { code, message } = causeOf(error);
  if (code === undefined) console.error(error);
  else process.stderr.write(`shopstream: ${message}\n`);
  process.exit(EXIT_CODES[code ?? ""] ?? EXIT_FAILED);
}

/** The first failure that has a code, below what supervisors say of their children. */
function causeOf(error: unknown): { readonly code?: string; readonly message: string } {
  for (let at = startedWith(error); at instanceof Error; at = startedWith(at.cause)) {
    if (at instanceof ThreadFailure) return { code: at.threadCode, message: at.threadMessage };
    if (isShopError(at)) return { code: at.code, message: at.message };
  }
  return { message: describeError(error) };
}

await main(process.argv.slice(2)).catch(fail);
