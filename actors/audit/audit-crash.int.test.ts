/** Real processes, killed with -9: what was acknowledged is there, once, and the chain is whole. */

import { afterAll, expect, test } from "bun:test";

import { makeAuditDirectory, openAudit, readsOf, removeAudits, stateOf } from "./audit.fixture.ts";
import { crashBatches } from "./audit-crash.fixture.ts";

afterAll(removeAudits);

const SCRIPT = new URL("audit-crash.fixture.ts", import.meta.url).pathname;
const BATCHES = 40;
const RECORDS = BATCHES * 5;
const TIMEOUT_MS = 120_000;

/** Runs the script until it says `ok <killAt>`; the number of batches it acknowledged. */
async function runAndKill(directory: string, killAt: number): Promise<number> {
  const child = Bun.spawn([process.execPath, SCRIPT, directory, `${BATCHES}`], { stdout: "pipe" });
  let output = "";
  for await (const chunk of child.stdout) {
    output += new TextDecoder().decode(chunk);
    if (output.includes(`ok ${killAt}\n`)) child.kill("SIGKILL");
  }
  await child.exited;
  return Math.max(0, ...[...output.matchAll(/ok (\d+)/g)].map(([, number]) => Number(number) + 1));
}

test(
  "killed again and again, the audit comes out as if nobody had",
  async () => {
    const directory = makeAuditDirectory();
    for (const killAt of [0, 3, 11, 25]) {
      const acknowledged = await runAndKill(directory, killAt);
      const { projection } = openAudit(directory);
      expect(Number(projection.cursor())).toBeGreaterThanOrEqual(acknowledged);
      expect(projection.head().count).toBe(Number(projection.cursor()) * 5);
      projection.close();
    }
    await runAndKill(directory, BATCHES);
    const undisturbed = openAudit();
    for (const batch of crashBatches(BATCHES)) undisturbed.projection.apply(batch);
    expect(stateOf(directory)).toBe(stateOf(undisturbed.directory));
    const reads = readsOf(directory);
    const verdict = await reads.verify({ fromSeq: 1, recordsMax: 10_000, budgetMs: 60_000 });
    expect(verdict).toMatchObject({ verified: RECORDS, upToSeq: RECORDS });
    expect(verdict).not.toHaveProperty("problem");
  },
  TIMEOUT_MS,
);
