/**
 * What the bytes of a record say, found out when somebody asks and once for everybody who does.
 *
 * Readers of one feed that share records share what was made of them: a frame is checked and an
 * event decoded by whoever comes first. What it answers is nobody's to change. It refuses nothing:
 * bytes that are no frame and payloads that do not decode are answered with their fault.
 */

import type { Frame, FrameFault } from "../../runtime/frames/frame-header.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { FeedRecord } from "./feed.ts";

import { isShopError } from "../../runtime/errors.ts";
import { checkFrame } from "../../runtime/frames/frame.ts";
import { lazyFrame } from "../../runtime/frames/lazy-frame.ts";
import { EVENTS } from "../contracts/messages.ts";
import { readEvent } from "../delivery/decode-message.ts";

export type PayloadFault = "UNKNOWN_TYPE" | "BAD_PAYLOAD";

const KNOWN_TYPES: ReadonlySet<number> = new Set(EVENTS.map(({ number }) => number));

/** The reading that comes with `record`, or a new one. */
export function readingOf({ bytes, reading }: FeedRecord): FeedReading {
  // A copy of a record may have been given other bytes.
  return reading?.bytes === bytes ? reading : new FeedReading(bytes);
}

export class FeedReading {
  readonly bytes: Uint8Array;
  #frame: Frame | FrameFault | undefined;
  #event: ShopEvent | PayloadFault | undefined;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Or why there is none. */
  frame(): Frame | FrameFault {
    return (this.#frame ??= frameIn(this.bytes));
  }

  /** Or why there is none in the frame, which must be whole. */
  event(frame: Frame): ShopEvent | PayloadFault {
    return (this.#event ??= eventIn(frame));
  }
}

function frameIn(bytes: Uint8Array): Frame | FrameFault {
  try {
    return lazyFrame(bytes);
  } catch (error) {
    const fault = isShopError(error, "BAD_FRAME") ? checkFrame(bytes) : undefined;
    if (fault === undefined) throw error;
    return fault;
  }
}

function eventIn(frame: Frame): ShopEvent | PayloadFault {
  if (!KNOWN_TYPES.has(frame.type)) return "UNKNOWN_TYPE";
  try {
    return readEvent(frame);
  } catch (error) {
    if (!isShopError(error, "BAD_MESSAGE")) throw error;
    return "BAD_PAYLOAD";
  }
}
