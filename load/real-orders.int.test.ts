/**
 * `bun load/orders.ts` on real systems, as it is run: the shop that it starts itself, by the
 * configuration in `deploy/`, and a store that is not empty any more.
 *
 * Small figures; what is proved here is that everything is looked at there as it is on embedded
 * storage, and that earlier orders are not taken for those of the run.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { RealServers } from "../gateway/real-shop.fixture.ts";
import type { OrderRunReport } from "./order-run.ts";

import {
  disposeServers,
  haveServers,
  serverAddresses,
  startRealServers,
} from "../gateway/real-shop.fixture.ts";
import { REPOSITORY } from "./shop-process.ts";

const TIMEOUT_MS = 300_000;
const ORDERS = 40;

describe.skipIf(!haveServers())("load/orders.ts on real systems", () => {
  const directory = mkdtempSync(join(tmpdir(), "real-orders-"));
  let servers: RealServers;

  beforeAll(async () => {
    servers = await startRealServers({ kafka: { startsFast: true } });
  }, TIMEOUT_MS);

  afterAll(async () => {
    await disposeServers(servers);
    rmSync(directory, { recursive: true });
  }, TIMEOUT_MS);

  async function run(name: string): Promise<OrderRunReport> {
    const json = join(directory, `${name}.json`);
    const flags = ["--rounds", "2", "--batch", String(ORDERS / 2), "--json", json];
    const script = ["load/orders.ts", "--config", "deploy/real-systems.toml", ...flags];
    const inherited = Object.entries(Bun.env).filter(([key]) => !key.startsWith("SHOPSTREAM"));
    const child = Bun.spawn([process.execPath, ...script], {
      cwd: REPOSITORY,
      env: { ...Object.fromEntries(inherited), ...serverAddresses(servers) },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    const said = `${err}${out}`;
    expect({ said, code: await child.exited }).toEqual({ said, code: 0 });
    expect(said).toContain("every promise kept");
    return (await Bun.file(json).json()) as OrderRunReport; // what the script wrote
  }

  test(
    "verifies everything, and again on a store that holds earlier orders",
    async () => {
      const reports = [await run("first"), await run("second")];
      for (const { verdict } of reports) {
        const { counts, violations } = verdict;
        expect(violations).toEqual([]);
        expect(counts).toMatchObject({ acknowledged: ORDERS, found: ORDERS, sampled: ORDERS });
        expect(counts.audited).toBeGreaterThan(5 * ORDERS);
        expect(counts.audited).toBeLessThan(10 * ORDERS);
        expect(counts.texts).toBeGreaterThan(2 * ORDERS);
      }
    },
    TIMEOUT_MS,
  );
});
