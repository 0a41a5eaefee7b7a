/**
 * Health of processes as it is read at the end of a run: small servers on loopback that are well or
 * not. None of them is a shop.
 */

import { afterEach, expect, test } from "bun:test";

import { findFreePort } from "./shop-process.ts";
import { readUnwell } from "./fleet-health.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** Answers with `statuses` one after the other, and with the last of them for ever. */
function serve(...statuses: readonly number[]) {
  const ports: number[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request, own) {
      ports.push(own.requestIP(request)?.port ?? 0);
      const status = statuses[Math.min(ports.length, statuses.length) - 1] ?? 200;
      return new Response(`status ${status}`, { status });
    },
  });
  cleanups.push(() => server.stop(true));
  return { url: `http://127.0.0.1:${server.port}`, ports };
}

function fleetOf(urls: Readonly<Record<string, string>>) {
  return {
    living: () => Object.keys(urls),
    process: (name: string) => ({ url: urls[name] ?? "" }),
  };
}

test("who is well again in time is well, and asked on a new connection each time", async () => {
  const { url, ports } = serve(503, 503, 200);
  expect([...(await readUnwell(fleetOf({ p1: serve(200).url, p2: url })))]).toEqual([]);
  expect(ports).toHaveLength(3);
  expect(new Set(ports).size).toBe(3);
});

test("who is not well when the time is over is told, with what it says", async () => {
  const fleet = fleetOf({ p1: serve(200).url, p2: serve(503, 200).url });
  expect([...(await readUnwell(fleet, 0))]).toEqual([["p2", "status 503"]]);
});

test("who does not answer is not well, and the others are asked all the same", async () => {
  const gone = `http://127.0.0.1:${findFreePort()}`;
  const unwell = await readUnwell(fleetOf({ p1: gone, p2: serve(503).url }), 0);
  expect([...unwell.keys()]).toEqual(["p1", "p2"]);
});
