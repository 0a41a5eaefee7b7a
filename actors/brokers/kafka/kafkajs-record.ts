/**
 * Records of kafkajs and of the adapter, each made from the other.
 *
 * Values that came are copied, for the library's are views that keep the whole answer of the server
 * alive; values that go are not. Offsets that do not fit a number are refused nowhere: a partition
 * would need to run for centuries.
 */

import type { KafkaMessage, Message } from "kafkajs";
import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

export function fetchedOf(message: KafkaMessage): FetchedRecord {
  const { key, value, offset, timestamp, headers } = message;
  const byName = new Map<string, Uint8Array>();
  for (const [name, each] of Object.entries(headers ?? {})) {
    const last = Array.isArray(each) ? each.at(-1) : each;
    if (last === undefined) continue;
    byName.set(name, typeof last === "string" ? Buffer.from(last) : last);
  }
  return {
    offset: Number(offset),
    key: key === null ? null : key,
    value: value === null ? null : new Uint8Array(value),
    headers: byName,
    timestampMs: Number(timestamp),
  };
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
