/**
 * The other thread of `ring.int.test.ts` and `doorbell.int.test.ts`: one worker, several parts.
 *
 * Only for tests. A part never sleeps but in the event loop, and does so only when a ring's
 * handshake told it to: a lost bell leaves it asleep for good, and the test fails by its deadline.
 */

import { parentPort, workerData } from "node:worker_threads";

import { createDoorbell } from "./doorbell.ts";
import { RingReader, RingWriter } from "./ring.ts";

/** What the test passes to its workers. */
export interface RingPart {
  readonly part: "send" | "volley" | "torn" | "endless" | "bell";
  readonly instance: string;
  readonly me: number;
  readonly other: number;
  readonly outbound: SharedArrayBuffer;
  readonly inbound: SharedArrayBuffer;
  /** Records to send, or the number of the first one, or bells to ring. */
  readonly count: number;
}

/** The payload of record `sequence`: 1 to 299 bytes, so that records wrap at many offsets. */
export function payloadOf(sequence: number): Uint8Array {
  const payload = new Uint8Array((Math.imul(sequence, 0x9e37_79b1) % 150) + 150);
  for (let at = 0; at < payload.length; at++) payload[at] = sequence + at;
  return payload;
}

/** Sends records until all are written, asleep while the ring is full. */
function send({ instance, me, other, outbound, count }: RingPart): void {
  const writer = new RingWriter(outbound);
  let sequence = 0;
  let sleeps = 0;
  const doorbell = createDoorbell(instance, me, pump);

  function flush(): void {
    if (writer.flush()) doorbell.ring(other);
  }

  function pump(): void {
    while (sequence < count) {
      const payload = payloadOf(sequence);
      if (writer.tryWrite(sequence, payload)) {
        sequence++;
        if (sequence % 7 === 0) flush();
        continue;
      }
      flush();
      if (writer.park(payload.length)) {
        sleeps++;
        return;
      }
    }
    flush();
    post({ sleeps });
  }
  pump();
}

/**
 * Returns every record it gets, asleep while there is none, until both together have rung `count`
 * bells: each record says how many are left.
 */
function volley({ instance, me, other, outbound, inbound, count }: RingPart): void {
  const writer = new RingWriter(outbound);
  const reader = new RingReader(inbound);
  let bells = 0;
  /** Bells that no record has told the other side of. */
  let untoldBells = 0;
  let longestMs = 0;
  let lastMs = performance.now();
  const doorbell = createDoorbell(instance, me, turn);

  function hit(left: number): void {
    const stillLeft = Math.max(0, left - untoldBells);
    writer.tryWrite(stillLeft);
    untoldBells = 0;
    if (writer.flush()) {
      bells++;
      untoldBells++;
      doorbell.ring(other);
    }
    if (stillLeft === 0) post({ bells, longestMs });
  }

  function turn(): void {
    do {
      while (reader.next()) {
        const { kind } = reader;
        reader.release(reader.end);
        longestMs = Math.max(longestMs, performance.now() - lastMs);
        lastMs = performance.now();
        if (kind === 0) post({ bells, longestMs });
        else hit(kind);
      }
    } while (!reader.park());
  }
  turn();
  parentPort?.on("message", () => {
    lastMs = performance.now();
    hit(count);
  });
}

/** Publishes `count` records, leaves two more staged, and waits to be terminated. */
function torn({ outbound, count }: RingPart): void {
  const writer = new RingWriter(outbound);
  for (let sequence = 0; sequence < count; sequence++)
    writer.tryWrite(sequence, payloadOf(sequence));
  writer.flush();
  for (let extra = 0; extra < 2; extra++) writer.tryWrite(count + extra, payloadOf(count + extra));
}

/** Writes records from number `count` on, without end, each published by itself. */
function endless({ outbound, count }: RingPart): void {
  const writer = new RingWriter(outbound);
  let sequence = count;
  function burst(): void {
    for (let turn = 0; turn < 1_000; turn++) {
      if (!writer.tryWrite(sequence, payloadOf(sequence))) break;
      writer.flush();
      sequence++;
    }
    setImmediate(burst);
  }
  burst();
}

/** Answers every bell by ringing back, and the message from the test by ringing `other`. */
function bell({ instance, me, other }: RingPart): void {
  let rung = 0;
  const doorbell = createDoorbell(instance, me, (from) => {
    rung++;
    post({ rung, from });
    if (me < from) doorbell.ring(from);
  });
  parentPort?.on("message", () => doorbell.ring(other));
}

function post(message: Readonly<Record<string, number>>): void {
  parentPort?.postMessage(message);
}

const parts = { send, volley, torn, endless, bell };

if (isRingPart(workerData)) {
  parts[workerData.part](workerData);
  // Keeps the thread alive while it is asleep; the test ends it.
  parentPort?.on("message", () => undefined);
  post({ ready: 1 });
}

function isRingPart(value: unknown): value is RingPart {
  return typeof value === "object" && value !== null && "part" in value;
}
