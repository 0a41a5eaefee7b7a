/**
 * The sending thread of `ring.bench.ts`: on a message, sends so many frames the way it says.
 *
 * Started by the benchmark only. Frames are encoded beforehand, so that the run measures moving
 * them; the objects are what `postMessage` would have to clone instead.
 */

import { parentPort, workerData } from "node:worker_threads";

import { encodeFrame } from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { createDoorbell } from "../runtime/threads/doorbell.ts";
import { RingWriter } from "../runtime/threads/ring.ts";

export const FRAME_BYTES = 209;
export const INSTANCE = "ring-bench";
/** Different frames, sent in turn. */
export const FRAMES = 1_024;
/** Records between two publications: the size of a dispatcher's turn. */
const FLUSH_EVERY = 64;

export type Way = "ring" | "objects" | "bytes";

export interface Task {
  readonly way: Way;
  readonly count: number;
}

export interface OrderMessage {
  readonly slot: number;
  readonly id: string;
  readonly customerId: string;
  readonly items: readonly { productId: string; quantity: number; priceMinor: number }[];
  readonly totalMinor: number;
}

export function orderOf(index: number): OrderMessage {
  const id = `order-${index}`;
  const items = [{ productId: "p-1", quantity: 2, priceMinor: 1_000 }];
  return { slot: slotOf(id, 64), id, customerId: `customer-${index}`, items, totalMinor: 2_000 };
}

/** A frame of exactly `FRAME_BYTES`. */
export function frameOf(index: number): Uint8Array {
  const key = `order-${index}`;
  return encodeFrame({
    type: 1,
    slot: slotOf(key, 64),
    key,
    payload: new Uint8Array(FRAME_BYTES - 80 - key.length).fill(index),
    id: `0190163d-8a7f-7c3e-9f2a-${index.toString(16).padStart(12, "0")}`,
    timeMs: 1_700_000_000_000,
  });
}

function serve(memory: SharedArrayBuffer): void {
  const writer = new RingWriter(memory);
  const frames = Array.from({ length: FRAMES }, (_, index) => frameOf(index));
  const orders = Array.from({ length: FRAMES }, (_, index) => orderOf(index));
  const doorbell = createDoorbell(INSTANCE, 1, pump);
  let sent = 0;
  let count = 0;

  function pump(): void {
    while (sent < count) {
      const frame = frames[sent & (FRAMES - 1)]!; // `!`: the index is masked
      if (writer.tryWrite(1, frame)) {
        sent++;
        if (sent % FLUSH_EVERY === 0 && writer.flush()) doorbell.ring(0);
        continue;
      }
      if (writer.flush()) doorbell.ring(0);
      if (writer.park(64 * FRAME_BYTES)) return;
    }
    if (writer.flush()) doorbell.ring(0);
  }

  parentPort?.on("message", (task: Task) => {
    if (task.way === "ring") {
      sent = 0;
      count = task.count;
      pump();
      return;
    }
    const messages = task.way === "bytes" ? frames : orders;
    for (let at = 0; at < task.count; at++) parentPort?.postMessage(messages[at & (FRAMES - 1)]);
  });
  parentPort?.postMessage("ready");
}

if (workerData instanceof SharedArrayBuffer) serve(workerData);
