/**
 * What others put into our topics: a CloudEvent with a JSON body becomes a frame, or stays raw.
 *
 * Read are the binary mode (`ce_type`, `ce_id`, … as headers, the body is the value) and the
 * structured mode (`application/cloudevents+json`) of the CloudEvents binding for Kafka. The body
 * is not looked into here: whether it fits its contract is decided where every message is decoded.
 * Refused with a reason, and left as raw bytes for the dead letters: a type that the shop does not
 * know, a record without a key, a key on a partition that is not its slot, a body that is not JSON,
 * and whatever else cannot be read: a record that threw here would take its whole batch along.
 */

import { createHash } from "node:crypto";

import type { FetchedRecord } from "./kafka-driver.ts";

import { describeError } from "../../../runtime/errors.ts";
import { FLAG_JSON } from "../../../runtime/frames/frame-header.ts";
import { encodeFrame } from "../../../runtime/frames/frame.ts";
import { slotOf } from "../../../runtime/frames/murmur2.ts";
import { parseForeignJson } from "../../contracts/foreign-json.ts";
import { CONTENT_TYPE, FRAME_HEADERS, isFrameType } from "./frame-record.ts";

const STRUCTURED = "application/cloudevents+json";
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
const NOTHING = new Uint8Array(0);
const utf8 = new TextDecoder("utf-8", { fatal: true });

export interface RecordPlace {
  readonly topic: string;
  readonly partition: number;
  /** Partitions of the topic. */
  readonly partitions: number;
}

/** What is delivered, and for raw bytes of others why they are no frame. */
export interface Received {
  readonly bytes: Uint8Array;
  readonly fault?: string;
}

/** `numberOf`: of a type's name, if the shop has it. */
export function receive(
  record: FetchedRecord,
  place: RecordPlace,
  numberOf: (type: string) => number | undefined,
): Received {
  const value = record.value ?? NOTHING;
  // Nearly all are, and known as such.
  if (record.headers === FRAME_HEADERS) return { bytes: value };
  const contentType = record.headers.get(CONTENT_TYPE);
  if (contentType !== undefined && isFrameType(contentType)) return { bytes: value };
  try {
    const event = cloudEventOf(record, value);
    if (typeof event === "string") return { bytes: value, fault: event };
    const fault = faultOf(event, place, numberOf);
    if (fault !== undefined) return { bytes: value, fault };
    return { bytes: frameOf(event, record, place, numberOf(event.type) ?? 0) };
  } catch (error) {
    return { bytes: value, fault: describeError(error) };
  }
}

interface ForeignEvent {
  readonly type: string;
  readonly key: string | undefined;
  readonly attributes: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** The event, or why it is none. */
function cloudEventOf(record: FetchedRecord, value: Uint8Array): ForeignEvent | string {
  const key = record.key === null ? undefined : textOf(record.key);
  const contentType = textOf(record.headers.get(CONTENT_TYPE)) ?? "application/json";
  if (contentType.startsWith(STRUCTURED)) return structuredOf(value, key);
  const attributes = new Map<string, string>();
  for (const [name, bytes] of record.headers) {
    const text = textOf(bytes);
    if (name.startsWith("ce_") && text !== undefined) attributes.set(name.slice(3), text);
  }
  const type = attributes.get("type");
  if (type === undefined) return "no ce_type header: neither a frame nor a CloudEvent";
  if (!/^application\/([\w.-]+\+)?json\b/.test(contentType)) {
    return `a body of ${contentType} is not read, JSON is`;
  }
  return { type, key: key ?? attributes.get("partitionkey"), attributes, body: value };
}

function structuredOf(value: Uint8Array, key: string | undefined): ForeignEvent | string {
  let event: unknown;
  try {
    event = parseForeignJson(value);
  } catch (error) {
    return `not a JSON event: ${describeError(error)}`;
  }
  if (typeof event !== "object" || event === null) return "not a JSON event: not an object";
  const attributes = new Map<string, string>();
  for (const [name, each] of Object.entries(event)) {
    if (typeof each === "string" && name !== "data") attributes.set(name, each);
  }
  const type = attributes.get("type");
  if (type === undefined) return "not a CloudEvent: no type";
  const data: unknown = Reflect.get(event, "data");
  if (data === undefined) return "not a CloudEvent with a JSON body: no data";
  const body = new TextEncoder().encode(JSON.stringify(data));
  return { type, key: key ?? attributes.get("partitionkey"), attributes, body };
}

function faultOf(
  { type, key, attributes }: ForeignEvent,
  { partition, partitions }: RecordPlace,
  numberOf: (type: string) => number | undefined,
): string | undefined {
  if (numberOf(type) === undefined) return `the shop has no event of type ${quoted(type)}`;
  if (key === undefined || key === "") return `an event of type ${type} without a key`;
  const slot = slotOf(key, partitions);
  if (slot !== partition) {
    return `key ${quoted(key)} belongs to partition ${slot} (murmur2), not ${partition}`;
  }
  const time = attributes.get("time");
  if (time !== undefined && !(Date.parse(time) >= 0)) return `no time: ${quoted(time)}`;
  return undefined;
}

function frameOf(
  { key, attributes, body }: ForeignEvent,
  record: FetchedRecord,
  place: RecordPlace,
  type: number,
): Uint8Array {
  const time = attributes.get("time");
  const trace = TRACEPARENT.exec(
    attributes.get("traceparent") ?? headerText(record, "traceparent"),
  );
  const headers: Record<string, string> = {};
  for (const name of ["correlationid", "causationid", "source"]) {
    const text = attributes.get(name);
    if (text !== undefined) headers[name] = text;
  }
  return encodeFrame({
    type,
    slot: place.partition,
    key: key ?? "",
    payload: body,
    flags: FLAG_JSON,
    id: idOf(attributes, record, place),
    timeMs: time === undefined ? Math.max(0, record.timestampMs) : Date.parse(time),
    ...(trace === null ? {} : { traceId: trace[1] ?? "", spanId: trace[2] ?? "" }),
    headers,
  });
}

/** The same event, sent again by its source, has the same id; source and id name it together. */
function idOf(
  attributes: ReadonlyMap<string, string>,
  { offset }: FetchedRecord,
  { topic, partition }: RecordPlace,
): string {
  const id = attributes.get("id");
  const name =
    id === undefined
      ? `${topic}/${partition}/${offset}`
      : `${attributes.get("source") ?? ""}\n${id}`;
  const hex = createHash("sha256").update(name).digest("hex");
  // Version 8: made by a rule of our own; the two bits of the variant are 10.
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`];
  return [...parts, `${variant}${hex.slice(17, 20)}`, hex.slice(20, 32)].join("-");
}

function headerText({ headers }: FetchedRecord, name: string): string {
  return textOf(headers.get(name)) ?? "";
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
