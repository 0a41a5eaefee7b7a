/**
 * A frame as the route table sees it: its header at once, its payload only when a rule asks.
 *
 * Type, topic, key, headers and priority are read where they stand. The payload is decoded at most
 * once, and one that does not decode has no fields: rules that look inside it do not match, and
 * whoever the frame then goes to finds out. The views believe their bytes: give them only what
 * was encoded here or has been checked.
 */

import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Priority } from "./route-row.ts";

import { isShopError } from "../../runtime/errors.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import {
  frameFlags,
  frameHeader,
  frameKey,
  framePayload,
  frameType,
} from "../../runtime/frames/frame.ts";
import { decodeValue } from "../contracts/codec.ts";
import { parseForeignJson } from "../contracts/foreign-json.ts";

/** Carries the lane a frame travels in from one broker to the next. */
export const PRIORITY_HEADER = "priority";

export interface RouteView {
  readonly topic: string;
  /** Number of the message's type, from the header. */
  readonly type: number;
  readonly key: string;
  header(name: string): string | undefined;
  /** The decoded payload; `undefined` when it does not decode. */
  payload(): unknown;
}

export type DecodePayload = (payload: Uint8Array, flags: number) => unknown;

/** msgpack, or JSON when the flags say so. Throws `BAD_MESSAGE` when it is neither. */
export function decodePayload(payload: Uint8Array, flags: number): unknown {
  return (flags & FLAG_JSON) === 0 ? decodeValue(payload) : parseForeignJson(payload);
}

/** A frame that was encoded here, as bytes. */
export class BytesView implements RouteView {
  readonly topic: string;
  readonly #bytes: Uint8Array;
  readonly #payload: OncePayload;

  constructor(topic: string, bytes: Uint8Array, decode: DecodePayload = decodePayload) {
    this.topic = topic;
    this.#bytes = bytes;
    this.#payload = new OncePayload(decode);
  }

  get type(): number {
    return frameType(this.#bytes);
  }

  get key(): string {
    return frameKey(this.#bytes);
  }

  header(name: string): string | undefined {
    return frameHeader(this.#bytes, name);
  }

  payload(): unknown {
    const bytes = this.#bytes;
    return this.#payload.of(() => framePayload(bytes), frameFlags(bytes));
  }
}

/** A frame that a consumer has checked and taken apart already. */
export class FrameView implements RouteView {
  readonly topic: string;
  readonly #frame: Frame;
  readonly #payload: OncePayload;

  constructor(topic: string, frame: Frame, decode: DecodePayload = decodePayload) {
    this.topic = topic;
    this.#frame = frame;
    this.#payload = new OncePayload(decode);
  }

  get type(): number {
    return this.#frame.type;
  }

  get key(): string {
    return this.#frame.key;
  }

  header(name: string): string | undefined {
    const { headers } = this.#frame;
    return Object.hasOwn(headers, name) ? headers[name] : undefined;
  }

  payload(): unknown {
    return this.#payload.of(() => this.#frame.payload, this.#frame.flags);
  }
}

class OncePayload {
  readonly #decode: DecodePayload;
  #isDecoded = false;
  #value: unknown;

  constructor(decode: DecodePayload) {
    this.#decode = decode;
  }

  of(payload: () => Uint8Array, flags: number): unknown {
    if (this.#isDecoded) return this.#value;
    this.#isDecoded = true;
    try {
      this.#value = this.#decode(payload(), flags);
    } catch (error) {
      // Both decoders say so of hostile bytes; anything else is a bug.
      if (!isShopError(error)) throw error;
    }
    return this.#value;
  }
}

/** The lane the frame travels in. */
export function priorityOf(view: RouteView): Priority {
  return view.header(PRIORITY_HEADER) === "high" ? "high" : "normal";
}

/** What stands at `steps` in a decoded payload: own fields of maps, items of lists. */
export function valueAt(payload: unknown, steps: readonly string[]): unknown {
  let value = payload;
  for (const step of steps) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) {
      return undefined;
    }
    value = Reflect.get(value, step);
  }
  return value;
}
