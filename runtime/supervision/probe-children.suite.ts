/**
 * Children for the tests of supervision: they do as told, and everything they do is on record.
 *
 * The record is a list of lines such as `start a`, `stop a`, `kill a`. Times pass on the
 * environment's clock only.
 */

import type { Environment } from "../environment.ts";
import type { ChildSpec, Exit, RunningChild } from "./child.ts";

export interface ProbeOptions extends Partial<Pick<ChildSpec, "restart" | "shutdown">> {
  /** How long a start takes; `never`: it hangs. */
  readonly startMs?: number | "never";
  /** How long a stop takes; `never`: it hangs. */
  readonly stopMs?: number | "never";
  /** Which starts fail, counted from 0. */
  readonly startFails?: (start: number) => boolean;
}

export interface Probe {
  /** What happened, oldest first. */
  readonly record: string[];
  child(id: string, options?: ProbeOptions): ChildSpec;
  /** Makes the running incarnation of `id` end by itself. */
  exit(id: string, exit?: Exit): void;
  /** How often `id` was asked to start. */
  starts(id: string): number;
  /** Number of the incarnation of `id` that runs now, from 1; 0 when none does. */
  running(id: string): number;
  /** Takes the record so far and empties it. */
  take(): string[];
}

export const CRASH: Exit = { kind: "abnormal", error: new Error("crash") };

export function createProbe(environment: Environment): Probe {
  const record: string[] = [];
  const starts = new Map<string, number>();
  const live = new Map<
    string,
    { readonly number: number; readonly onExit: (exit: Exit) => void }
  >();

  async function start(
    id: string,
    options: ProbeOptions,
    onExit: (exit: Exit) => void,
  ): Promise<RunningChild> {
    const number = (starts.get(id) ?? 0) + 1;
    starts.set(id, number);
    record.push(`start ${id}`);
    await pass(environment, options.startMs);
    if (options.startFails?.(number - 1) === true) throw new Error(`${id} refuses`);
    const self = { number, onExit };
    live.set(id, self);
    const end = (): void => {
      if (live.get(id) === self) live.delete(id);
    };
    return {
      async stop() {
        record.push(`stop ${id}`);
        await pass(environment, options.stopMs);
        end();
      },
      kill() {
        record.push(`kill ${id}`);
        end();
      },
    };
  }

  return {
    record,
    child: (id, options = {}) => ({
      id,
      restart: options.restart ?? "permanent",
      shutdown: options.shutdown ?? 1_000,
      start: (onExit) => start(id, options, onExit),
    }),
    exit(id, exit = CRASH) {
      const self = live.get(id);
      if (self === undefined) throw new Error(`${id} is not running`);
      live.delete(id);
      self.onExit(exit);
    },
    starts: (id) => starts.get(id) ?? 0,
    running: (id) => live.get(id)?.number ?? 0,
    take: () => record.splice(0),
  };
}

function pass(environment: Environment, durationMs: number | "never" = 0): Promise<void> {
  return new Promise((resolve) => {
    if (durationMs === "never") return;
    if (durationMs === 0) resolve();
    else environment.startTimer(durationMs, resolve);
  });
}
