/**
 * A frame that is checked at once and taken apart when somebody asks.
 *
 * Most of what passes through is handled by its key and a number or two; ids as text, headers as an
 * object and a view of the payload would be made for nobody. It refuses what `decodeFrame` refuses.
 * What it answers is read from the bytes it was given, so it is valid as long as they are.
 */

import type { Frame } from "./frame-header.ts";

import {
  frameAttempt,
  frameDeadlineMs,
  frameFlags,
  frameHeaders,
  frameId,
  frameKey,
  framePayload,
  frameSlot,
  frameSpanId,
  frameTimeMs,
  frameTraceId,
  frameType,
  refuseUnsound,
} from "./frame.ts";

/** Checks `bytes`. Throws as `decodeFrame`. The fields are no own properties: do not spread it. */
export function lazyFrame(bytes: Uint8Array): Frame {
  refuseUnsound(bytes);
  return new LazyFrame(bytes);
}

class LazyFrame implements Frame {
  readonly key: string;
  readonly #bytes: Uint8Array;
  #id: string | undefined;
  #headers: Frame["headers"] | undefined;
  #payload: Uint8Array | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.key = frameKey(bytes);
  }

  get frameBytes(): number {
    return this.#bytes.length;
  }

  get flags(): number {
    return frameFlags(this.#bytes);
  }

  get type(): number {
    return frameType(this.#bytes);
  }

  get slot(): number {
    return frameSlot(this.#bytes);
  }

  get attempt(): number {
    return frameAttempt(this.#bytes);
  }

  get timeMs(): number {
    return frameTimeMs(this.#bytes);
  }

  get deadlineMs(): number {
    return frameDeadlineMs(this.#bytes);
  }

  get id(): string {
    return (this.#id ??= frameId(this.#bytes));
  }

  get traceId(): string {
    return frameTraceId(this.#bytes);
  }

  get spanId(): string {
    return frameSpanId(this.#bytes);
  }

  get headers(): Frame["headers"] {
    return (this.#headers ??= frameHeaders(this.#bytes));
  }

  get payload(): Uint8Array {
    return (this.#payload ??= framePayload(this.#bytes));
  }
}
