/**
 * A frame as a Kafka record: the whole frame is the value, its envelope the CloudEvents headers.
 *
 * Any CloudEvents consumer can read who sent what, when and about what from the `ce_*` headers of
 * the Kafka protocol binding (binary mode), and any Kafka client that computes the partition from
 * the key agrees with us. The content type says that the value is a frame; a record without it is
 * foreign. Bytes that are no sound frame go out as they are, without an envelope.
 */

import type { KafkaRecord } from "./kafka-driver.ts";

import {
  checkFrame,
  frameHeaders,
  frameId,
  frameKey,
  frameSlot,
  frameSpanId,
  frameTimeMs,
  frameTraceId,
  frameType,
} from "../../../runtime/frames/frame.ts";

export const CONTENT_TYPE = "content-type";
export const FRAME_CONTENT_TYPE = "application/vnd.shopstream.frame";
/** All that is read of the headers of a record with a frame in it. */
export const FRAME_HEADERS: ReadonlyMap<string, Uint8Array> = new Map([
  [CONTENT_TYPE, Buffer.from(FRAME_CONTENT_TYPE)],
]);
export const EVENT_SOURCE = "/shopstream";

const YEAR_10000_MS = Date.UTC(10_000, 0);
const NO_TRACE = "0".repeat(32);
const NO_SPAN = "0".repeat(16);
/** Headers of a frame that CloudEvents has names for; others of the shop's stay in the frame. */
const EXTENSIONS = ["correlationid", "causationid"];
const utf8 = new TextEncoder();
const frameTypeBytes = Buffer.from(FRAME_CONTENT_TYPE);

/** Whether a record of this content type has a frame in it. */
export function isFrameType(contentType: Uint8Array): boolean {
  return Buffer.compare(frameTypeBytes, contentType) === 0;
}

/** `topic` is the server's name of it. `nameOf`: of a type, if it has one. */
export function recordOf(
  topic: string,
  frame: Uint8Array,
  nameOf: (type: number) => string | undefined,
): KafkaRecord {
  const partition = frameSlot(frame);
  if (checkFrame(frame) !== undefined) {
    const headers = { [CONTENT_TYPE]: FRAME_CONTENT_TYPE };
    return { topic, partition, key: null, value: frame, headers, timestampMs: 0 };
  }
  const timestampMs = Math.floor(frameTimeMs(frame));
  const key = frameKey(frame);
  return {
    topic,
    partition,
    key: utf8.encode(key),
    value: frame,
    headers: envelopeOf(frame, key, nameOf),
    timestampMs: Number.isSafeInteger(timestampMs) ? timestampMs : 0,
  };
}

function envelopeOf(
  frame: Uint8Array,
  key: string,
  nameOf: (type: number) => string | undefined,
): Record<string, string> {
  const type = frameType(frame);
  const headers: Record<string, string> = {
    [CONTENT_TYPE]: FRAME_CONTENT_TYPE,
    ce_specversion: "1.0",
    ce_id: frameId(frame),
    ce_source: EVENT_SOURCE,
    ce_type: nameOf(type) ?? `shopstream.type-${type}`,
    ce_subject: key,
    ce_partitionkey: key,
  };
  const time = timeText(frameTimeMs(frame));
  if (time !== undefined) headers["ce_time"] = time;
  const traceparent = traceparentOf(frame);
  if (traceparent !== undefined) {
    headers["ce_traceparent"] = traceparent;
    headers["traceparent"] = traceparent;
  }
  const own = frameHeaders(frame);
  for (const name of EXTENSIONS) {
    const value = own[name];
    if (value !== undefined) headers[`ce_${name}`] = value;
  }
  return headers;
}

/** By W3C Trace Context; absent: the frame is part of no trace. */
function traceparentOf(frame: Uint8Array): string | undefined {
  const traceId = frameTraceId(frame);
  if (traceId === NO_TRACE) return undefined;
  const spanId = frameSpanId(frame);
  return spanId === NO_SPAN ? undefined : `00-${traceId}-${spanId}-01`;
}

let textSecond = Number.NaN;
/** Of `textSecond`, up to the point before its thousandths. */
let secondText = "";

/**
 * RFC 3339, or nothing for times that it has no years for. Frames that go out together are mostly
 * of one second, and the calendar is what a time costs.
 */
function timeText(timeMs: number): string | undefined {
  if (!(timeMs >= 0 && timeMs < YEAR_10000_MS)) return undefined;
  const second = Math.floor(timeMs / 1_000);
  if (second !== textSecond) {
    secondText = new Date(second * 1_000).toISOString().slice(0, -"000Z".length);
    textSecond = second;
  }
  const thousandths = Math.floor(timeMs) - second * 1_000;
  return `${secondText}${String(thousandths).padStart(3, "0")}Z`;
}
