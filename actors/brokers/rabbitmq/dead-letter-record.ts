/**
 * A dead letter as a message: the frame's bytes, and in its headers why it was given up.
 *
 * Reads its own letters and those that the server moved by itself, because a frame was given out
 * too often. Refuses, by answering nothing, what is neither.
 */

import type { Burial, DeadLetter, DeliveryRef } from "../broker.ts";

const ERROR_CHARACTERS_MAX = 4_096;
/** Ids of one millisecond; times of this century stay safe integers. */
export const IDS_PER_MS = 4_096;

export interface LetterHead extends Pick<
  DeliveryRef,
  "group" | "topic" | "partition" | "sequence"
> {
  readonly burial: Burial;
  readonly buriedAtMs: number;
  /** Which copy of the frame; absent for a message of another publisher. */
  readonly copy: string;
}

type Headers = Readonly<Record<string, unknown>>;

export function letterHeaders(id: number, head: LetterHead): Record<string, unknown> {
  const { group, topic, partition, sequence, burial, buriedAtMs, copy } = head;
  return {
    id,
    group,
    topic,
    partition,
    sequence,
    copy,
    "buried-at-ms": buriedAtMs,
    reason: burial.reason,
    attempts: burial.attempts,
    "first-error": burial.firstError.slice(0, ERROR_CHARACTERS_MAX),
    "last-error": burial.lastError.slice(0, ERROR_CHARACTERS_MAX),
  };
}

export function readLetter(
  topic: string,
  bytes: Uint8Array,
  headers: Headers,
): DeadLetter | undefined {
  if (Array.isArray(headers["x-death"])) return readMoved(topic, bytes, headers);
  const { group, reason } = headers;
  if (typeof group !== "string" || typeof reason !== "string") return undefined;
  return {
    id: numberOf(headers["id"]),
    group,
    topic,
    partition: numberOf(headers["partition"]),
    sequence: numberOf(headers["sequence"]),
    bytes,
    burial: {
      reason,
      attempts: numberOf(headers["attempts"]),
      firstError: textOf(headers["first-error"]),
      lastError: textOf(headers["last-error"]),
    },
    buriedAtMs: numberOf(headers["buried-at-ms"]),
  };
}

/** Moved by the server; its queue's name ends in group and partition. */
function readMoved(topic: string, bytes: Uint8Array, headers: Headers): DeadLetter {
  const deaths: unknown = headers["x-death"];
  const [death]: unknown[] = Array.isArray(deaths) ? deaths : [];
  const record: Headers = isRecord(death) ? death : {};
  const queue = textOf(record["queue"]);
  const [, group, partition] = /\.([^.]+)\.(\d+)$/.exec(queue) ?? [];
  const time: unknown = record["time"];
  const seconds = isRecord(time) ? numberOf(time["value"]) : 0;
  const attempts = numberOf(headers["x-delivery-count"]);
  const error = `given out ${attempts} times without being settled`;
  return {
    // Before any that was buried by hand in that second.
    id: seconds * 1_000 * IDS_PER_MS + 1,
    group: group ?? queue,
    topic,
    partition: Number(partition ?? 0),
    sequence: 0,
    bytes,
    burial: { reason: "delivery_limit", attempts, firstError: error, lastError: error },
    buriedAtMs: seconds * 1_000,
  };
}

function isRecord(value: unknown): value is Headers {
  return typeof value === "object" && value !== null;
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
