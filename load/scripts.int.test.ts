/**
 * The scripts as they are run: real processes, real kills, and an exit code that can be trusted.
 *
 * The shop is the fake one, so that a liar can be put in its place; what is proved here is the
 * scripts, not the shop.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { REPOSITORY, startServer } from "./shop-process.ts";
import { startFakeShop } from "./testing/fake-shop.ts";
import type { Lie } from "./testing/fake-life.ts";

const TIMEOUT_MS = 60_000;
const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "scripts-"));
  cleanups.push(() => rmSync(directory, { recursive: true }));
  return directory;
}

async function run(script: string, ...flags: readonly string[]) {
  const child = Bun.spawn([process.execPath, `load/${script}`, ...flags], {
    cwd: REPOSITORY,
    env: { ...Bun.env, TMPDIR: temporaryDirectory() },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, out, err };
}

function ordersAgainst(lies: readonly Lie[], ...flags: readonly string[]) {
  const shop = startFakeShop({ port: 0, lies, stepMs: 1 });
  cleanups.push(() => shop.stop());
  const few = ["--rounds", "5", "--batch", "10", "--twin-every", "5"];
  return run("orders.ts", "--url", `http://127.0.0.1:${shop.port}`, ...few, ...flags);
}

function killing(word = "", ...flags: readonly string[]) {
  const shop = `load/testing/fake-shop-process.ts ${word}`.trim();
  const few = ["--kills", "3", "--rate", "100", "--pause-ms", "200"];
  return run("kill.ts", ...few, "--shop", shop, ...flags);
}

describe("load/orders.ts", () => {
  test("ends with 0 and a report that says how many, how fast, how good", async () => {
    const json = join(temporaryDirectory(), "report.json");
    const { exitCode, out } = await ordersAgainst([], "--json", json);
    expect(exitCode).toBe(0);
    expect(out).toContain("every promise kept");
    expect(await Bun.file(json).json()).toMatchObject({
      passed: true,
      figures: { accepted: { count: 50 }, errorShare: 0 },
      server: { rssLastBytes: 1 },
      verdict: { ok: true, counts: { attempted: 50, acknowledged: 50 } },
    });
  });

  test("ends with 1 and names the broken promise", async () => {
    const { exitCode, out } = await ordersAgainst(["double_order"]);
    expect(exitCode).toBe(1);
    expect(out).toContain("BROKEN: 5 doubled");
  });

  test.each([["orders.ts"], ["kill.ts"], ["outages.ts"]])(
    "%s ends with 2 on a flag it does not know",
    async (script) => {
      const { exitCode, err } = await run(script, "--speed", "9");
      expect(exitCode).toBe(2);
      expect(err).toContain("--speed");
      expect(err).toContain("--rate");
    },
  );
});

describe("load/kill.ts", () => {
  test(
    "kills and restarts as often as it says, and finds nothing lost in an honest shop",
    async () => {
      const { exitCode, out } = await killing();
      expect(out).toContain("kill 3/3");
      expect(out).toContain("every promise kept");
      expect(exitCode).toBe(0);
      // The last line is the report.
      const report = JSON.parse(out.trim().split("\n").at(-1) ?? "") as {
        readonly faults: readonly { readonly kills: number }[];
        readonly verdict: { readonly counts: Record<string, number> };
      };
      expect(report.faults.reduce((sum, fault) => sum + fault.kills, 0)).toBe(3);
      expect(report.verdict.counts["acknowledged"]).toBeGreaterThan(10);
      expect(report.verdict.counts["ledgerEffects"]).toBeGreaterThan(10);
    },
    TIMEOUT_MS,
  );

  test(
    "asks a shop again that cannot answer its judge at once, and says how often",
    async () => {
      const { exitCode, out } = await killing("stammer");
      expect(out).toContain("every promise kept");
      expect(out).toMatch(/asked +again by the judge: \d+ × 503/);
      expect(exitCode).toBe(0);
    },
    TIMEOUT_MS,
  );

  test(
    "finds the orders that a shop acknowledged before it wrote them",
    async () => {
      const { exitCode, out } = await killing("acknowledge_early", "--rest-s", "3");
      expect(exitCode).toBe(1);
      expect(out).toMatch(/BROKEN: .*\d+ lost/);
      expect(out).toContain("are kept in");
    },
    TIMEOUT_MS,
  );
});

describe("startServer", () => {
  test("shows the last words of a program that ends instead of serving", async () => {
    const directory = temporaryDirectory();
    const program = join(directory, "fails.ts");
    await Bun.write(program, 'console.error("the disk is made of cheese"); process.exit(3);');
    const ended: unknown = await startServer({
      command: [process.execPath, program],
      port: 1,
      environment: {},
      readyPath: "/ready",
      readyDeadlineMs: 20_000,
      logFile: join(directory, "log"),
    }).catch((error: unknown) => error);
    expect(String(ended)).toMatch(/exit 3[^]*made of cheese/);
  });
});
