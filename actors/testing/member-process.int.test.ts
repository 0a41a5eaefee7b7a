/**
 * A member process and the process that started it.
 *
 * What a member does is judged by the conformance cases; here only that it leaves nothing behind.
 */

import { expect, test } from "bun:test";

import { hasFamily } from "../../deploy/services/process-family.ts";
import { readLines } from "./member-process.fixture.ts";

const HOLDER = new URL("./member-holder.fixture.ts", import.meta.url).pathname;
const TIMEOUT_MS = 60_000;

test(
  "a frozen member does not outlive a test that was killed",
  async () => {
    const holder = Bun.spawn([process.execPath, HOLDER], { stdout: "pipe", stderr: "inherit" });
    const told = Promise.withResolvers<number>();
    void readLines(holder.stdout, (line) => told.resolve(Number(line)));
    const pid = await told.promise;
    expect(hasFamily(pid)).toBe(true);
    holder.kill("SIGKILL");
    while (hasFamily(pid)) await Bun.sleep(10);
  },
  TIMEOUT_MS,
);
