/**
 * A dead letter as a record of the dead letters' topic, and back.
 *
 * The value is the raw bytes of what was given up on, the headers say of whom and why, so that any
 * Kafka tool can show them. A record there that does not say where it came from is no letter and
 * is passed over.
 */

import type { Burial, DeadLetter, DeliveryRef } from "../broker.ts";
import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

/** Of an error in a header. */
const ERROR_LENGTH_MAX = 4_096;
const text = new TextDecoder();

export interface NewLetter {
  /** The dead letters' topic on the server. */
  readonly topic: string;
  readonly ref: DeliveryRef;
  readonly bytes: Uint8Array;
  readonly key: Uint8Array | null;
  readonly burial: Burial;
  readonly buriedAtMs: number;
}

/** Which delivery of which group a letter is of. */
export interface LetterOrigin {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
}

export function letterRecord({
  topic,
  ref,
  bytes,
  key,
  burial,
  buriedAtMs,
}: NewLetter): KafkaRecord {
  return {
    topic,
    partition: 0,
    key,
    value: bytes,
    headers: {
      "content-type": "application/octet-stream",
      group: ref.group,
      topic: ref.topic,
      partition: String(ref.partition),
      sequence: String(ref.sequence),
      reason: burial.reason,
      attempts: String(burial.attempts),
      "first-error": burial.firstError.slice(0, ERROR_LENGTH_MAX),
      "last-error": burial.lastError.slice(0, ERROR_LENGTH_MAX),
      "buried-at-ms": String(buriedAtMs),
    },
    timestampMs: Math.max(0, Math.floor(buriedAtMs)),
  };
}

export function originOf({ headers }: FetchedRecord): LetterOrigin | undefined {
  const group = read(headers, "group");
  const topic = read(headers, "topic");
  const partition = number(headers, "partition");
  const sequence = number(headers, "sequence");
  if (group === undefined || topic === undefined) return undefined;
  if (partition === undefined || sequence === undefined) return undefined;
  return { group, topic, partition, sequence };
}

export function letterOf(record: FetchedRecord): DeadLetter | undefined {
  const { headers, offset, value, timestampMs } = record;
  const origin = originOf(record);
  if (origin === undefined) return undefined;
  return {
    id: offset + 1,
    ...origin,
    bytes: value ?? new Uint8Array(0),
    burial: {
      reason: read(headers, "reason") ?? "",
      attempts: number(headers, "attempts") ?? 0,
      firstError: read(headers, "first-error") ?? "",
      lastError: read(headers, "last-error") ?? "",
    },
    buriedAtMs: number(headers, "buried-at-ms") ?? timestampMs,
  };
}

function read(headers: FetchedRecord["headers"], name: string): string | undefined {
  const bytes = headers.get(name);
  return bytes === undefined ? undefined : text.decode(bytes);
}

function number(headers: FetchedRecord["headers"], name: string): number | undefined {
  const value = Number(read(headers, name) ?? "none");
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
