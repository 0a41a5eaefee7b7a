/**
 * A worker for the tests of threads: it echoes what its ring brings and dies in the way it is told.
 *
 * Used by `thread-child.int.test.ts` and `mesh.int.test.ts`; no part of the shop.
 */

import type { MeshMemory } from "../threads/mesh.ts";

import { workerData } from "node:worker_threads";

import { InvariantError, ShopError } from "../errors.ts";
import { systemEnvironment } from "../system-environment.ts";
import { MeshNode } from "../threads/mesh.ts";
import { runThread } from "../threads/thread-entry.ts";

export interface ThreadFixtureData {
  readonly heartbeats: SharedArrayBuffer;
  readonly thread: number;
  readonly refuseToStart?: boolean;
  readonly neverReady?: boolean;
  readonly stopTakesMs?: number;
  /** Echo every record of thread 0 back to it. `settle`: the kinds that are settled. */
  readonly echo?: {
    readonly memory: MeshMemory;
    readonly settledKinds: readonly number[];
    /** Answer and settle a record of this kind, and die before anything is published. */
    readonly fatalKind?: number;
  };
}

export type Misdeed = "throw" | "reject" | "exit" | "spin";

function misbehave(how: Misdeed): void {
  if (how === "throw") throw new InvariantError("thrown on request");
  if (how === "reject") void Promise.reject(new InvariantError("rejected on request"));
  if (how === "exit") process.exit(0);
  if (how === "spin") for (let turns = 0; ; turns++) if (turns < 0) return;
}

/** In the next turn: before what is sent from now on is published. */
function misbehaveNext(): void {
  systemEnvironment.defer(() => misbehave("throw"));
}

function echo(
  { memory, settledKinds, fatalKind }: NonNullable<ThreadFixtureData["echo"]>,
  me: number,
): void {
  const node = new MeshNode({
    memory,
    me,
    environment: systemEnvironment,
    backlogBytesMax: 64 * 1024 * 1024,
    listeners: [
      {
        from: 0,
        release: "settled",
        onRecord(kind, bytes, ticket) {
          if (kind === fatalKind) {
            const answer = bytes.slice();
            systemEnvironment.defer(() => {
              misbehaveNext();
              node.send(0, kind, answer);
              node.settle(0, ticket);
            });
            return;
          }
          node.send(0, kind, bytes.slice());
          if (settledKinds.includes(kind)) node.settle(0, ticket);
        },
      },
    ],
  });
}

// Made by the tests, which are of this build.
const data = workerData as ThreadFixtureData;
await runThread({
  environment: systemEnvironment,
  heartbeats: data.heartbeats,
  thread: data.thread,
  async start(tell) {
    if (data.refuseToStart === true) throw new ShopError("CLOSED", "not today", "never");
    if (data.neverReady === true) await new Promise(() => undefined);
    if (data.echo !== undefined) echo(data.echo, data.thread);
    tell("hello");
    return {
      async stop() {
        const { promise, resolve } = Promise.withResolvers<void>();
        systemEnvironment.startTimer(data.stopTakesMs ?? 0, resolve);
        await promise;
      },
      // The tests send nothing else.
      onCustom: (body) => systemEnvironment.defer(() => misbehave(body as Misdeed)),
    };
  },
});
