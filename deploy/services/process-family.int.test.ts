/**
 * A family is killed to the last, also while its leader goes on making children that lead sessions
 * of their own, as PostgreSQL does. Real processes; without `/proc` it is skipped.
 */

import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";

import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { hasFamily, killFamily } from "./process-family.ts";

const TIMES = 5;
const CHILDREN = 300;

test.skipIf(!requireOrSkip("proc", existsSync("/proc/self/stat"), "no /proc"))(
  "nobody is left of a family whose leader was making children as it was killed",
  async () => {
    for (let time = 0; time < TIMES; time++) {
      // Children are told apart from those of others by how long they would sleep.
      const mark = `${60 + time}.${process.pid}`;
      const script = `for i in {1..${CHILDREN}}; do setsid sleep ${mark} & done; wait`;
      const leader = Bun.spawn(["setsid", "bash", "-c", script], {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      });
      while (sleepers(mark) < 20) await Bun.sleep(1);
      await killFamily(leader.pid);
      expect(hasFamily(leader.pid)).toBe(false);
      expect(sleepers(mark)).toBe(0);
    }
  },
  60_000,
);

function sleepers(mark: string): number {
  let count = 0;
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    if (commandOf(name) === `sleep\0${mark}\0`) count++;
  }
  return count;
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it ended between the look and the reading
  }
}
