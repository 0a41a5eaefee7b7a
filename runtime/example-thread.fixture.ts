/**
 * The worker of the guide's example of threads: it answers every record with the bytes reversed.
 *
 * A record counts as taken once it is answered. Whatever is not answered when this thread dies is
 * handed to the one that takes its place.
 */

import type { MeshMemory } from "./index.ts";

import { workerData } from "node:worker_threads";

import { MeshNode, runThread, systemEnvironment } from "./index.ts";

interface EchoData {
  readonly memory: MeshMemory;
  readonly heartbeats: SharedArrayBuffer;
}

// Made by the parent, which is of this build.
const { memory, heartbeats } = workerData as EchoData;

await runThread({
  environment: systemEnvironment,
  heartbeats,
  thread: 1,
  start() {
    const node: MeshNode = new MeshNode({
      memory,
      me: 1,
      environment: systemEnvironment,
      backlogBytesMax: 1_048_576,
      listeners: [
        {
          from: 0,
          release: "settled",
          onRecord(kind, bytes, ticket) {
            if (node.send(0, kind, bytes.toReversed())) node.settle(0, ticket);
          },
        },
      ],
    });
    return { stop: async () => node.close() };
  },
});
