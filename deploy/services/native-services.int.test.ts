/**
 * `bun run services` with real servers: up, status, down, each as often as you like.
 *
 * Redis and PostgreSQL in a data directory of this test; the command runs as a process of its own.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { bringDown, bringUp, report } from "./native-services.ts";
import { whyMissing } from "./recipes.ts";
import { isOurs, readIdentity, readState, writeState } from "./service-state.ts";

const NAMES = ["redis", "postgres"] as const;
const TIMEOUT_MS = 60_000;
const roots: string[] = [];

const missing = NAMES.map(whyMissing).filter((each) => each !== undefined);
const isThere = requireOrSkip(NAMES.join(" and "), missing.length === 0, missing.join("; "));

afterEach(async () => {
  for (const root of roots.splice(0)) {
    for (const name of NAMES) await bringDown(root, name);
    rmSync(root, { recursive: true, force: true });
  }
}, TIMEOUT_MS);

function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), "shopstream-services-"));
  roots.push(root);
  // PostgreSQL's account must be able to pass.
  Bun.spawnSync(["chmod", "755", root]);
  return root;
}

interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function services(root: string, ...argv: readonly string[]): Promise<Ended> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "services.ts"), ...argv], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: {
      ...Bun.env,
      // Set by a runner that ends whatever its tests leave behind: what stays here is to stay.
      BUN_FEATURE_FLAG_NO_ORPHANS: undefined,
      SHOPSTREAM_SERVICES_DATA: root,
      SHOPSTREAM_SERVICES_ENGINE: "native",
    },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

describe.skipIf(!isThere)("bun run services", () => {
  test("starts servers that stay, prints their addresses, and starts nothing twice", async () => {
    const root = makeRoot();
    const first = await services(root, "up", ...NAMES);
    expect(first.exitCode).toBe(0);
    const lines = first.stdout.trim().split("\n");
    expect(lines[0]).toMatch(/^SHOPSTREAM_REDIS_URL=redis:\/\/127\.0\.0\.1:\d+$/);
    expect(lines[1]).toMatch(/^SHOPSTREAM_POSTGRES_URL=postgres:\/\/shopstream@127\.0\.0\.1:\d+/);
    const before = NAMES.map((name) => readState(root, name));
    const second = await services(root, "up", ...NAMES);
    expect(second).toEqual({ ...first, stderr: expect.any(String) });
    expect(NAMES.map((name) => readState(root, name))).toEqual(before);

    const client = new Bun.RedisClient(lines[0]?.split("=")[1] ?? "");
    await client.set("k", "v");
    client.close();
    const status = await services(root, "status");
    expect(status.exitCode).toBe(0);
    expect(status.stderr).toMatch(/^redis +ready at /m);
    expect(status.stderr).toMatch(/^kafka +stopped$/m);
    expect(status.stdout).toBe(first.stdout);

    const down = await services(root, "down");
    expect([down.exitCode, down.stderr]).toEqual([
      0,
      "redis          stopped\npostgres       stopped\n",
    ]);
    for (const state of before) expect(state?.processes.some(isOurs)).toBe(false);
    expect((await services(root, "down")).stderr).toBe("");
    expect((await services(root, "status", "redis")).stderr).toBe("redis          stopped\n");
  });

  test("starts what died again, on its data and its ports", async () => {
    const root = makeRoot();
    const first = await bringUp(root, "redis");
    const client = new Bun.RedisClient(first.url ?? "");
    await client.set("k", "v");
    client.close();
    for (const pid of first.pids) process.kill(pid, "SIGKILL");
    while ((await report(root, "redis")).condition !== "stopped") await Bun.sleep(20);
    const second = await bringUp(root, "redis");
    expect(second.url).toBe(first.url);
    const again = new Bun.RedisClient(second.url ?? "");
    expect(await again.get("k")).toBe("v");
    again.close();
  });

  test("stops nothing that it did not start", async () => {
    const root = makeRoot();
    const stranger = Bun.spawn(["sleep", "600"]);
    writeState(root, "redis", {
      ports: [6379],
      processes: [{ pid: stranger.pid, identity: "an earlier boot 1" }],
    });
    expect(await bringDown(root, "redis")).toBe(false);
    expect(readIdentity(stranger.pid)).toBeString();
    stranger.kill();
    await stranger.exited;
  });

  test("a name it does not know is refused before anything is started", async () => {
    const ended = await services(makeRoot(), "up", "redis", "reddis");
    expect(ended.exitCode).toBe(2);
    expect(ended.stdout).toBe("");
    expect(ended.stderr).toContain("did you mean redis?");
  });
});
