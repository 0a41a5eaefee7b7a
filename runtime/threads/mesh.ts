/**
 * The threads of a process, joined by rings: each node drains what it was sent in turns, sends in
 * batches, and sleeps only when every ring is empty.
 *
 * One ring for each ordered pair of threads that talk. A node never blocks: what does not fit a
 * ring waits in a backlog bounded in bytes, and beyond that `send` refuses. Records are handed to
 * the listener as views that end with the call; a listener that settles later keeps the position
 * and the reader's successor, should the thread die, reads from the lowest unsettled record again.
 */

import type { Environment } from "../environment.ts";
import type { Doorbell } from "./doorbell.ts";

import { assert, ShopError } from "../errors.ts";
import { createDoorbell } from "./doorbell.ts";
import { createRing, resetRing } from "./ring-layout.ts";
import { RingReader, RingWriter } from "./ring.ts";
import { SettleWindow } from "./settle-window.ts";

/** Records one turn takes from one ring before the event loop has its chance. */
const RECORDS_PER_TURN = 512;
/** Records of one ring taken and not yet settled, where they are settled one by one. */
const OPEN_RECORDS_MAX = 16_384;

export interface MeshLink {
  readonly from: number;
  readonly to: number;
  readonly ringBytes: number;
}

/** Passed to every thread of the mesh; holds only shared memory and plain values. */
export interface MeshMemory {
  /** Unique in this process: two meshes never ring each other. */
  readonly instance: string;
  readonly rings: readonly {
    readonly from: number;
    readonly to: number;
    readonly memory: SharedArrayBuffer;
  }[];
}

export function createMeshMemory(instance: string, links: readonly MeshLink[]): MeshMemory {
  return {
    instance,
    rings: links.map(({ from, to, ringBytes }) => ({ from, to, memory: createRing(ringBytes) })),
  };
}

/**
 * `bytes` is a view that ends with the call. `ticket` names the record for `settle`; -1 where
 * records are released as they are read.
 */
export type OnRecord = (kind: number, bytes: Uint8Array, ticket: number) => void;

export interface ListenOptions {
  readonly from: number;
  /**
   * `read`: the listener is responsible once it returned. `settled`: only when `settle` is called
   * for the record's ticket, and a reader that takes a dead one's place is handed it again.
   */
  readonly release: "read" | "settled";
  readonly onRecord: OnRecord;
}

export interface MeshNodeOptions {
  readonly memory: MeshMemory;
  readonly me: number;
  readonly environment: Environment;
  /** Bytes that may wait for one full ring. */
  readonly backlogBytesMax: number;
  readonly listeners: readonly ListenOptions[];
  /** Called after each turn's records were handed out, before what was sent is published. */
  readonly onTurn?: () => void;
}

interface Inbound {
  readonly options: ListenOptions;
  readonly reader: RingReader;
  readonly window: SettleWindow | undefined;
}

interface Backlogged {
  readonly kind: number;
  readonly first: Uint8Array;
  readonly second: Uint8Array | undefined;
  readonly payloadBytes: number;
}

interface Outbound {
  readonly memory: SharedArrayBuffer;
  writer: RingWriter;
  backlog: Backlogged[];
  backlogBytes: number;
}

export class MeshNode {
  readonly #options: MeshNodeOptions;
  readonly #inbound: readonly Inbound[];
  readonly #outbound = new Map<number, Outbound>();
  readonly #doorbell: Doorbell;
  #inTurn = false;
  #turnScheduled = false;
  #flushScheduled = false;
  #closed = false;

