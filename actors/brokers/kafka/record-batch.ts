/**
 * Batches of records as Kafka stores them (format 2), from the adapter's records and back.
 *
 * What a transaction took back is left out, as are the marks that end one. Values are copied, for
 * views would keep the whole answer of the server alive. Of a frame of ours only the content type
 * is read beside it: key and headers say nothing that is not in the frame. Refuses the formats that
 * Kafka 4 has no more, and whatever else cannot be read, but only when nothing before it can.
 */

import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

import { compressionsAlgorithmsByBitmask, crc32c, Writer } from "@platformatic/kafka";

import { ShopError } from "../../../runtime/errors.ts";
import { ByteShelf } from "./byte-shelf.ts";
import { CONTENT_TYPE, FRAME_CONTENT_TYPE, FRAME_HEADERS } from "./frame-record.ts";
import { KafkaReader, KafkaWriter } from "./kafka-bytes.ts";

const FORMAT = 2;
const NO_LEADER_EPOCH = -1;
const COMPRESSION = 0b111;
/** Of its records only the server's time counts. */
const HAS_APPEND_TIME = 0b1000;
const IS_TRANSACTIONAL = 0b1_0000;
const IS_CONTROL = 0b10_0000;
/** In the key of a mark: version, then this for a transaction that was taken back. */
const ABORT = 0;
/** Before a batch's length: offset, and the length itself. */
const PREFIX_BYTES = 12;

/** Names of headers are few, and the same in every record: with their lengths. */
const names = new Map<string, Uint8Array>();
const NAMES_MAX = 256;
/** Of all partitions: one that gets little would keep a shelf of its own nearly empty. */
const shelf = new ByteShelf();
const contentTypeName = Buffer.from(CONTENT_TYPE);
const frameType = Buffer.from(FRAME_CONTENT_TYPE);

export interface BatchProducer {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Of the first record. */
  readonly sequence: number;
}

export interface Aborted {
  readonly producerId: number;
  readonly firstOffset: number;
}

/** One batch of at least one record, all of one partition. `nowMs`: of records without a time. */
export function writeBatch(
  writer: KafkaWriter,
  records: readonly KafkaRecord[],
  producer: BatchProducer,
  nowMs: number,
): void {
  const timeOf = ({ timestampMs }: KafkaRecord): number =>
    timestampMs === 0 ? nowMs : timestampMs;
  const firstMs = timeOf(records[0]!); // `!`: there is one
  let lastMs = firstMs;
  for (const record of records) lastMs = Math.max(lastMs, timeOf(record));
  writer.int64(0);
  const lengthAt = writer.length;
  writer.int32(0);
  writer.int32(NO_LEADER_EPOCH);
  writer.int8(FORMAT);
  const checksumAt = writer.length;
  writer.int32(0);
  const checkedFrom = writer.length;
  writer.int16(0);
  writer.int32(records.length - 1);
  writer.int64(firstMs);
  writer.int64(lastMs);
  writer.int64(producer.producerId);
  writer.int16(producer.producerEpoch);
  writer.int32(producer.sequence);
  writer.int32(records.length);
  records.forEach((record, index) => writeRecord(writer, record, timeOf(record) - firstMs, index));
  writer.patchInt32(lengthAt, writer.length - lengthAt - 4);
  writer.patchInt32(checksumAt, checksumOf(writer.written(checkedFrom)));
}

function writeRecord(
  writer: KafkaWriter,
  { key, value, headers }: KafkaRecord,
  deltaMs: number,
  index: number,
): void {
  const from = writer.length;
  writer.int8(0);
  writer.varint(deltaMs);
  writer.varint(index);
  writer.varint(key === null ? -1 : key.byteLength);
  if (key !== null) writer.raw(key);
  writer.varint(value.byteLength);
  writer.raw(value);
  // Not its entries: a pair for each header of each record costs more than writing it.
  const given = Object.keys(headers);
  writer.varint(given.length);
  for (const name of given) {
    writer.raw(nameOf(name));
    writer.text(headers[name]!); // `!`: one of its names
  }
  writer.prefixLength(from, false);
}

/** Records at `from` and after, in their order, and where to read on. */
export function readBatches(
  bytes: Buffer,
  aborted: readonly Aborted[],
  from: number,
): { readonly records: readonly FetchedRecord[]; readonly next: number } {
  const records: FetchedRecord[] = [];
  const transactions = new Transactions(aborted);
  const reader = new KafkaReader(bytes);
  let next = from;
  while (reader.remaining >= PREFIX_BYTES) {
    const sound = records.length;
    try {
      const firstOffset = reader.int64();
      const length = reader.int32();
      // The last may be cut off: it is read with the next fetch.
      if (reader.remaining < length && next > from) break;
      const batch = readHead(reader, firstOffset, length);
      if (transactions.isStanding(batch)) readRecords(batch, from, records);
      next = Math.max(next, firstOffset + batch.lastOffsetDelta + 1);
    } catch (error) {
      // What comes before it is good; the next fetch begins with this one.
      if (next === from) throw error;
      records.length = sound;
      break;
    }
  }
  if (next === from && reader.remaining > 0) {
    throw new ShopError("BAD_MESSAGE", "kafka: less than a batch of records", "later");
  }
  return { records, next };
}

