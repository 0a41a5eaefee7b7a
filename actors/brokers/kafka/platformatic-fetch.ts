/**
 * One fetch over a connection of @platformatic/kafka: places to read in, records of each out.
 *
 * The library's own decoder reads every field of every record into objects; here only what the
 * adapter needs is. A partition that cannot be read says so beside those that can, whether the
 * node refuses it or what it has makes no sense. Refuses an answer that ends too early.
 */

import type { Connection, Reader } from "@platformatic/kafka";
import type { FetchAsk, FetchPlace } from "./fetch-session.ts";
import type { FetchedRecord } from "./kafka-driver.ts";
import type { Aborted } from "./record-batch.ts";

import { createAPI, protocolErrors, protocolErrorsCodesById, Writer } from "@platformatic/kafka";

import { describeError } from "../../../runtime/errors.ts";
import { KafkaReader, KafkaWriter } from "./kafka-bytes.ts";
import { readBatches } from "./record-batch.ts";

const FETCH = 1;
/** The last that calls topics by their names. */
const VERSION = 12;
const CONSUMER = -1;
const BYTES_MIN = 1;
const READ_COMMITTED = 1;
const UNKNOWN_EPOCH = -1;
const UNKNOWN_OFFSET = -1;

export interface FetchLimits {
  /** How long the node may hold back an empty answer. */
  readonly waitMs: number;
  readonly bytesMax: number;
  readonly partitionBytesMax: number;
}

export interface FetchFault {
  readonly why: string;
  /** It is expected to end by itself. */
  readonly isPassing: boolean;
}

export interface Fetched {
  readonly topic: string;
  readonly partition: number;
  /** 0, or Kafka's. */
  readonly errorCode: number;
  /** Why it cannot be read; absent: it can. */
  readonly fault?: FetchFault;
  readonly records: readonly FetchedRecord[];
  /** Where to read on. */
  readonly next: number;
}

export interface FetchAnswer {
  /** 0, or Kafka's, of the request as a whole. */
  readonly errorCode: number;
  readonly sessionId: number;
  /** Of records. */
  readonly bytes: number;
  readonly fetched: readonly Fetched[];
}

interface RawAnswer {
  readonly errorCode: number;
  readonly sessionId: number;
  readonly partitions: readonly RawPartition[];
}

interface RawPartition {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  readonly aborted: readonly Aborted[];
  readonly batches: Buffer;
}

const NO_BYTES = Buffer.alloc(0);
const api = createAPI<[ask: FetchAsk, limits: FetchLimits], RawAnswer>(
  FETCH,
  VERSION,
  writeRequest,
  readAnswer,
);

/** `offsetOf`: where a partition is read from; undefined: nobody wants it. */
export async function fetchOnce(
  connection: Connection,
  ask: FetchAsk,
  limits: FetchLimits,
  offsetOf: (topic: string, partition: number) => number | undefined,
): Promise<FetchAnswer> {
  const { errorCode, sessionId, partitions } = await api.async(connection, ask, limits);
  const fetched: Fetched[] = [];
  let bytes = 0;
  for (const { topic, partition, errorCode: fault, aborted, batches } of partitions) {
    const offset = offsetOf(topic, partition);
    if (offset === undefined) continue;
    bytes += batches.length;
    const read =
      fault === 0
        ? readOrFault(batches, aborted, offset)
        : { fault: faultOf(fault), records: [], next: offset };
    fetched.push({ topic, partition, errorCode: fault, ...read });
  }
  return { errorCode, sessionId, bytes, fetched };
}

function readOrFault(
  batches: Buffer,
  aborted: readonly Aborted[],
  offset: number,
): Pick<Fetched, "fault" | "next" | "records"> {
  try {
    return readBatches(batches, aborted, offset);
  } catch (error) {
    const why = `offset ${offset}: ${describeError(error)}`;
    return { fault: { why, isPassing: false }, records: [], next: offset };
  }
}

function faultOf(code: number): FetchFault {
  const name = protocolErrorsCodesById[code];
  const isPassing = name !== undefined && protocolErrors[name]?.canRetry === true;
  return { why: name ?? `error ${code}`, isPassing };
}

function writeRequest(ask: FetchAsk, limits: FetchLimits): Writer {
  const writer = new KafkaWriter();
  writer.int32(CONSUMER);
  writer.int32(limits.waitMs);
  writer.int32(BYTES_MIN);
  writer.int32(limits.bytesMax);
  writer.int8(READ_COMMITTED);
  writer.int32(ask.sessionId);
  writer.int32(ask.epoch);
  writePlaces(writer, ask.places, limits.partitionBytesMax);
  writer.unsignedVarint(ask.forgotten.size + 1);
  for (const [topic, partitions] of ask.forgotten) {
    writer.compactText(topic);
    writer.unsignedVarint(partitions.length + 1);
    for (const partition of partitions) writer.int32(partition);
    writer.noTagged();
  }
  writer.compactText("");
  writer.noTagged();
  return Writer.create().append(writer.written());
}

function writePlaces(
  writer: KafkaWriter,
  places: readonly FetchPlace[],
  partitionBytesMax: number,
): void {
  const byTopic = Map.groupBy(places, ({ topic }) => topic);
  writer.unsignedVarint(byTopic.size + 1);
  for (const [topic, ofTopic] of byTopic) {
    writer.compactText(topic);
    writer.unsignedVarint(ofTopic.length + 1);
    for (const { partition, offset } of ofTopic) {
      writer.int32(partition);
      writer.int32(UNKNOWN_EPOCH);
      writer.int64(offset);
      writer.int32(UNKNOWN_EPOCH);
      writer.int64(UNKNOWN_OFFSET);
      writer.int32(partitionBytesMax);
      writer.noTagged();
    }
    writer.noTagged();
  }
}

function readAnswer(_correlation: number, _key: number, _version: number, from: Reader): RawAnswer {
  const reader = new KafkaReader(from.buffer.buffer, from.position);
  reader.skip(4);
  const errorCode = reader.int16();
  const sessionId = reader.int32();
  const partitions: RawPartition[] = [];
  for (let topics = reader.unsignedVarint() - 1; topics > 0; topics--) {
    const topic = reader.compactText();
    for (let left = reader.unsignedVarint() - 1; left > 0; left--) {
      partitions.push(readPartition(reader, topic));
    }
    reader.skipTagged();
  }
  return { errorCode, sessionId, partitions };
}

function readPartition(reader: KafkaReader, topic: string): RawPartition {
  const partition = reader.int32();
  const errorCode = reader.int16();
  reader.skip(24); // where it ends, three ways
  const aborted: Aborted[] = [];
  for (let left = reader.unsignedVarint() - 1; left > 0; left--) {
    aborted.push({ producerId: reader.int64(), firstOffset: reader.int64() });
    reader.skipTagged();
  }
  reader.skip(4); // a replica that would be nearer
  const length = reader.unsignedVarint() - 1;
  const batches = length > 0 ? reader.view(length) : NO_BYTES;
  reader.skipTagged();
  return { topic, partition, errorCode, aborted, batches };
}
