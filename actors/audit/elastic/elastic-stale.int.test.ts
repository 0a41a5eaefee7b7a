/**
 * A search server that cannot bring its index up to date: what is answered, and what is not. The
 * server is a few lines of fake on this machine, because no real one fails so on demand.
 */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";

import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { openElasticAuditReads } from "./elastic-audit-reads.ts";
import { ELASTIC_SETTINGS } from "./elastic-settings.ts";

const QUERY = { limit: 10 };
const FRESH = { _shards: { total: 2, successful: 2, failed: 0 } };
const ONE_FAILED = { _shards: { total: 2, successful: 1, failed: 1 } };
const REJECTED = { error: { type: "es_rejected_execution_exception", reason: "queue" } };
const RANGE = { fromSeq: 1, recordsMax: 10, budgetMs: 100 };

let asked: string[];
let refreshed: () => Response;
let searched: () => Response;
let greeted: () => Response;
let states: boolean[];
beforeEach(() => {
  asked = [];
  states = [];
  searched = () => Response.json({ hits: { hits: [] } });
  greeted = () => Response.json({ version: { number: "8.19.2" } });
  refreshed = () => Response.json(FRESH);
});
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch({ url }) {
    const { pathname } = new URL(url);
    const [what = ""] = pathname.split("/").slice(-1);
    asked.push(what);
    if (what === "") return greeted();
    if (what === "_refresh") return refreshed();
    return searched();
  },
});
afterAll(() => server.stop(true));

async function openReads(refreshMs: number) {
  const settings = { ...ELASTIC_SETTINGS, url: `http://127.0.0.1:${server.port}`, refreshMs };
  return await openElasticAuditReads(settings, {
    environment,
    onConnection: ({ isUp }) => void states.push(isUp),
  });
}

describe("a search on an index that is brought up to date", () => {
  test("says nothing of it", async () => {
    const reads = await openReads(0);
    expect(await reads.search(QUERY)).toEqual({ records: [] });
    reads.close();
  });
});

describe("a search on an index that is not", () => {
  test.each([
    ["a shard of it fails", () => Response.json(ONE_FAILED)],
    ["the server has too much to do", () => Response.json(REJECTED, { status: 429 })],
    ["the server has no room for it", () => Response.json(REJECTED, { status: 503 })],
  ])("because %s finds what was there before, and says so", async (_, answer) => {
    refreshed = answer;
    const reads = await openReads(0);
    expect(await reads.search(QUERY)).toEqual({ records: [], isStale: true });
    expect(asked).toContain("_search");
    refreshed = () => Response.json(FRESH);
    expect(await reads.search(QUERY)).toEqual({ records: [] });
    reads.close();
  });

  test("is told to all who ask until it is tried again", async () => {
    refreshed = () => Response.json(ONE_FAILED);
    const reads = await openReads(3_600_000);
    await reads.search(QUERY);
    expect(await reads.search(QUERY)).toHaveProperty("isStale");
    expect(asked.filter((what) => what === "_refresh")).toHaveLength(1);
    reads.close();
  });

  test("because the server has no room for it says nothing of the connection", async () => {
    const busy = () => Response.json(REJECTED, { status: 503 });
    refreshed = busy;
    const reads = await openReads(0);
    for (let time = 0; time < 3; time++) await reads.search(QUERY);
    expect(states).toEqual([true]);
    searched = greeted = busy;
    for (let time = 0; time < 3; time++) {
      await expect(reads.search(QUERY)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    }
    // Nor that it is up, while all else is answered in the same way.
    expect(states).toEqual([true, false]);
    reads.close();
  });

  test("because the shop may not refuses it: no later search would be better", async () => {
    const security = { error: { type: "security_exception", reason: "unauthorized" } };
    refreshed = () => Response.json(security, { status: 403 });
    const reads = await openReads(0);
    await expect(reads.search(QUERY)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    expect(asked).not.toContain("_search");
    reads.close();
  });

  test("gives no verdict over the chain", async () => {
    refreshed = () => Response.json(ONE_FAILED);
    const reads = await openReads(0);
    await expect(reads.verify(RANGE)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    reads.close();
  });
});
