/**
 * Batches against the library's own encoder and decoder, and what is read of them. No I/O.
 */

import { describe, expect, test } from "bun:test";

import { createRecordsBatch, NumericMap, Reader, readRecordsBatches } from "@platformatic/kafka";

import type { CreateRecordsBatchOptions, MessageRecord } from "@platformatic/kafka";
import type { FetchedRecord, KafkaRecord } from "./kafka-driver.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { FRAME_CONTENT_TYPE } from "./frame-record.ts";
import { KafkaReader, KafkaWriter } from "./kafka-bytes.ts";
import { readBatches, writeBatch } from "./record-batch.ts";

const NOW_MS = 1_700_000_000_000;
const PRODUCER = { producerId: 4_711, producerEpoch: 3, sequence: 0x7fff_fff0 };

function record(value: string, more: Partial<KafkaRecord> = {}): KafkaRecord {
  return {
    topic: "t",
    partition: 2,
    key: Buffer.from("key"),
    value: Buffer.from(value),
    headers: { "content-type": "text/plain", name: "value" },
    timestampMs: NOW_MS + 5,
    ...more,
  };
}

const AWKWARD: readonly KafkaRecord[] = [
  record("first"),
  record("", { key: null, headers: {}, timestampMs: 0 }),
  record("earlier than the first", { timestampMs: NOW_MS - 60_000 }),
  record("x".repeat(9_000), { headers: { long: "y".repeat(70), näme: "wört ☃" } }),
  record("z".repeat(2_000_000), { key: Buffer.alloc(0) }),
];

function encoded(records: readonly KafkaRecord[]): Buffer {
  const writer = new KafkaWriter();
  writeBatch(writer, records, PRODUCER, NOW_MS);
  return Buffer.from(writer.written());
}

/** What the library makes of it. */
function byLibrary(messages: MessageRecord[], options: Partial<CreateRecordsBatchOptions> = {}) {
  return Buffer.from(createRecordsBatch(messages, options).buffer);
}

function message(value: string, headers: Record<string, string> = {}): MessageRecord {
  return {
    topic: "t",
    partition: 0,
    key: Buffer.from("k"),
    value: Buffer.from(value),
    headers: new Map(
      Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)]),
    ),
    timestamp: BigInt(NOW_MS),
  };
}

/** Of a batch: where its first record is, which the server sets. */
function at(batch: Buffer, offset: number): Buffer {
  batch.writeBigInt64BE(BigInt(offset), 0);
  return batch;
}

function refusalOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return isShopError(error) ? error.code : String(error);
  }
}

function values(records: readonly FetchedRecord[]): (string | undefined)[] {
  return records.map(({ value }) => (value === null ? undefined : Buffer.from(value).toString()));
}

describe("a batch that is written", () => {
  test("is what the library writes, byte by byte", () => {
    const messages = AWKWARD.map(({ topic, partition, key, value, headers, timestampMs }) => ({
      topic,
      partition,
      value: Buffer.from(value),
      headers: new Map(
        Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)]),
      ),
      ...(key === null ? {} : { key: Buffer.from(key) }),
      timestamp: BigInt(timestampMs === 0 ? NOW_MS : timestampMs),
    }));
    const theirs = byLibrary(messages, {
      producerId: 4_711n,
      producerEpoch: 3,
      partitionLeaderEpoch: -1,
      sequences: new NumericMap([["t:2", PRODUCER.sequence]]),
    });
    expect(encoded(AWKWARD).equals(theirs)).toBe(true);
  });

  test("is read by the library as it was given", () => {
    const [batch] = readRecordsBatches(Reader.from(encoded(AWKWARD)));
    expect(batch?.records.map(({ value }) => value?.toString() ?? "")).toEqual(
      AWKWARD.map(({ value }) => Buffer.from(value).toString()),
    );
    expect(batch).toMatchObject({ producerId: 4_711n, producerEpoch: 3, magic: 2 });
  });
});

