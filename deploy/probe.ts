/**
 * The container's health check: ends with 0 when the shop in this container is ready, else with 1.
 *
 * The image has no curl. It asks the loopback address only, and gives up on its own well before
 * the engine's time-out.
 */

import { exit } from "node:process";

const TIMEOUT_MS = 3_000;
const port = Bun.env["SHOPSTREAM_PORT"] ?? "8080";

const isReady = await fetch(`http://127.0.0.1:${port}/ready`, {
  signal: AbortSignal.timeout(TIMEOUT_MS),
}).then(
  (response) => response.ok,
  () => false,
);
exit(isReady ? 0 : 1);
