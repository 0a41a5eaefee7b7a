/**
 * A process and all that belongs to it: its process group and every descendant.
 *
 * PostgreSQL gives each backend a session of its own, so a signal to the group alone would miss
 * them. Reads `/proc` where there is one, else asks `ps`.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";

export interface ProcessRow {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
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

function listProcesses(): readonly ProcessRow[] {
  if (!existsSync("/proc/self/stat")) return listByPs();
  const rows: ProcessRow[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const row = readStat(Number(name));
    if (row !== undefined && row.state !== "Z") rows.push(row);
  }
  return rows;
}

interface Stat extends ProcessRow {
  readonly state: string;
  /** Clock ticks since boot. */
  readonly startTicks: string;
}

/** What the kernel says about a process, or `undefined` when there is none. */
export function readStat(pid: number): Stat | undefined {
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

function listByPs(): readonly ProcessRow[] {
  const { stdout } = Bun.spawnSync(["ps", "-A", "-o", "pid=,ppid=,pgid="]);
  return stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => {
      const [pid = 0, parent = 0, group = 0] = line.trim().split(/\s+/).map(Number);
      return { pid, parent, group };
    });
}