describe("batches that are read", () => {
  test("give back every record with its key, headers, offset and time", () => {
    const bytes = at(encoded(AWKWARD), 2 ** 40);
    const { records, next } = readBatches(bytes, [], 0);
    expect(next).toBe(2 ** 40 + AWKWARD.length);
    expect(records).toHaveLength(AWKWARD.length);
    records.forEach((each, index) => {
      const sent = AWKWARD[index];
      expect(each.offset).toBe(2 ** 40 + index);
      expect(each.timestampMs).toBe(sent?.timestampMs === 0 ? NOW_MS : (sent?.timestampMs ?? -1));
      expect(Buffer.from(each.value ?? []).equals(Buffer.from(sent?.value ?? []))).toBe(true);
      expect(each.key === null).toBe(sent?.key === null);
      expect(Buffer.from(each.key ?? []).equals(Buffer.from(sent?.key ?? []))).toBe(true);
      const headers = [...each.headers].map(([name, value]) => [name, value.toString()]);
      const given = Object.entries(sent?.headers ?? {}).map(([name, text]) => {
        return [name, new Uint8Array(Buffer.from(text)).toString()];
      });
      expect(headers).toEqual(given);
    });
  });

  test("have their times, however far apart", () => {
    const times = [NOW_MS, 1, 2 ** 41];
    const bytes = encoded(times.map((timestampMs) => record("v", { timestampMs })));
    expect(readBatches(bytes, [], 0).records.map((each) => each.timestampMs)).toEqual(times);
  });

  test("are copied: writing over the answer changes no record", () => {
    const bytes = encoded([record("kept")]);
    const { records } = readBatches(bytes, [], 0);
    bytes.fill(0);
    expect(values(records)).toEqual(["kept"]);
  });

  test("begin where they were asked for, and leave out what is cut off at the end", () => {
    const first = at(byLibrary([message("a"), message("b"), message("c")]), 10);
    const second = at(byLibrary([message("d")]), 13);
    const both = Buffer.concat([first, second]);
    const whole = readBatches(both, [], 11);
    expect(values(whole.records)).toEqual(["b", "c", "d"]);
    expect(whole.next).toBe(14);
    const cut = readBatches(both.subarray(0, both.length - 3), [], 11);
    expect(values(cut.records)).toEqual(["b", "c"]);
    expect(cut.next).toBe(13);
  });

  test("may be compressed", () => {
    for (const compression of ["gzip", "snappy", "lz4", "zstd"] as const) {
      const bytes = byLibrary([message("a".repeat(500)), message("b")], { compression });
      expect(values(readBatches(bytes, [], 0).records)).toEqual(["a".repeat(500), "b"]);
    }
  });

  test("leave out what a transaction took back and the marks, and nothing else", () => {
    const transactional = { transactionalId: "t", producerId: 9n, producerEpoch: 0 };
    const mark = at(byLibrary([{ ...message(""), key: Buffer.from([0, 0, 0, 0]) }]), 3);
    mark.writeInt16BE(0b11_0000, 21);
    mark.writeBigInt64BE(9n, 43);
    const bytes = Buffer.concat([
      at(byLibrary([message("taken back")], transactional), 1),
      at(byLibrary([message("of another")], { ...transactional, producerId: 10n }), 2),
      mark,
      at(byLibrary([message("after it")], transactional), 4),
    ]);
    const read = readBatches(bytes, [{ producerId: 9, firstOffset: 1 }], 0);
    expect(values(read.records)).toEqual(["of another", "after it"]);
    expect(read.next).toBe(5);
  });

  test("of a frame say only that it is one; the last content type counts", () => {
    const frame = { "content-type": FRAME_CONTENT_TYPE, ce_id: "1" };
    const [ours] = readBatches(byLibrary([message("f", frame)]), [], 0).records;
    expect([...(ours?.headers.keys() ?? [])]).toEqual(["content-type"]);
    expect(ours?.key).toBeNull();
    const twice = message("j", {});
    twice.headers = new Map([
      [Buffer.from("content-type"), Buffer.from(FRAME_CONTENT_TYPE)],
      [Buffer.from("content-type"), Buffer.from("application/json")],
      [Buffer.from("ce_id"), Buffer.from("1")],
    ]);
    const [theirs] = readBatches(byLibrary([twice]), [], 0).records;
    const contentType = theirs?.headers.get("content-type") ?? new Uint8Array(0);
    expect(Buffer.from(contentType).toString()).toBe("application/json");
    expect([...(theirs?.headers.keys() ?? [])]).toEqual(["content-type", "ce_id"]);
    expect(Buffer.from(theirs?.key ?? []).toString()).toBe("k");
  });

  test("of a format that Kafka has no more are refused", () => {
    const bytes = byLibrary([message("a")]);
    bytes.writeInt8(1, 16);
    expect(refusalOf(() => readBatches(bytes, [], 0))).toBe("STORAGE_FAULT");
  });

  test("that make no sense are refused, after what comes before them was read", () => {
    const cases: readonly [spoil: (batch: Buffer) => void, refusal: string][] = [
      [(batch) => batch.writeInt8(1, 16), "STORAGE_FAULT"],
      [(batch) => batch.writeInt16BE(7, 21), "STORAGE_FAULT"],
      [(batch) => batch.writeInt32BE(-5, 8), "BAD_MESSAGE"],
      [(batch) => batch.writeInt32BE(20, 8), "BAD_MESSAGE"],
      [(batch) => batch.writeInt32BE(9, 57), "BAD_MESSAGE"],
    ];
    for (const [spoil, refusal] of cases) {
      const spoilt = at(byLibrary([message("c"), message("d")]), 12);
      spoil(spoilt);
      const good = at(byLibrary([message("a"), message("b")]), 10);
      const read = readBatches(Buffer.concat([good, spoilt]), [], 10);
      expect(values(read.records)).toEqual(["a", "b"]);
      expect(read.next).toBe(12);
      expect(refusalOf(() => readBatches(spoilt, [], 12))).toBe(refusal);
    }
  });

  test("of which not even the first is whole are refused: the server gives one at least", () => {
    const batch = byLibrary([message("a")]);
    batch.writeInt32BE(2 ** 30, 8);
    expect(refusalOf(() => readBatches(batch, [], 0))).toBe("BAD_MESSAGE");
    expect(refusalOf(() => readBatches(batch.subarray(0, 7), [], 0))).toBe("BAD_MESSAGE");
  });

  test("have the server's time if that is what the topic keeps", () => {
    const times = [NOW_MS, NOW_MS - 1_000, NOW_MS + 1_000];
    const bytes = encoded(times.map((timestampMs) => record("v", { timestampMs })));
    bytes.writeInt16BE(0b1000, 21);
    bytes.writeBigInt64BE(BigInt(NOW_MS + 7_000), 35);
    const read = readBatches(bytes, [], 0).records.map((each) => each.timestampMs);
    expect(read).toEqual(times.map(() => NOW_MS + 7_000));
  });
});

