/**
 * Frames from one thread to another: the ring, and `postMessage` of the same work beside it.
 *
 * Each run counts what arrived and sums the slots read from it. The reader reads each frame's
 * header and no more, as routing does. Both sides sleep and are rung when they have to. It says
 * nothing of decoding, which `frame.bench.ts` measures.
 */

import { once } from "node:events";
import { Worker } from "node:worker_threads";

import type { BenchCase, Evidence } from "./harness.ts";
import type { OrderMessage, Way } from "./ring-sender.ts";

import { frameSlot } from "../runtime/frames/frame.ts";
import { RING_BYTES_DEFAULT } from "../runtime/limits.ts";
import { createDoorbell } from "../runtime/threads/doorbell.ts";
import { createRing } from "../runtime/threads/ring-layout.ts";
import { RingReader } from "../runtime/threads/ring.ts";
import { runBench } from "./harness.ts";
import { FRAME_BYTES, frameOf, FRAMES, INSTANCE } from "./ring-sender.ts";

const RING_COUNT = 4_000_000;
const POST_COUNT = 150_000;
/** Records between two releases. */
const RELEASE_EVERY = 256;
const SLOTS = Array.from({ length: FRAMES }, (_, index) => frameSlot(frameOf(index)));

const memory = createRing(RING_BYTES_DEFAULT);
const reader = new RingReader(memory);
const worker = new Worker(new URL("ring-sender.ts", import.meta.url), { workerData: memory });
await once(worker, "message");

let drain: () => void = () => undefined;
const doorbell = createDoorbell(INSTANCE, 0, () => drain());

await runBench(
  [
    ring("ring, slot read in place", () => reader.byteAt(8) | (reader.byteAt(9) << 8)),
    ring("ring, slot read from a view", () => frameSlot(reader.bytes)),
    port("postMessage of the bytes", "bytes"),
    port("postMessage of an order object", "objects"),
  ],
  {
    title: `${FRAME_BYTES}-byte frames from one thread to another`,
    unit: "frame",
    notes: [
      "Encoded beforehand; each slot is read by the reader. Both threads' CPU time is counted.",
    ],
  },
);
doorbell.close();
await worker.terminate();

function ring(name: string, slotOfRecord: () => number): BenchCase {
  return {
    name,
    operations: RING_COUNT,
    expected: evidenceOf(RING_COUNT),
    run: () => viaRing(slotOfRecord),
  };
}

function port(name: string, way: Exclude<Way, "ring">): BenchCase {
  return {
    name,
    operations: POST_COUNT,
    expected: evidenceOf(POST_COUNT),
    run: () => viaPort(way),
  };
}

/** What `count` frames sent in turn add up to. */
function evidenceOf(count: number): Evidence {
  let checksum = 0;
  for (let at = 0; at < count; at++) checksum += SLOTS[at & (FRAMES - 1)] ?? 0;
  return { count, checksum };
}

/** Resolves when all have arrived. */
async function viaRing(slotOfRecord: () => number): Promise<Evidence> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let arrived = 0;
  let sum = 0;
  drain = () => {
    do {
      while (reader.next()) {
        if (reader.length !== FRAME_BYTES) throw new Error(`a frame of ${reader.length} bytes`);
        sum += slotOfRecord();
        arrived++;
        if (arrived % RELEASE_EVERY === 0 && reader.release(reader.end)) doorbell.ring(1);
      }
      if (reader.release(reader.end)) doorbell.ring(1);
      if (arrived >= RING_COUNT) return resolve();
    } while (!reader.park());
  };
  worker.postMessage({ way: "ring", count: RING_COUNT });
  drain();
  await promise;
  return { count: arrived, checksum: sum };
}

async function viaPort(way: Exclude<Way, "ring">): Promise<Evidence> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let arrived = 0;
  let sum = 0;
  const listener = (message: Uint8Array | OrderMessage) => {
    sum += message instanceof Uint8Array ? frameSlot(message) : message.slot;
    if (++arrived === POST_COUNT) resolve();
  };
  worker.on("message", listener);
  worker.postMessage({ way, count: POST_COUNT });
  await promise;
  worker.off("message", listener);
  return { count: arrived, checksum: sum };
}