/** Which of them were taken back, from batch to batch. */
class Transactions {
  readonly #pending: Aborted[];
  readonly #takenBack = new Set<number>();

  constructor(aborted: readonly Aborted[]) {
    this.#pending = aborted.toSorted((one, other) => one.firstOffset - other.firstOffset);
  }

  /** Whether records of the batch count. */
  isStanding(batch: Batch): boolean {
    const { attributes, firstOffset, producerId } = batch;
    while ((this.#pending[0]?.firstOffset ?? firstOffset + 1) <= firstOffset) {
      const begun = this.#pending.shift();
      if (begun !== undefined) this.#takenBack.add(begun.producerId);
    }
    if ((attributes & IS_CONTROL) !== 0) {
      if (isAbort(batch)) this.#takenBack.delete(producerId);
      return false;
    }
    return (attributes & IS_TRANSACTIONAL) === 0 || !this.#takenBack.has(producerId);
  }
}

function readRecords(batch: Batch, from: number, records: FetchedRecord[]): void {
  for (let left = batch.count; left > 0; left--) {
    const record = readRecord(batch);
    if (record.offset >= from) records.push(record);
  }
}

interface Batch {
  readonly firstOffset: number;
  readonly attributes: number;
  readonly lastOffsetDelta: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly producerId: number;
  readonly count: number;
  readonly body: KafkaReader;
}

/** Passes the batch by; its records are read from its `body`. */
function readHead(reader: KafkaReader, firstOffset: number, length: number): Batch {
  const bytes = reader.view(length);
  const head = new KafkaReader(bytes);
  head.skip(4);
  const format = head.int8();
  if (format !== FORMAT) {
    throw new ShopError("STORAGE_FAULT", `kafka: records of format ${format}`, "later");
  }
  head.skip(4);
  const attributes = head.int16();
  const lastOffsetDelta = head.int32();
  const firstMs = head.int64();
  const lastMs = head.int64();
  const producerId = head.int64();
  head.skip(6);
  const count = head.int32();
  const body = bodyOf(head, bytes, attributes & COMPRESSION);
  const times = { firstMs, lastMs };
  return { firstOffset, attributes, lastOffsetDelta, ...times, producerId, count, body };
}

function bodyOf(head: KafkaReader, bytes: Buffer, compression: number): KafkaReader {
  if (compression === 0) return head;
  const algorithm = compressionsAlgorithmsByBitmask[compression];
  if (algorithm === undefined) {
    throw new ShopError("STORAGE_FAULT", `kafka: unknown compression ${compression}`, "later");
  }
  return new KafkaReader(algorithm.decompressSync(bytes.subarray(head.at)));
}

function isAbort({ body, count }: Batch): boolean {
  if (count === 0) return false;
  body.varint();
  body.skip(1);
  body.varlong();
  body.varint();
  const keyBytes = body.varint();
  return keyBytes >= 4 && body.view(keyBytes).readInt16BE(2) === ABORT;
}

function readRecord(batch: Batch): FetchedRecord {
  const { body, firstOffset, attributes, firstMs, lastMs } = batch;
  body.varint();
  body.skip(1);
  const deltaMs = body.varlong();
  const timestampMs = (attributes & HAS_APPEND_TIME) === 0 ? firstMs + deltaMs : lastMs;
  const offset = firstOffset + body.varint();
  const keyAt = body.at;
  body.skip(Math.max(0, body.varint()));
  const value = readBytes(body);
  const headersAt = body.at;
  if (isOurs(body)) return { offset, key: null, value, headers: FRAME_HEADERS, timestampMs };
  body.backTo(keyAt);
  const key = readBytes(body);
  body.skip(headersAt - body.at);
  return { offset, key, value, headers: allHeaders(body), timestampMs };
}

/** A copy; null: there are none. */
function readBytes(body: KafkaReader): Uint8Array | null {
  const length = body.varint();
  return length < 0 ? null : body.copy(length, shelf);
}

/** Passes the headers by: do they say that the value is a frame? The last content type counts. */
function isOurs(body: KafkaReader): boolean {
  let isFrame = false;
  for (let left = body.varint(); left > 0; left--) {
    const isContentType = body.isNext(contentTypeName, Math.max(0, body.varint()));
    const length = body.varint();
    const isFrameType = body.isNext(frameType, Math.max(0, length));
    if (isContentType && length >= 0) isFrame = isFrameType;
  }
  return isFrame;
}

function allHeaders(body: KafkaReader): ReadonlyMap<string, Uint8Array> {
  const headers = new Map<string, Uint8Array>();
  for (let left = body.varint(); left > 0; left--) {
    const name = body.view(Math.max(0, body.varint())).toString();
    const value = readBytes(body);
    if (value !== null) headers.set(name, value);
  }
  return headers;
}

function nameOf(name: string): Uint8Array {
  const known = names.get(name);
  if (known !== undefined) return known;
  const writer = new KafkaWriter();
  writer.text(name);
  const bytes = new Uint8Array(writer.written());
  if (names.size < NAMES_MAX) names.set(name, bytes);
  return bytes;
}

/** Through the library's own buffer, of which it takes no copy. */
function checksumOf(bytes: Buffer): number {
  return crc32c(Writer.create().append(bytes).dynamicBuffer);
}