describe("numbers", () => {
  test("go round in every form they have", () => {
    const small = [0, 1, -1, 63, 64, -64, -65, 127, 128, 16_383, 16_384, 2 ** 31 - 1, -(2 ** 31)];
    const numbers = [...small, 2 ** 31, -(2 ** 40), Number.MAX_SAFE_INTEGER / 2 - 0.5];
    const writer = new KafkaWriter();
    for (const each of small) writer.varint(each);
    for (const each of numbers) {
      writer.varint(each);
      writer.int64(each);
    }
    const reader = new KafkaReader(writer.written());
    for (const each of small) expect(reader.varint()).toBe(each);
    for (const each of numbers) {
      expect(reader.varlong()).toBe(each);
      expect(reader.int64()).toBe(each);
    }
    expect(reader.remaining).toBe(0);
  });

  test("that are not there any more are refused", () => {
    const reader = new KafkaReader(Buffer.from([0x80]));
    expect(refusalOf(() => reader.unsignedVarint())).toBe("BAD_MESSAGE");
  });

  test("that do not end are refused, after five bytes or ten", () => {
    const endless = Buffer.alloc(2_000, 0xff);
    for (const [bytes, read] of [
      [5, (reader: KafkaReader) => reader.unsignedVarint()],
      [5, (reader: KafkaReader) => reader.varint()],
      [10, (reader: KafkaReader) => reader.varlong()],
    ] as const) {
      const reader = new KafkaReader(endless);
      expect(refusalOf(() => read(reader))).toBe("BAD_MESSAGE");
      expect(reader.at).toBe(bytes);
    }
  });

  test("that are none are no length", () => {
    const reader = new KafkaReader(Buffer.alloc(8));
    for (const bytes of [Number.NaN, Number.POSITIVE_INFINITY, -1, 9]) {
      expect(refusalOf(() => reader.skip(bytes))).toBe("BAD_MESSAGE");
      expect(reader.at).toBe(0);
    }
  });
});
