/**
 * A shard's thread: joins the mesh, opens the ground it stands on, starts its services, answers
 * commands.
 *
 * A command counts as taken only once it is answered, so a shard that dies leaves it in the ring
 * for its successor. When the journal is gone the shard has nothing to stand on and fails.
 */

import type { StartedThread } from "../runtime/threads/thread-entry.ts";
import type { MeshMemory } from "../runtime/threads/mesh.ts";
import type { ConnectionState } from "./brokers/broker.ts";
import type { EmbeddedGroundData, EmbeddedLine } from "./grounds/embedded-ground.ts";
import type { RedisMemory, RedisMemoryData } from "./grounds/redis-memory.ts";
import type { RemoteGroundData } from "./grounds/remote-ground.ts";
import type { GroundEvents, ShardGround } from "./grounds/shard-ground.ts";
import type { ShardServices, ShardSettings } from "./shard-services.ts";

import { workerData } from "node:worker_threads";

import { assert, describeError, isShopError, ShopError } from "../runtime/errors.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { CounterWriter } from "../runtime/threads/counter-page.ts";
import { MeshNode } from "../runtime/threads/mesh.ts";
import { runThread } from "../runtime/threads/thread-entry.ts";
import { noteChange } from "./change-page.ts";
import {
  bodyAfterNumber,
  decodeNumber,
  encodeNumber,
  encodeReplyFailure,
  REPLY,
  REPLY_FAILURE,
} from "./command-frames.ts";
import { encodeValue } from "./contracts/codec.ts";
import { embeddedLine } from "./grounds/embedded-ground.ts";
import { commitSabotage, isSabotage } from "./sabotage.ts";
import { createShardFailures } from "./shard-failure.ts";
import { startShardServices } from "./shard-services.ts";
import { shardMetrics } from "./shard-metrics.ts";
import { commitMetrics } from "./store-metrics.ts";
import { SHOP_LAYOUT } from "./shop-metrics.ts";

/** Between tries to hand an answer to a gateway that is busy. */
const RESEND_MS = 5;
/** Of the time to stop, on servers: the rest is for the outbox and for giving the lease back. */
const DRAIN_SHARE = 0.6;

export interface ShardThreadData {
  readonly memory: MeshMemory;
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** See `change-page.ts`. */
  readonly orderChanges: SharedArrayBuffer;
  readonly stockChanges: SharedArrayBuffer;
  /** Indices in the mesh. */
  readonly thread: number;
  readonly gateway: number;
  readonly backlogBytesMax: number;
  readonly ground: EmbeddedGroundData | RemoteGroundData;
  /** Absent: those that the broker assigns. */
  readonly partitions?: readonly number[];
  readonly settings: ShardSettings;
  /** What is kept on Redis, if anything. */
  readonly redis?: RedisMemoryData;
  /** Of this thread, counted from 0; absent: the first. */
  readonly incarnation?: number;
}

/** What a parent tells its shards when the journal's thread died. */
export interface JournalGone {
  readonly kind: "journal_gone";
}

type LogLevel = "debug" | "info" | "warning";

/** What a shard tells its parent. */
export type ShardTold =
  | { readonly kind: "log"; readonly level: LogLevel; readonly text: string }
  /** The books of a partition do not balance; all of the shard's do again. */
  | { readonly kind: "imbalance"; readonly detail: string }
  | { readonly kind: "balanced" }
  /** A server can be reached again, or not any more. */
  | { readonly kind: "connection"; readonly server: string; readonly state: ConnectionState }
  | { readonly kind: "damage"; readonly detail: string };

