/**
 * A process and all that belongs to it: its process group and every descendant.
 *
 * PostgreSQL gives each backend a session of its own, so a signal to the group alone would miss
 * them. Reads `/proc` where there is one, else asks `ps`. Refuses to take a process for another
 * that had its number before.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";

const LOOK_EVERY_MS = 20;
/** A process in the middle of a call to a disk stops only after it: it is not waited for longer. */
const FREEZE_LOOKS_MAX = 100;
const FREEZE_EVERY_MS = 5;
/** By a signal or a tracer, or dead. */
const STOPPED: ReadonlySet<string> = new Set(["T", "t", "X"]);

export interface ProcessRow {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
}

/** Who it is: of all that ever have the same number, one alone began then. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, or the date where only `ps` says it. */
  readonly startTicks: string;
}

interface LiveProcess extends ProcessRow, ProcessIdentity {
  /** One letter, as the kernel says it. */
  readonly state: string;
}

/** Sends `signal` to the family of `leader`; who is gone by then is no error. */
export function signalFamily(leader: number, signal: NodeJS.Signals): void {
  for (const pid of pickFamily(listProcesses(), leader)) signalProcess(pid, signal);
}

export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It ended between the look and the signal.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/**
 * Kills the family of `leader`; resolves when all of it is gone.
 *
 * All are stopped first: a server that is killed while it forks leaves a child that belongs to
 * nobody, and PostgreSQL does not start again as long as there is one.
 */
export async function killFamily(leader: number): Promise<void> {
  const known = await freezeFamily(leader);
  for (const pid of stillThere(known, listProcesses())) signalProcess(pid, "SIGKILL");
  while (stillThere(known, listProcesses()).length > 0) await Bun.sleep(LOOK_EVERY_MS);
}

/** Pids of `rows` that are still those of `known`, by pid since when. */
export function stillThere(
  known: ReadonlyMap<number, string>,
  rows: readonly ProcessIdentity[],
): readonly number[] {
  return rows.filter((row) => known.get(row.pid) === row.startTicks).map(({ pid }) => pid);
}

/** Who is in it, by pid since when; all stopped, so that there will be no more of them. */
async function freezeFamily(leader: number): Promise<ReadonlyMap<number, string>> {
  const known = new Map<number, string>();
  const note = (rows: readonly LiveProcess[]): ReadonlySet<number> => {
    const family = new Set(pickFamily(rows, leader));
    for (const { pid, startTicks } of rows) if (family.has(pid)) known.set(pid, startTicks);
    return family;
  };
  for (let look = 0; look < FREEZE_LOOKS_MAX; look++) {
    const rows = listProcesses();
    const family = note(rows);
    const isQuiet = rows.every(({ pid, state }) => !family.has(pid) || STOPPED.has(state));
    if (isQuiet) break;
    for (const pid of family) signalProcess(pid, "SIGSTOP");
    await Bun.sleep(FREEZE_EVERY_MS);
  }
  note(listProcesses());
  return known;
}

/** Whether anything of the family still runs. */
export function hasFamily(leader: number): boolean {
  return pickFamily(listProcesses(), leader).length > 0;
}

/** Pids of the group of `leader`, and of everything that descends from it; sorted. */
export function pickFamily(rows: readonly ProcessRow[], leader: number): readonly number[] {
  const family = new Set<number>();
  for (const row of rows) if (row.group === leader || row.pid === leader) family.add(row.pid);
  for (let grown = -1; grown !== family.size;) {
    grown = family.size;
    for (const row of rows) if (family.has(row.parent)) family.add(row.pid);
  }
  return [...family].sort((a, b) => a - b);
}

/** Those that have not ended. */
function listProcesses(): readonly LiveProcess[] {
  if (!existsSync("/proc/self/stat")) return listByPs().filter(({ state }) => state !== "Z");
  const rows: LiveProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const row = readStat(Number(name));
    if (row !== undefined && row.state !== "Z") rows.push(row);
  }
  return rows;
}

/** What the kernel says about a process, or `undefined` when there is none. */
export function readStat(pid: number): LiveProcess | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, blanks and parentheses too.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    state: fields[0] ?? "",
    parent: Number(fields[1]),
    group: Number(fields[2]),
    startTicks: fields[19] ?? "",
  };
}

function listByPs(): readonly LiveProcess[] {
  const { stdout } = Bun.spawnSync(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="]);
  return stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => {
      const fields = line.trim().split(/\s+/);
      const [pid = 0, parent = 0, group = 0] = fields.map(Number);
      const startTicks = fields.slice(4).join(" ");
      return { pid, parent, group, state: fields[3]?.slice(0, 1) ?? "", startTicks };
    });
}
