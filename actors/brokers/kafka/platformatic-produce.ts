/**
 * One request to store records over a connection of @platformatic/kafka, encoded in one go.
 *
 * The library's own encoder makes a buffer for every number of every record. Records of a partition
 * are one batch, under the numbers of their producer. Refuses what the library's decoder of answers
 * refuses.
 */

import type { Connection } from "@platformatic/kafka";
import type { KafkaRecord } from "./kafka-driver.ts";

import { createAPI, produceV9, Writer } from "@platformatic/kafka";

import { KafkaWriter } from "./kafka-bytes.ts";
import { writeBatch } from "./record-batch.ts";

const PRODUCE = 0;
const VERSION = 9;
const ALL_REPLICAS = -1;
/** After it comes 0. */
const SEQUENCE_MAX = 0x7fff_ffff;
/** The server has the batch already: a repetition of what it confirmed and nobody heard. */
const DUPLICATE = 46;
/** Of a record beside key and value: headers and framing, roughly. */
const OVERHEAD_BYTES = 640;

export type PartitionedRecords = ReadonlyMap<string, ReadonlyMap<number, readonly KafkaRecord[]>>;

/** Who stores, and which number the next record of a partition has. */
export class ProducerNumbers {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly #next = new Map<string, Map<number, number>>();

  constructor(producerId: number, producerEpoch: number) {
    this.producerId = producerId;
    this.producerEpoch = producerEpoch;
  }

  sequenceOf(topic: string, partition: number): number {
    return this.#next.get(topic)?.get(partition) ?? 0;
  }

  /** These are stored: what comes next has other numbers. */
  advance(records: PartitionedRecords): void {
    for (const [topic, byPartition] of records) {
      const next = this.#next.get(topic) ?? new Map<number, number>();
      this.#next.set(topic, next);
      for (const [partition, batch] of byPartition) {
        next.set(partition, ((next.get(partition) ?? 0) + batch.length) & SEQUENCE_MAX);
      }
    }
  }
}

export interface ProduceOptions {
  readonly numbers: ProducerNumbers;
  readonly timeoutMs: number;
  /** Of records that have no time. */
  readonly nowMs: number;
}

export type ProduceAnswer = ReturnType<typeof produceV9.parseResponse>;

const api = createAPI<[records: PartitionedRecords, options: ProduceOptions], ProduceAnswer>(
  PRODUCE,
  VERSION,
  writeRequest,
  produceV9.parseResponse,
);

/** `records`: by topic and partition, all led by the node of the connection. */
export async function produceOnce(
  connection: Connection,
  records: PartitionedRecords,
  options: ProduceOptions,
): Promise<ProduceAnswer> {
  return await api.async(connection, records, options);
}

/** By topic and partition, in their order; who follows whom is mostly of the same topic. */
export function byPlace(
  records: readonly KafkaRecord[],
): ReadonlyMap<string, Map<number, KafkaRecord[]>> {
  const byTopic = new Map<string, Map<number, KafkaRecord[]>>();
  let last: string | undefined;
  let ofTopic = new Map<number, KafkaRecord[]>();
  for (const record of records) {
    const { topic, partition } = record;
    if (topic !== last) {
      ofTopic = byTopic.get(topic) ?? new Map<number, KafkaRecord[]>();
      byTopic.set(topic, ofTopic);
      last = topic;
    }
    const batch = ofTopic.get(partition);
    if (batch === undefined) ofTopic.set(partition, [record]);
    else batch.push(record);
  }
  return byTopic;
}

/** Places that the server says are stored, `topic:partition`; none of what is no answer. */
export function confirmedBy(answer: ProduceAnswer | undefined): ReadonlySet<string> {
  const places = new Set<string>();
  for (const { name, partitionResponses } of answer?.responses ?? []) {
    for (const { index, errorCode } of partitionResponses) {
      if (errorCode === 0 || errorCode === DUPLICATE) places.add(`${name}:${index}`);
    }
  }
  return places;
}

function writeRequest(records: PartitionedRecords, options: ProduceOptions): Writer {
  const { numbers, timeoutMs, nowMs } = options;
  const { producerId, producerEpoch } = numbers;
  const writer = new KafkaWriter(bytesOf(records));
  writer.unsignedVarint(0); // in no transaction
  writer.int16(ALL_REPLICAS);
  writer.int32(timeoutMs);
  writer.unsignedVarint(records.size + 1);
  for (const [topic, byPartition] of records) {
    writer.compactText(topic);
    writer.unsignedVarint(byPartition.size + 1);
    for (const [partition, batch] of byPartition) {
      writer.int32(partition);
      const from = writer.length;
      const sequence = numbers.sequenceOf(topic, partition);
      writeBatch(writer, batch, { producerId, producerEpoch, sequence }, nowMs);
      writer.prefixLength(from, true);
      writer.noTagged();
    }
    writer.noTagged();
  }
  writer.noTagged();
  return Writer.create().append(writer.written());
}

function bytesOf(records: PartitionedRecords): number {
  let bytes = 0;
  for (const byPartition of records.values()) {
    for (const batch of byPartition.values()) {
      for (const { value } of batch) bytes += value.byteLength + OVERHEAD_BYTES;
    }
  }
  return bytes;
}
