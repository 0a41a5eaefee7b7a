/**
 * A shard's thread: joins the mesh, opens its ends of the journal, starts its services, answers
 * commands.
 *
 * A command counts as taken only once it is answered, so a shard that dies leaves it in the ring
 * for its successor. When the journal is gone the shard has nothing to stand on and fails.
 */

import type { StartedThread } from "../runtime/threads/thread-entry.ts";
import type { MeshMemory } from "../runtime/threads/mesh.ts";
import type { ShardServices, ShardSettings } from "./shard-services.ts";

import { workerData } from "node:worker_threads";

import { describeError, isShopError, ShopError } from "../runtime/errors.ts";
import { decodeFrame } from "../runtime/frames/frame.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { CounterWriter } from "../runtime/threads/counter-page.ts";
import { MeshNode } from "../runtime/threads/mesh.ts";
import { runThread } from "../runtime/threads/thread-entry.ts";
import { noteChange } from "./change-page.ts";
import { EmbeddedBroker } from "./brokers/embedded-broker.ts";
import {
  bodyAfterNumber,
  decodeNumber,
  encodeNumber,
  encodeReplyFailure,
  REPLY,
  REPLY_FAILURE,
} from "./command-frames.ts";
import { encodeValue } from "./contracts/codec.ts";
import { TOPICS } from "./contracts/topics.ts";
import { commitSabotage, isSabotage } from "./sabotage.ts";
import { startShardServices } from "./shard-services.ts";
import { shardMetrics, SHOP_LAYOUT } from "./shop-metrics.ts";
import { createEmbeddedStore } from "./stores/embedded-store.ts";
import { JournalClient } from "./stores/journal-client.ts";
import { openJournalReads } from "./stores/journal-reads.ts";

/** Between tries to hand an answer to a gateway that is busy. */
const RESEND_MS = 5;

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
  readonly journal: number;
  readonly backlogBytesMax: number;
  readonly directory: string;
  readonly partitions: readonly number[];
  readonly settings: ShardSettings;
}

/** What a parent tells its shards when the journal's thread died. */
export interface JournalGone {
  readonly kind: "journal_gone";
}

/** What a shard tells its parent. */
export type ShardTold =
  | { readonly kind: "log"; readonly level: "info" | "warning"; readonly text: string }
  | { readonly kind: "damage"; readonly detail: string };

async function start(
  data: ShardThreadData,
  tell: (told: ShardTold) => void,
): Promise<StartedThread> {
  const { gateway, journal, directory } = data;
  const orderChanges = new Int32Array(data.orderChanges);
  const stockChanges = new Int32Array(data.stockChanges);
  const services = Promise.withResolvers<ShardServices>();
  const reads = openJournalReads(directory);
  const node = new MeshNode({
    memory: data.memory,
    me: data.thread,
    environment: systemEnvironment,
    backlogBytesMax: data.backlogBytesMax,
    listeners: [
      {
        from: journal,
        // The log gives it again to whoever takes a dead shard's place.
        release: "read",
        onRecord: (kind, bytes) => client.onRecord(kind, bytes),
      },
      {
        from: gateway,
        release: "settled",
        onRecord: (_kind, bytes, ticket) => {
          // Rejects only for a bug, and then ends the thread as it should.
          void answer(decodeNumber(bytes), bodyAfterNumber(bytes), ticket);
        },
      },
    ],
    onTurn: () => client.onTurn(),
  });
  const client: JournalClient = new JournalClient(node, journal);
  const broker = new EmbeddedBroker(client, TOPICS);

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

  const running = await startShardServices({
    environment: systemEnvironment,
    broker,
    store: createEmbeddedStore(client, reads),
    settings: data.settings,
    partitions: data.partitions,
    metrics: shardMetrics(new CounterWriter(data.counters, SHOP_LAYOUT, data.thread)),
    onOrderChanged: (orderId) => noteChange(orderChanges, orderId),
    onStockChanged: (productId) => noteChange(stockChanges, productId),
    onDamage: (detail) => tell({ kind: "damage", detail }),
    onLog: (level, text) => tell({ kind: "log", level, text }),
    onFailure(error) {
      throw error;
    },
  });
  services.resolve(running);
  return {
    async stop(withinMs) {
      await running.drain(withinMs);
      await broker.close();
      node.close();
      reads.close();
    },
    onCustom(body) {
      if (isSabotage(body)) commitSabotage(body, systemEnvironment);
      else if (isJournalGone(body)) client.fail("the journal's thread died");
    },
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
