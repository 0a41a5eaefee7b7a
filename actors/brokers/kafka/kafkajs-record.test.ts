/** What becomes of a record of kafkajs: a frame of ours, or a record of others. No I/O. */

import { expect, test } from "bun:test";

import type { KafkaMessage } from "kafkajs";

import { FRAME_CONTENT_TYPE, FRAME_HEADERS } from "./frame-record.ts";
import { fetchedOf } from "./kafkajs-record.ts";

function message(headers: KafkaMessage["headers"]): KafkaMessage {
  return {
    key: Buffer.from("key"),
    value: Buffer.from("value"),
    timestamp: "1700000000000",
    attributes: 0,
    offset: "41",
    ...(headers === undefined ? {} : { headers }),
  };
}

function textOf(bytes: Uint8Array | null | undefined): string | undefined {
  return bytes === null || bytes === undefined ? undefined : Buffer.from(bytes).toString();
}

test("of a frame of ours neither key nor headers are read", () => {
  const record = fetchedOf(
    message({ "content-type": Buffer.from(FRAME_CONTENT_TYPE), ce_id: Buffer.from("1") }),
  );
  expect(record.headers).toBe(FRAME_HEADERS);
  expect(record.key).toBeNull();
  expect(textOf(record.value)).toBe("value");
  expect([record.offset, record.timestampMs]).toEqual([41, 1_700_000_000_000]);
});

test("of others all is read; of a header that comes twice the last counts", () => {
  const type = [Buffer.from(FRAME_CONTENT_TYPE), Buffer.from("application/json")];
  const record = fetchedOf(message({ "content-type": type, ce_id: "1", none: undefined }));
  const headers = [...record.headers].map(([name, value]) => [name, textOf(value)]);
  expect(headers).toEqual([
    ["content-type", "application/json"],
    ["ce_id", "1"],
  ]);
  expect(textOf(record.key)).toBe("key");
  const last = [Buffer.from("application/json"), Buffer.from(FRAME_CONTENT_TYPE)];
  expect(fetchedOf(message({ "content-type": last })).headers).toBe(FRAME_HEADERS);
  expect(fetchedOf(message(undefined)).headers.size).toBe(0);
});

/** As the library gives what has no value, though its types do not say so. */
const NOTHING = null as unknown as Buffer;

test("a header without a value is not there, and takes no record along", () => {
  const record = fetchedOf(
    message({ x: NOTHING, "content-type": NOTHING, ce_id: [Buffer.from("1"), NOTHING] }),
  );
  expect([...record.headers].map(([name, value]) => [name, textOf(value)])).toEqual([
    ["ce_id", "1"],
  ]);
  expect(textOf(record.value)).toBe("value");
  const type = [Buffer.from(FRAME_CONTENT_TYPE), NOTHING];
  expect(fetchedOf(message({ "content-type": type, x: NOTHING })).headers).toBe(FRAME_HEADERS);
});

test("nor does a header that is called as something every object has", () => {
  // As the library gathers them: with what it finds under that name before the first.
  const found = [Object as unknown as Buffer, NOTHING];
  expect(fetchedOf(message({ constructor: found })).headers.size).toBe(0);
});

test("nor a record of which there is neither key nor value", () => {
  const record = fetchedOf({ ...message({ x: NOTHING }), key: null, value: null });
  expect([record.key, record.value, record.headers.size]).toEqual([null, null, 0]);
});

test("bytes are copied: writing over the answer changes no record", () => {
  const given = message({ name: Buffer.from("header") });
  const record = fetchedOf(given);
  for (const bytes of [given.key, given.value, given.headers?.["name"]]) {
    if (Buffer.isBuffer(bytes)) bytes.fill(0);
  }
  const read = [record.key, record.value, record.headers.get("name")].map(textOf);
  expect(read).toEqual(["key", "value", "header"]);
});
