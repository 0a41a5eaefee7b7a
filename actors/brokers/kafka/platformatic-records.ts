/**
 * Records of @platformatic/kafka and of the adapter, each made from the other.
 *
 * What a transaction took back is left out, as are the marks that end one. Values are copied, for
 * the library's are views that keep the whole answer of the server alive.
 */

import type { MessageRecord, RecordsBatch } from "@platformatic/kafka";
import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

const IS_TRANSACTIONAL = 0b1_0000;
const IS_CONTROL = 0b10_0000;
/** In the key of a mark: version, then this for a transaction that was taken back. */
const ABORT = 0;

export interface Aborted {
  readonly producerId: bigint;
  readonly firstOffset: bigint;
}

/** Names of headers are few, and the same in every record. */
const names = new Map<string, Buffer>();
const NAMES_MAX = 256;

export function messageOf(record: KafkaRecord): MessageRecord {
  const { topic, partition, key, value, timestampMs } = record;
  const headers = new Map<Buffer, Buffer>();
  for (const [name, each] of Object.entries(record.headers)) {
    headers.set(nameOf(name), Buffer.from(each));
  }
  return {
    topic,
    partition,
    value: viewOf(value),
    headers,
    ...(key === null ? {} : { key: viewOf(key) }),
    // Without one the library says now.
    ...(timestampMs === 0 ? {} : { timestamp: BigInt(timestampMs) }),
  };
}

/** Records at `from` and after, in their order, and where to read on. */
export function fetchedOf(
  batches: readonly RecordsBatch[],
  aborted: readonly Aborted[],
  from: number,
): { readonly records: readonly FetchedRecord[]; readonly next: number } {
  const records: FetchedRecord[] = [];
  const pending = aborted.toSorted((one, other) => Number(one.firstOffset - other.firstOffset));
  const takenBack = new Set<bigint>();
  let next = from;
  for (const batch of batches) {
    const firstOffset = Number(batch.firstOffset);
    const lastOffset = firstOffset + batch.lastOffsetDelta;
    next = Math.max(next, lastOffset + 1);
    while ((pending[0]?.firstOffset ?? batch.firstOffset + 1n) <= batch.firstOffset) {
      const begun = pending.shift();
      if (begun !== undefined) takenBack.add(begun.producerId);
    }
    if ((batch.attributes & IS_CONTROL) !== 0) {
      if (batch.records[0]?.key?.readInt16BE(2) === ABORT) takenBack.delete(batch.producerId);
      continue;
    }
    const isTransactional = (batch.attributes & IS_TRANSACTIONAL) !== 0;
    if (isTransactional && takenBack.has(batch.producerId)) continue;
    for (const { key, value, headers, offsetDelta, timestampDelta } of batch.records) {
      const offset = firstOffset + offsetDelta;
      if (offset < from) continue;
      const byName = new Map<string, Uint8Array>();
      for (const [name, each] of headers) {
        if (name !== null && each !== null) byName.set(name.toString(), new Uint8Array(each));
      }
      records.push({
        offset,
        key: key === null ? null : new Uint8Array(key),
        value: value === null ? null : new Uint8Array(value),
        headers: byName,
        timestampMs: Number(batch.firstTimestamp + timestampDelta),
      });
    }
  }
  return { records, next };
}

function nameOf(name: string): Buffer {
  const known = names.get(name);
  if (known !== undefined) return known;
  const bytes = Buffer.from(name);
  if (names.size < NAMES_MAX) names.set(name, bytes);
  return bytes;
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
