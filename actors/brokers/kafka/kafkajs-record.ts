/**
 * Records of kafkajs and of the adapter, each made from the other.
 *
 * Values that came are copied, for the library's are views that keep the whole answer of the server
 * alive; values that go are not. Of a frame of ours only the content type is read beside it: key
 * and headers say nothing that is not in the frame. Refuses no record, for one that throws here
 * would take all of a batch along, again and again: a header without a value is one that is not
 * there. Offsets that do not fit a number are refused nowhere: a partition would need to run for
 * centuries.
 */

import type { IHeaders, KafkaMessage, Message } from "kafkajs";
import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

import { ByteShelf } from "./byte-shelf.ts";
import { CONTENT_TYPE, FRAME_HEADERS, isFrameType } from "./frame-record.ts";

const shelf = new ByteShelf();

export function fetchedOf(message: KafkaMessage): FetchedRecord {
  const { offset, timestamp, headers = {} } = message;
  const value = message.value === null ? null : copyOf(message.value);
  const contentType = lastOf(headers[CONTENT_TYPE]);
  const isFrame = contentType !== undefined && isFrameType(contentType);
  return {
    offset: Number(offset),
    key: isFrame || message.key === null ? null : copyOf(message.key),
    value,
    headers: isFrame ? FRAME_HEADERS : byName(headers),
    timestampMs: Number(timestamp),
  };
}

function byName(headers: IHeaders): ReadonlyMap<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  for (const [name, each] of Object.entries(headers)) {
    const last = lastOf(each);
    if (last !== undefined) values.set(name, copyOf(last));
  }
  return values;
}

/**
 * Of a header that comes more than once the last with a value counts. What is none is left out: the
 * library gives `null`, which its types do not have, and before the second of a header whose name
 * every object has, like `constructor`, what the object has under it.
 */
function lastOf(header: IHeaders[string]): Buffer | undefined {
  const values: readonly unknown[] = Array.isArray(header) ? header : [header];
  const last = values.findLast((each) => typeof each === "string" || Buffer.isBuffer(each));
  return typeof last === "string" ? Buffer.from(last) : last;
}

function copyOf(bytes: Buffer): Uint8Array {
  return shelf.copy(bytes, 0, bytes.byteLength);
}

export function messageOf({ key, value, partition, headers, timestampMs }: KafkaRecord): Message {
  return {
    key: key === null ? null : viewOf(key),
    value: viewOf(value),
    partition,
    headers,
    // Without one the library says now.
    ...(timestampMs === 0 ? {} : { timestamp: String(timestampMs) }),
  };
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
