/**
 * The shards as a child of the shop: a supervisor of their own with one thread each.
 *
 * As dynamic children they stop together, and one that dies again and again is started ever less
 * often while its neighbours go on. Refuses nothing; who has too many restarts fails for good, by
 * the supervisor's own count.
 */

import type { ShardThreadData, ShardTold } from "../actors/shard-main.ts";
import type { Environment } from "../runtime/environment.ts";
import type { ChildSpec } from "../runtime/supervision/child.ts";
import type { Supervisor, SupervisorEvent } from "../runtime/supervision/supervisor.ts";
import type { ThreadChildOptions } from "../runtime/threads/thread-child.ts";

import { supervisorChild } from "../runtime/supervision/supervision-tree.ts";
import { threadChild } from "../runtime/threads/thread-child.ts";

/** A shard on the journal is replaced in half a second: its orders wait for it. */
const JOURNAL_STALL_MS = 450;
/**
 * One on servers holds nobody up but itself, and its successor must first be assigned its slots: it
 * is replaced when it is lost, and not when the machine is busy.
 */
const SERVERS_STALL_MS = 5_000;
const BACKOFF = { minMs: 10, maxMs: 2_000, jitter: 0.2, resetAfterMs: 1_000 };
/** A shard that fails this often within a minute fails for good. */
const RESTARTS_MAX = 60;
const RESTARTS_PERIOD_MS = 60_000;

export interface ShardsChildOptions extends Pick<
  ThreadChildOptions,
  "readyWithinMs" | "stopWithinMs" | "stopGraceMs"
> {
  readonly environment: Environment;
  /** For each shard what its thread is told, in order. */
  readonly shards: readonly ShardThreadData[];
  readonly before: (data: ShardThreadData, incarnation: number) => Promise<void>;
  readonly onStarted: (
    data: ShardThreadData,
    running: Parameters<NonNullable<ThreadChildOptions["onStarted"]>>[0],
  ) => void;
  readonly onTold: (shard: string, told: ShardTold) => void;
  readonly onEvent: (event: SupervisorEvent) => void;
  /** The way to what runs. */
  readonly onSupervisor: (supervisor: Supervisor) => void;
}

export function shardsChild(options: ShardsChildOptions): ChildSpec {
  const { environment, shards, stopWithinMs, stopGraceMs, onEvent } = options;
  let supervisor: Supervisor | undefined;
  const empty = supervisorChild(
    {
      id: "shards",
      strategy: "one_for_one",
      intensity: RESTARTS_MAX,
      periodMs: RESTARTS_PERIOD_MS,
      backoff: BACKOFF,
      children: [],
    },
    environment,
    {
      onEvent,
      onStart: (started) => (supervisor = started),
      shutdownMs: stopWithinMs + 2 * stopGraceMs, // so that the threads miss it first
    },
  );
  return {
    ...empty,
    start: async (onExit, abandoned) => {
      const running = await empty.start(onExit, abandoned);
      if (supervisor !== undefined) options.onSupervisor(supervisor);
      try {
        for (const [index, data] of shards.entries()) {
          await supervisor?.startChild(shardChild(options, index, data));
        }
      } catch (error) {
        await running.stop();
        throw error;
      }
      return running;
    },
  };
}

function shardChild(options: ShardsChildOptions, index: number, data: ShardThreadData): ChildSpec {
  const { environment, readyWithinMs, stopWithinMs, stopGraceMs } = options;
  return threadChild({
    id: `shard-${index}`,
    restart: "permanent",
    environment,
    entry: new URL("../actors/shard-main.ts", import.meta.url),
    thread: data.thread,
    heartbeats: data.heartbeats,
    workerData: (incarnation) => ({ ...data, incarnation }),
    before: (incarnation) => options.before(data, incarnation),
    readyWithinMs,
    stallMs: data.ground.kind === "remote" ? SERVERS_STALL_MS : JOURNAL_STALL_MS,
    stopWithinMs,
    stopGraceMs,
    onStarted: (running) => options.onStarted(data, running),
    // A shard's thread tells nothing else.
    onMessage: (body) => options.onTold(`shard-${index}`, body as ShardTold),
  });
}
