/**
 * One order's timeline as Server-Sent Events: history, then what is added, until nothing more will
 * come.
 *
 * Nothing is buffered for a slow reader: entries are read from the store only when the reader has
 * taken what it was given. A stream ends when the order is settled, when it gets too old, when the
 * gateway stops or when the reader goes; the number of streams is bounded by the registry.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { OrderReads, TimelineEntry } from "../../actors/stores/unit-of-work.ts";
import type { OrderEvents } from "./gateway-ports.ts";
import { isSettled, orderOfRow, timelineEntryJson } from "./order-view.ts";

export const HEARTBEAT_MS = 10_000;
/** How long a browser waits before it connects again. */
export const RECONNECT_MS = 2000;

export type EndReason = "settled" | "expired" | "stopping" | "failed";

export interface OrderStreamOptions {
  readonly environment: Environment;
  readonly reads: Pick<OrderReads, "order" | "timeline">;
  readonly events: OrderEvents;
  readonly orderId: string;
  /** Entries up to this version are known to the reader. */
  readonly afterVersion: number;
  /** Longest life of the stream. */
  readonly streamMs: number;
  /** Aborted when the reader is gone. */
  readonly signal: AbortSignal;
  readonly onFailure: (error: unknown) => void;
}

/** Open streams, at most `streamsMax` of them. */
export interface StreamRegistry {
  /** `undefined` when there are too many. */
  open(options: OrderStreamOptions): ReadableStream<Uint8Array> | undefined;
  count(): number;
  /** Ends every stream; new ones are refused. */
  close(): void;
}

/** What goes out next; nothing follows after `last`. */
interface Chunk {
  readonly text: string;
  readonly last: boolean;
}

const encoder = new TextEncoder();

export function createStreamRegistry(streamsMax: number): StreamRegistry {
  const streams = new Set<OrderStream>();
  let closed = false;
  return {
    open(options) {
      if (closed || streams.size >= streamsMax) return undefined;
      const stream = new OrderStream(options, () => streams.delete(stream));
      streams.add(stream);
      return stream.body;
    },
    count: () => streams.size,
    close() {
      closed = true;
      for (const stream of streams) stream.end("stopping");
    },
  };
}

class OrderStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: OrderStreamOptions;
  readonly #release: () => void;
  readonly #lifetime: Timer;
  #heartbeat: Timer;
  #version: number;
  #wake: (() => void) | undefined;
  #mayHaveGrown = true;
  #beat = false;
  #ending: EndReason | undefined;
  #isOpen = true;

  constructor(options: OrderStreamOptions, onClosed: () => void) {
    const { environment, events, orderId, signal, streamMs } = options;
    this.#options = options;
    this.#version = options.afterVersion;
    this.#lifetime = environment.startTimer(streamMs, () => this.end("expired"));
    this.#heartbeat = environment.startTimer(HEARTBEAT_MS, () => this.#onHeartbeat());
    const unsubscribe = events.onOrder(orderId, () => {
      this.#mayHaveGrown = true;
      this.#wake?.();
    });
    const onAbort = () => this.#close();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#release = () => {
      unsubscribe();
      signal.removeEventListener("abort", onAbort);
      onClosed();
    };
    this.body = this.#openBody();
  }

  /** Says `reason` when the reader takes it, and closes. The first reason counts. */
  end(reason: EndReason): void {
    this.#ending ??= reason;
    this.#wake?.();
  }

  #openBody(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(encoder.encode(`retry: ${RECONNECT_MS}\n\n`));
      },
      pull: async (controller) => {
        const chunk = await this.#nextOrFailure();
        if (chunk !== undefined) controller.enqueue(encoder.encode(chunk.text));
        if (chunk?.last === true) {
          this.#close();
          controller.close();
        }
      },
      cancel: () => this.#close(),
    });
  }

  async #nextOrFailure(): Promise<Chunk | undefined> {
    try {
      return await this.#next();
    } catch (error) {
      this.#options.onFailure(error);
      return { text: endEvent("failed"), last: true };
    }
  }

  /** Waits until there is something to say; `undefined` when the reader has gone meanwhile. */
  async #next(): Promise<Chunk | undefined> {
    while (this.#isOpen) {
      if (this.#mayHaveGrown) {
        this.#mayHaveGrown = false;
        const text = await this.#readEntries();
        if (text !== "") return { text, last: false };
      } else if (this.#ending !== undefined) {
        return { text: endEvent(this.#ending), last: true };
      } else if (this.#beat) {
        this.#beat = false;
        return { text: ": still here\n\n", last: false };
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
    return undefined;
  }

  async #readEntries(): Promise<string> {
    const { reads, orderId } = this.#options;
    // The order first: when it is settled, the timeline that is read after it is complete.
    const row = await reads.order(orderId);
    const entries = await reads.timeline(orderId, this.#version);
    this.#version = entries.at(-1)?.version ?? this.#version;
    if (row !== undefined && isSettled(orderOfRow(row))) this.#ending ??= "settled";
    return entries.map((entry) => entryEvent(entry)).join("");
  }

  #onHeartbeat(): void {
    this.#heartbeat = this.#options.environment.startTimer(HEARTBEAT_MS, () => this.#onHeartbeat());
    this.#beat = true;
    this.#wake?.();
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#lifetime.cancel();
    this.#heartbeat.cancel();
    this.#release();
    this.#wake?.();
  }
}

/** Unnamed events, so that `EventSource.onmessage` sees every type. */
function entryEvent(entry: TimelineEntry): string {
  return `id: ${entry.version}\ndata: ${timelineEntryJson(entry)}\n\n`;
}

/** Without an id, so that a reader that connects again still names the last entry it saw. */
function endEvent(reason: EndReason): string {
  return `event: end\ndata: {"reason":"${reason}"}\n\n`;
}
