/**
 * The sending thread of `router.bench.ts`: offers messages by the clock, whatever becomes of them.
 *
 * A message that finds no room is sent later and its latency still counts from the time it was
 * due. In the mode of rings it is also the one at the end of the way, and judges what comes back.
 * Started by the benchmark only.
 */

import { parentPort, workerData } from "node:worker_threads";

import type { ThreadData, Warm } from "./router-plan.ts";

import { createDoorbell } from "../runtime/threads/doorbell.ts";
import { RingReader, RingWriter } from "../runtime/threads/ring.ts";
import {
  clockMs,
  INSTANCE,
  KEYS,
  messageOf,
  NUMBER_AT,
  PREFIX_BYTES,
  SENDER,
  SHARD,
  TOPICS,
  verdictOf,
} from "./router-plan.ts";

const TICK_MS = 1;
/** Records between two publications. */
const FLUSH_EVERY = 64;
/** Between rings one record in so many has its latency measured. */
const SAMPLE_EVERY = 8;

function send(data: ThreadData): void {
  const { mode, ratePerSecond, count, warmUp } = data;
  const writer = new RingWriter(data.toShard);
  const reader = new RingReader(data.toSender);
  // Rings carry the same messages round and round: what they hold is not looked at.
  const ready = mode === "ring" ? Array.from({ length: KEYS }, (_, at) => messageOf(at)) : [];
  const prefix = new Uint8Array(PREFIX_BYTES);
  const prefixView = new DataView(prefix.buffer);
  const latenciesMs = new Float64Array(
    mode === "ring" ? Math.ceil((count - warmUp) / SAMPLE_EVERY) : 0,
  );
  const intervalMs = ratePerSecond === 0 ? 0 : 1_000 / ratePerSecond;
  const startMs = clockMs();
  let warmMs = startMs;
  let sent = 0;
  let arrived = 0;
  let wrong = 0;
  let hasEnded = false;
  const doorbell = createDoorbell(INSTANCE, SENDER, drain);

  function offer(): void {
    const nowMs = clockMs();
    const due = intervalMs === 0 ? count : Math.min(count, (nowMs - startMs) / intervalMs);
    while (sent < due) {
      prefixView.setFloat64(0, intervalMs === 0 ? nowMs : startMs + sent * intervalMs, true);
      prefixView.setUint32(NUMBER_AT, sent, true);
      // `!`: the index is masked by a length that is a power of two
      const frame = mode === "ring" ? ready[sent & (KEYS - 1)]! : messageOf(sent);
      if (!writer.tryWrite(1, prefix, frame)) break;
      sent++;
      if (sent % FLUSH_EVERY === 0 && writer.flush()) doorbell.ring(SHARD);
    }
    if (writer.flush()) doorbell.ring(SHARD);
  }

  /** Between turns it is woken by what comes: waiting for its next turn would count as latency. */
  function drain(): void {
    do take();
    while (!reader.park());
    if (arrived >= count) end();
  }

  function take(): void {
    while (reader.next()) {
      if (arrived === warmUp) {
        warmMs = clockMs();
        parentPort?.postMessage({ kind: "warm" } satisfies Warm);
      }
      if (arrived >= warmUp && arrived % SAMPLE_EVERY === 0) {
        const { buffer, byteOffset } = reader.bytes;
        const dueMs = new DataView(buffer, byteOffset, PREFIX_BYTES).getFloat64(0, true);
        latenciesMs[(arrived - warmUp) / SAMPLE_EVERY] = clockMs() - dueMs;
      }
      const number = numberOf(reader);
      if (number !== arrived || reader.kind !== number % TOPICS.length) wrong++;
      arrived++;
      if (arrived % FLUSH_EVERY === 0 && reader.release(reader.end)) doorbell.ring(SHARD);
    }
    if (reader.release(reader.end)) doorbell.ring(SHARD);
  }

  function turn(): void {
    offer();
    if (mode === "ring") {
      drain();
      if (arrived >= count) return;
    } else if (sent >= count) {
      doorbell.close();
      return;
    }
    if (intervalMs === 0) setImmediate(turn);
    else setTimeout(turn, TICK_MS);
  }

  function end(): void {
    if (hasEnded) return;
    hasEnded = true;
    doorbell.close();
    parentPort?.postMessage(
      verdictOf(latenciesMs, { count: arrived, wrong, elapsedMs: clockMs() - warmMs }),
    );
  }

  turn();
}

/** Without making a view of the record. */
function numberOf(reader: RingReader): number {
  let number = 0;
  for (let at = NUMBER_AT + 3; at >= NUMBER_AT; at--) number = number * 256 + reader.byteAt(at);
  return number;
}

// Made by the benchmark, which is of this build.
send(workerData as ThreadData);
