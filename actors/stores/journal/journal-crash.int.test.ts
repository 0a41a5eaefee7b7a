/** Real processes, killed with -9 and given failing syscalls: what was acknowledged is there. */

import { afterAll, describe, expect, test } from "bun:test";

import { framePayload } from "../../../runtime/frames/frame.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { CRASH_GROUP, deliveryOf } from "./journal-crash.fixture.ts";
import {
  integrityOf,
  makeDirectory,
  openTestJournal,
  removeDirectories,
  SLOTS,
} from "./journal.fixture.ts";

afterAll(removeDirectories);

const SCRIPT = new URL("journal-crash.fixture.ts", import.meta.url).pathname;
const UNITS = 20;
/** Of a script that is killed from outside: at least so many, and more until one caught a unit. */
const KILLS = 16;
const KILLS_MAX = 48;
/** More of a partition than a script gets done before it is killed. */
const RECORDS_MAX = 1_000_000;
const TIMEOUT_MS = 120_000;
const SYNCS = "fsync,fdatasync";

interface Ran {
  readonly attempted: ReadonlySet<number>;
  readonly acknowledged: ReadonlySet<number>;
  readonly refused: readonly string[];
  readonly reopens: number | undefined;
  readonly isKilled: boolean;
}

function straceWorks(): boolean {
  if (Bun.which("strace") === null) return false;
  const inject = ["-e", "inject=fsync:error=EIO:when=1"];
  return Bun.spawnSync(["strace", "-f", "-o", "/dev/null", ...inject, "true"]).exitCode === 0;
}
const canInject = requireOrSkip(
  "strace",
  straceWorks(),
  "kill points and failing syscalls need strace with permission to trace",
);