  constructor(options: MeshNodeOptions) {
    this.#options = options;
    const { memory, me } = options;
    for (const ring of memory.rings) {
      if (ring.from !== me) continue;
      this.#outbound.set(ring.to, {
        memory: ring.memory,
        writer: new RingWriter(ring.memory),
        backlog: [],
        backlogBytes: 0,
      });
    }
    this.#inbound = options.listeners.map((listener) => {
      const ring = memory.rings.find(({ from, to }) => from === listener.from && to === me);
      assert(ring !== undefined, `no ring leads from thread ${listener.from} to thread ${me}`);
      const reader = new RingReader(ring.memory);
      const window =
        listener.release === "settled"
          ? new SettleWindow(OPEN_RECORDS_MAX, reader.released)
          : undefined;
      return { options: listener, reader, window };
    });
    this.#doorbell = createDoorbell(memory.instance, me, () => this.#turn());
    this.#scheduleTurn();
  }

  /** Bytes that wait for a full ring towards `to`: the measure of backpressure. */
  backlogBytes(to: number): number {
    return this.#outbound.get(to)?.backlogBytes ?? 0;
  }

  /**
   * Queues one record of up to two parts; false when ring and backlog are full, and then nothing
   * was queued. Throws `PAYLOAD_TOO_LARGE` for what could never fit the ring.
   */
  send(to: number, kind: number, first: Uint8Array, second?: Uint8Array): boolean {
    const outbound = this.#outbound.get(to);
    assert(outbound !== undefined, "no ring leads from here to that thread");
    const payloadBytes = first.byteLength + (second?.byteLength ?? 0);
    if (payloadBytes > outbound.writer.payloadBytesMax) {
      const size = `a record of ${payloadBytes} bytes exceeds the ring to thread ${to}`;
      throw new ShopError("PAYLOAD_TOO_LARGE", size, "never");
    }
    this.#scheduleFlush();
    if (outbound.backlog.length === 0 && outbound.writer.tryWrite(kind, first, second)) return true;
    if (outbound.backlogBytes + payloadBytes > this.#options.backlogBytesMax) return false;
    outbound.backlog.push({ kind, first, second, payloadBytes });
    outbound.backlogBytes += payloadBytes;
    return true;
  }

  /**
   * Gives up responsibility for a record that was received from `from` under `settled`. It takes
   * effect once everything sent so far is published: an answer is never lost with its question.
   */
  settle(from: number, ticket: number): void {
    const inbound = this.#inbound.find(({ options }) => options.from === from);
    assert(inbound?.window !== undefined, "records from that thread are not settled one by one");
    const wasFull = inbound.window.isFull;
    if (!inbound.window.settle(ticket)) return;
    this.#scheduleFlush();
    if (wasFull) this.#scheduleTurn();
  }

  /**
   * Drops everything that was sent to `to` and not taken. Only while that thread is dead; its
   * successor starts with an empty ring.
   */
  resetOutbound(to: number): void {
    const outbound = this.#outbound.get(to);
    assert(outbound !== undefined, `no ring leads from here to thread ${to}`);
    resetRing(outbound.memory);
    outbound.writer = new RingWriter(outbound.memory);
    outbound.backlog = [];
    outbound.backlogBytes = 0;
  }

  /** Hands out at once what has arrived; for a caller that must see all of it now. */
  drainNow(): void {
    this.#turn();
  }

  /** Publishes everything sent so far without waiting for the end of the turn. */
  flush(): void {
    this.#flushScheduled = false;
    let isPublished = true;
    for (const [to, outbound] of this.#outbound) {
      let isWaiting = false;
      while (!isWaiting) {
        drainBacklog(outbound);
        if (outbound.writer.flush()) this.#doorbell.ring(to);
        const next = outbound.backlog[0];
        if (next === undefined) break;
        isWaiting = outbound.writer.park(next.payloadBytes);
      }
      if (isWaiting) isPublished = false;
    }
    if (isPublished) this.#releaseSettled();
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    this.#doorbell.close();
  }

  #releaseSettled(): void {
    for (const { options, reader, window } of this.#inbound) {
      if (window === undefined || window.released === reader.released) continue;
      if (reader.release(window.released)) this.#doorbell.ring(options.from);
    }
  }

  #scheduleFlush(): void {
    if (this.#inTurn || this.#flushScheduled || this.#closed) return;
    this.#flushScheduled = true;
    this.#options.environment.defer(() => {
      if (!this.#closed) this.flush();
    });
  }

  #scheduleTurn(): void {
    if (this.#turnScheduled || this.#closed) return;
    this.#turnScheduled = true;
    this.#options.environment.defer(() => {
      this.#turnScheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    if (this.#closed || this.#inTurn) return;
    this.#inTurn = true;
    let exhausted = false;
    try {
      for (const inbound of this.#inbound) {
        if (this.#drain(inbound) === RECORDS_PER_TURN) exhausted = true;
      }
      this.#options.onTurn?.();
    } finally {
      this.#inTurn = false;
    }
    this.flush();
    if (exhausted || !this.#park()) this.#scheduleTurn();
  }

  #drain({ options, reader, window }: Inbound): number {
    let count = 0;
    while (count < RECORDS_PER_TURN && window?.isFull !== true && reader.next()) {
      count++;
      const ticket = window?.open(reader.end) ?? -1;
      options.onRecord(reader.kind, reader.bytes, ticket);
      if (this.#closed) return 0;
    }
    if (count > 0 && window === undefined && reader.release(reader.end)) {
      this.#doorbell.ring(options.from);
    }
    return count;
  }

  /** True when every ring was found empty after the flags were set, so that the bell is sure. */
  #park(): boolean {
    let empty = true;
    for (const { reader, window } of this.#inbound) {
      // A full window is not waiting for the ring: settling starts the next turn.
      if (window?.isFull !== true && !reader.park()) empty = false;
    }
    if (empty) return true;
    for (const { reader } of this.#inbound) reader.unpark();
    return false;
  }
}

function drainBacklog(outbound: Outbound): void {
  let written = 0;
  for (const { kind, first, second, payloadBytes } of outbound.backlog) {
    if (!outbound.writer.tryWrite(kind, first, second)) break;
    written++;
    outbound.backlogBytes -= payloadBytes;
  }
  if (written > 0) outbound.backlog.splice(0, written);
}
