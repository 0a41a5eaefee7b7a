/** One client of several servers, some of which are not there. What they serve is not looked at. */

import { afterEach, describe, expect, test } from "bun:test";

import { createOrderCanceller } from "./order-canceller.ts";
import { createSpreadClient } from "./spread-client.ts";
import { findFreePort } from "./shop-process.ts";
import type { SpreadClient } from "./spread-client.ts";

const closers: (() => unknown)[] = [];
afterEach(() => closers.splice(0).forEach((close) => close()));

/** Answers everything with `status` and its name. */
function serve(name: string, status = 200, headers: Record<string, string> = {}): number {
  const fetch = (): Response => new Response(name, { status, headers });
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch });
  closers.push(() => server.stop(true));
  return server.port ?? 0;
}

function spreadOver(...targets: readonly (readonly [name: string, port: number])[]): SpreadClient {
  const spread = createSpreadClient({ timeoutMs: 5_000, shunMs: 60_000 });
  closers.push(() => spread.close());
  for (const [name, port] of targets) spread.add(name, port);
  return spread;
}

const GET = { method: "GET", path: "/" } as const;

describe("a client of several processes", () => {
  test("asks them in turn", async () => {
    const { pool } = spreadOver(["a", serve("a")], ["b", serve("b")]);
    const bodies = [];
    for (let n = 0; n < 4; n++) bodies.push((await pool.request(GET)).body);
    expect(bodies.toSorted()).toEqual(["a", "a", "b", "b"]);
  });

  test("leaves out one that does not answer", async () => {
    const spread = spreadOver(["gone", findFreePort()], ["b", serve("b")]);
    for (let n = 0; n < 4; n++) expect((await spread.pool.request(GET)).body).toBe("b");
    expect((await spread.requestElsewhere(GET, "b")).body).toBe("b");
  });

  test("asks another than the one it is told, while there is one", async () => {
    const spread = spreadOver(["a", serve("a")], ["b", serve("b")]);
    for (let n = 0; n < 3; n++) expect((await spread.requestElsewhere(GET, "a")).body).toBe("b");
  });

  test("that knows none says so", async () => {
    await expect(spreadOver().requestElsewhere(GET, "a")).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("a canceller", () => {
  async function cancelAt(port: number, deadlineMs = 5_000) {
    const spread = spreadOver(["a", port]);
    const canceller = createOrderCanceller({ spread: () => spread, every: 2, deadlineMs });
    for (const id of ["o1", "o2", "o2", "o3"]) canceller.acknowledged(id, "b");
    return await canceller.finish();
  }

  test.each([
    [200, "cancelled"],
    [409, "refused"],
    [404, "unknown"],
  ] as const)("cancels every second order once, and takes %d for %s", async (status, outcome) => {
    const records = await cancelAt(serve("a", status));
    expect(records).toMatchObject([{ orderId: "o2", outcome, detail: "" }]);
  });

  test("asks for the place where a 202 may be followed", async () => {
    const good = await cancelAt(serve("a", 202, { location: "/v1/orders/o2" }));
    expect(good).toMatchObject([{ outcome: "accepted", detail: "" }]);
    const bad = await cancelAt(serve("a", 202));
    expect(bad).toMatchObject([{ outcome: "accepted", detail: "202 with location undefined" }]);
  });

  test("says what it was told last when it was told nothing sound", async () => {
    const [record] = await cancelAt(serve("a", 503), 0);
    expect(record).toMatchObject({ outcome: "unanswered", detail: "503 a" });
  });
});