/** Runs the script, under `strace` with `options` if there are any. */
async function runScript(directory: string, options: readonly string[]): Promise<Ran> {
  const strace = options.length === 0 ? [] : ["strace", "-f", "-o", "/dev/null", ...options];
  const child = Bun.spawn([...strace, process.execPath, SCRIPT, directory, `${UNITS}`], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = await new Response(child.stdout).text();
  await child.exited;
  return parse(output);
}

function parse(output: string): Ran {
  const attempted = new Set<number>();
  const acknowledged = new Set<number>();
  const refused: string[] = [];
  let reopens: number | undefined;
  for (const line of output.split("\n")) {
    const [word, number, code = ""] = line.split(" ");
    if (word === "try") attempted.add(Number(number));
    if (word === "ok") acknowledged.add(Number(number));
    if (word === "refused") refused.push(code);
    if (word === "reopens") reopens = Number(number);
  }
  return { attempted, acknowledged, refused, reopens, isKilled: reopens === undefined };
}

/** acknowledged ⊆ stored ⊆ attempted, units whole, acks kept, the file sound. */
function checkSurvival(directory: string, ran: Ran): void {
  const journal = openTestJournal(directory);
  expect(journal.damage).toEqual([]);
  // The script may have been killed before it got that far.
  journal.registerGroup(CRASH_GROUP, ["orders"], "earliest");
  const stored = new Set<number>();
  for (let partition = 0; partition < SLOTS; partition++) {
    for (const { bytes } of journal.read("orders", partition, 0, RECORDS_MAX, 1e9)) {
      stored.add(Number(new TextDecoder().decode(framePayload(bytes))));
    }
  }
  const positions = journal.positions(CRASH_GROUP);
  const isSettled = (number: number) => {
    const { partition, sequence } = deliveryOf(number);
    const position = positions[partition];
    return sequence <= (position?.position ?? 0) || position?.settledAbove.includes(sequence);
  };
  for (const number of ran.acknowledged) expect(stored).toContain(number);
  for (const number of stored) expect(ran.attempted).toContain(number);
  for (let number = 0; number < Math.max(UNITS, ran.attempted.size); number++) {
    const isRow = journal.load("stock", [`row-${number}`])[0] !== undefined;
    expect(isRow).toBe(stored.has(number));
    if (number >= 2 && stored.has(number)) expect(isSettled(number - 2)).toBe(true);
    else if (number >= 2) expect(isSettled(number - 2)).toBe(false);
  }
  journal.close();
  expect(integrityOf(directory)).toBe("ok");
}

test(
  "killed from outside at any moment, nothing acknowledged is lost",
  async () => {
    let caught = 0;
    // It is never idle: every other kill comes as a unit begins, the others as one is acknowledged.
    for (let kill = 0; kill < KILLS || (caught === 0 && kill < KILLS_MAX); kill++) {
      const directory = makeDirectory();
      const child = Bun.spawn([process.execPath, SCRIPT, directory, "Infinity"], {
        stdout: "pipe",
      });
      const point = `${kill % 2 === 0 ? "try" : "ok"} ${kill * 2}\n`;
      let output = "";
      for await (const chunk of child.stdout) {
        output += new TextDecoder().decode(chunk);
        if (output.includes(point) || output.includes("refused")) child.kill("SIGKILL");
      }
      await child.exited;
      expect(child.signalCode).toBe("SIGKILL");
      const ran = parse(output);
      expect(ran.refused).toEqual([]);
      expect(output).toContain(point);
      if (ran.attempted.size > ran.acknowledged.size) caught++;
      checkSurvival(directory, ran);
    }
    expect(caught).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

describe.skipIf(!canInject)("under strace", () => {
  test(
    "killed at any write or sync, nothing acknowledged is lost and nothing is half",
    async () => {
      const points = Array.from({ length: 24 }, (_, index) => 1 + index * 8);
      const kill = (calls: string, when: number) => [
        "-e",
        `inject=${calls}:signal=SIGKILL:when=${when}`,
      ];
      const options = [
        ...points.map((when) => kill("pwrite64", when)),
        ...points.map((when) => kill(SYNCS, 1 + Math.floor(when / 6))),
      ];
      let kills = 0;
      async function work(): Promise<void> {
        for (let next = options.pop(); next !== undefined; next = options.pop()) {
          const directory = makeDirectory();
          const ran = await runScript(directory, next);
          if (ran.isKilled) kills++;
          checkSurvival(directory, ran);
        }
      }
      await Promise.all([work(), work(), work()]);
      // The last points may lie behind the script's end.
      expect(kills).toBeGreaterThanOrEqual(20);
    },
    TIMEOUT_MS,
  );

  test.each([12, 17, 18, 25, 31])(
    "when sync %d fails the journal reopens before it acknowledges again",
    async (when) => {
      const directory = makeDirectory();
      const ran = await runScript(directory, ["-e", `inject=${SYNCS}:error=EIO:when=${when}`]);
      expect(ran.acknowledged.size).toBe(UNITS);
      expect(ran.reopens).toBeGreaterThan(0);
      for (const code of ran.refused) expect(code).toBe("STORAGE_FAULT");
      checkSurvival(directory, ran);
    },
    TIMEOUT_MS,
  );

  test(
    "when syncs go on failing the process ends instead of acknowledging",
    async () => {
      const directory = makeDirectory();
      const ran = await runScript(directory, ["-e", `inject=${SYNCS}:error=EIO:when=20+`]);
      expect(ran.isKilled).toBe(true);
      expect(ran.acknowledged.size).toBeLessThan(UNITS);
      checkSurvival(directory, ran);
    },
    TIMEOUT_MS,
  );

  test(
    "every acknowledgement comes after a sync of the log that follows its last write",
    async () => {
      const trace = `${makeDirectory()}/trace`;
      const child = Bun.spawn(
        [
          "strace",
          "-fy",
          "-o",
          trace,
          "-e",
          `trace=write,pwrite64,${SYNCS}`,
          process.execPath,
          SCRIPT,
          makeDirectory(),
          `${UNITS}`,
        ],
        { stdout: "pipe", stderr: "pipe" },
      );
      expect(await child.exited).toBe(0);
      let isSynced = true;
      let isWritten = false;
      let acknowledged = 0;
      for (const line of (await Bun.file(trace).text()).split("\n")) {
        if (/pwrite64\(\d+<[^>]*journal\.db-wal>/.test(line)) {
          isSynced = false;
          isWritten = true;
        }
        if (/f(data)?sync\(\d+<[^>]*journal\.db-wal>.*= 0$/.test(line)) isSynced = true;
        if (/write\(1<[^>]*>, "ok \d+/.test(line)) {
          expect({ line, isWritten, isSynced }).toEqual({ line, isWritten: true, isSynced: true });
          isWritten = false;
          acknowledged++;
        }
      }
      expect(acknowledged).toBe(UNITS);
    },
    TIMEOUT_MS,
  );
});