async function start(
  data: ShardThreadData,
  tell: (told: ShardTold) => void,
): Promise<StartedThread> {
  const { gateway } = data;
  const services = Promise.withResolvers<ShardServices>();
  const line = data.ground.kind === "embedded" ? embeddedLine(data.ground) : undefined;
  const node = new MeshNode({
    memory: data.memory,
    me: data.thread,
    environment: systemEnvironment,
    backlogBytesMax: data.backlogBytesMax,
    listeners: [
      ...(line === undefined ? [] : [line.listener]),
      {
        from: gateway,
        release: "settled",
        onRecord: (_kind, bytes, ticket) => {
          // Rejects only for a bug, and then ends the thread as it should.
          void answer(decodeNumber(bytes), bodyAfterNumber(bytes), ticket);
        },
      },
    ],
    onTurn: () => line?.onTurn(),
  });

  /** A bug is answered too, and settled before it ends the thread: it must not end the next. */
  async function answer(number: number, frame: Uint8Array, ticket: number): Promise<void> {
    try {
      const reply = await (await services.promise).command(decodeFrame(frame));
      await send(REPLY, number, encodeValue(reply));
    } catch (error) {
      const failure = isShopError(error)
        ? error
        : new ShopError("INDETERMINATE", describeError(error), "later");
      await send(REPLY_FAILURE, number, encodeReplyFailure(failure));
      if (!isShopError(error)) {
        node.settle(gateway, ticket);
        node.flush();
        throw error;
      }
    }
    node.settle(gateway, ticket);
  }

  /** Waits while the gateway does not take its answers: the commands behind them are bounded. */
  async function send(kind: number, number: number, body: Uint8Array): Promise<void> {
    while (!node.send(gateway, kind, encodeNumber(number), body)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      systemEnvironment.startTimer(RESEND_MS, resolve);
      await promise;
    }
  }

  const counters = new CounterWriter(data.counters, SHOP_LAYOUT, data.thread);
  const metrics = shardMetrics(counters);
  const told = reportsOf(data, tell);
  const failures = createShardFailures(systemEnvironment, told.onLog);
  const reports = { ...told, onFailure: failures.onFailure, onBatch: commitMetrics(counters) };
  const ground = await openGround(data, node, line, reports);
  const memory = await openMemory(data, reports);
  const running = await startShardServices({
    environment: systemEnvironment,
    ...ground,
    settings: data.settings,
    ...(data.partitions === undefined ? {} : { partitions: data.partitions }),
    metrics,
    ...reports,
    ...(memory?.createFraud === undefined ? {} : { createFraud: memory.createFraud }),
    onStockChanged(productId) {
      reports.onStockChanged(productId);
      memory?.stockChanged(productId);
    },
  });
  services.resolve(running);
  return {
    async stop(withinMs) {
      failures.stopping();
      await running.drain(withinMs * (data.ground.kind === "remote" ? DRAIN_SHARE : 1));
      memory?.close();
      await ground.close();
      node.close();
    },
    onCustom(body) {
      if (isSabotage(body)) commitSabotage(body, systemEnvironment);
      else if (isJournalGone(body)) line?.fail();
    },
  };
}

/** What was there at the start of the process may be away for one that replaces another. */
function mayBeAway({ incarnation = 0 }: ShardThreadData): boolean {
  return incarnation > 0;
}

async function openGround(
  data: ShardThreadData,
  node: MeshNode,
  line: EmbeddedLine | undefined,
  reports: GroundEvents,
): Promise<ShardGround> {
  const { ground } = data;
  if (ground.kind === "remote") {
    // The clients of servers are no part of a shard that uses none.
    const { openRemoteGround } = await import("./grounds/remote-ground.ts");
    return await openRemoteGround(ground, systemEnvironment, reports, mayBeAway(data));
  }
  assert(line !== undefined, "an embedded ground has a line to the journal");
  return await line.open(node, reports, mayBeAway(data));
}

async function openMemory(
  data: ShardThreadData,
  reports: GroundEvents,
): Promise<RedisMemory | undefined> {
  const { redis } = data;
  if (redis === undefined) return undefined;
  const { openRedisMemory } = await import("./grounds/redis-memory.ts");
  return await openRedisMemory(redis, systemEnvironment, reports, mayBeAway(data));
}

/** What the services report, to the pages and the thread that reads it. */
function reportsOf(data: ShardThreadData, tell: (told: ShardTold) => void) {
  const orderChanges = new Int32Array(data.orderChanges);
  const stockChanges = new Int32Array(data.stockChanges);
  return {
    onOrderChanged: (orderId: string) => noteChange(orderChanges, orderId),
    onStockChanged: (productId: string) => noteChange(stockChanges, productId),
    onDamage: (detail: string) => tell({ kind: "damage", detail }),
    onLog: (level: LogLevel, text: string) => tell({ kind: "log", level, text }),
    onImbalance: (detail: string) => tell({ kind: "imbalance", detail }),
    onBalanced: () => tell({ kind: "balanced" }),
    onConnection: (server: string, state: ConnectionState) =>
      tell({ kind: "connection", server, state }),
  };
}

function isJournalGone(body: unknown): body is JournalGone {
  return (
    typeof body === "object" && body !== null && "kind" in body && body.kind === "journal_gone"
  );
}

// Made by the parent, which is of this build.
const data = workerData as ShardThreadData;
await runThread({
  environment: systemEnvironment,
  heartbeats: data.heartbeats,
  thread: data.thread,
  start: (tell) => start(data, tell),
});
