/**
 * The judge is judged: the cases for remote brokers pass a sound adapter on a sound server, and
 * each of them finds the flaw it is there to find.
 *
 * Sockets and processes are real, the server is a plain one in this process; what real servers do
 * is in the adapters' own tests.
 */

import { afterAll, describe, expect, test } from "bun:test";

import type { Flaw } from "../testing/plain-wire.fixture.ts";

import { describeError } from "../../runtime/errors.ts";
import { PlainServer } from "../testing/plain-server.fixture.ts";
import { remoteHooks } from "../testing/remote-hooks.suite.ts";
import { Bench } from "./broker-bench.suite.ts";
import { REMOTE_MEMBER_CASES } from "./remote-member-cases.suite.ts";
import { REMOTE_SERVER_CASES } from "./remote-server-cases.suite.ts";

const CASES = [...REMOTE_SERVER_CASES, ...REMOTE_MEMBER_CASES];
const CASE_TIMEOUT_MS = 120_000;
/** How long a case waits in vain for what a flaw prevents. */
const FLAWED_PATIENCE_MS = 12_000;

/** Which case finds it, and by what it says. */
const FLAWS: readonly (readonly [Flaw, string, RegExp])[] = [
  ["takes a lost connection for a yes", "B07", /INDETERMINATE/],
  ["takes a lost connection for a yes", "B33", /in vain|toEqual/],
  ["sends lost frames again on its own", "B27", /toEqual/],
  ["stays away once it lost the connection", "B32", /in vain/],
  ["forgets its last frames when it is killed", "B33", /in vain/],
  ["garbles what it reads back", "B33", /toBe/],
  ["publishes without a deadline", "B35", /toBeGreaterThan|toBeLessThan|in vain/],
  ["never asks whether the server is there", "B36", /in vain/],
  ["each piece of the network is a line", "B37", /in vain/],
  ["settles what it delivers", "B16", /in vain|toEqual/],
  ["settles for anybody", "B17", /in vain/],
  ["gives every partition to every member", "B26", /one owner/],
  ["delivers backwards", "B26", /toEqual/],
  ["hands over without waiting", "B26", /toEqual/],
  ["close settles what is in hand", "B31", /in vain/],
];

describe("a sound adapter on a sound server", () => {
  for (const each of CASES) {
    test(each.name, () => runOn("none", each.name), CASE_TIMEOUT_MS);
  }
});

describe("the cases find what is wrong", () => {
  for (const [flaw, number, complaint] of FLAWS) {
    const name = CASES.find((each) => each.name.startsWith(`${number}:`))?.name ?? "";
    const prove = async (): Promise<void> => {
      const verdict = await runOn(flaw, name).then(() => "it passed", describeError);
      expect(verdict).toMatch(complaint);
    };
    test(`${number} fails an adapter or server that ${flaw}`, prove, CASE_TIMEOUT_MS);
  }
});

const disposals: (() => Promise<void>)[] = [];
afterAll(async () => {
  await Promise.all(disposals.map((dispose) => dispose()));
});

/** One case on a server of its own, both flawed in the same way as far as it concerns them. */
async function runOn(flaw: Flaw, name: string): Promise<void> {
  const rig = new URL("../testing/plain-rig.fixture.ts", import.meta.url);
  rig.searchParams.set("flaw", flaw);
  const isFrozen = name.startsWith("B35");
  const topics = isFrozen ? ["t", "flood"] : ["t"];
  const partitions = partitionsOf(name);
  const { hooks, dispose } = remoteHooks({
    startServer: async () => {
      const server = new PlainServer(topics, partitions, flaw);
      await server.start();
      return server;
    },
    rig,
    publishTimeoutMs: publishTimeoutOf(name),
    sessionMs: 3_000,
    ...(flaw === "none" ? {} : { patienceMs: FLAWED_PATIENCE_MS }),
  });
  disposals.push(dispose);
  const bench = new Bench(hooks());
  try {
    await CASES.find((each) => each.name === name)?.run(bench);
  } finally {
    await bench.hooks.stop();
  }
}

/**
 * Byte by byte every frame of the case is under way at once: with a deadline in reach of a busy
 * machine each is sent again behind all the others, and there is no end to it.
 */
function publishTimeoutOf(name: string): number {
  return name.startsWith("B37") ? 30_000 : 1_500;
}

/** The plain server is told when it starts; other adapters are when they are opened. */
function partitionsOf(name: string): number {
  if (/^B(?:26|32|33):/.test(name)) return 16;
  return /^B(?:27|35|37):/.test(name) ? 4 : 8;
}
