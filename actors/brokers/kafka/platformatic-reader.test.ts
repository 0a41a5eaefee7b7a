/**
 * Which requests a reader makes, against a node that the test answers for.
 *
 * The node speaks the protocol through the library's own connection interface, on a virtual clock.
 * No I/O.
 */

import { expect, test } from "bun:test";

import { Reader } from "@platformatic/kafka";

import type { Connection } from "@platformatic/kafka";
import type { KafkaRecord } from "./kafka-driver.ts";
import type { PlatformaticLink } from "./platformatic-link.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { KafkaReader, KafkaWriter } from "./kafka-bytes.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { PlatformaticReader } from "./platformatic-reader.ts";
import { writeBatch } from "./record-batch.ts";

const SESSION = 77;
const GATHER_MS = 10;

/** As it comes over the wire: `partition@offset` of one topic. */
interface Request {
  readonly session: number;
  readonly epoch: number;
  readonly places: readonly string[];
  readonly forgotten: readonly number[];
}

interface Answer {
  readonly errorCode?: number;
  readonly session?: number;
  /** Value of the one record at an offset of a partition. */
  readonly records?: readonly (readonly [partition: number, offset: number, value: string])[];
}

function setUp(partitions: number) {
  const environment = createVirtualEnvironment();
  const requests: Request[] = [];
  let reply: ((answer: Answer) => void) | undefined;
  const send: Connection["send"] = (
    key,
    version,
    createPayload,
    parser,
    _tags,
    _more,
    callback,
  ) => {
    const payload = createPayload();
    if (payload instanceof Promise) return;
    requests.push(requestOf(payload.buffer));
    reply = (answer) => {
      const read = parser(1, key, version, Reader.from(answerOf(answer)));
      callback(null, read as never); // what the parser makes is what the caller waits for
    };
  };
  const layouts = new Map([
    ["t", { partitions, leaders: Array.from({ length: partitions }, () => 1) }],
  ]);
  const link: Pick<PlatformaticLink, "close" | "forget" | "layouts" | "node"> = {
    layouts: () => Promise.resolve(layouts),
    node: () => Promise.resolve({ send } as unknown as Connection), // all of it that is used
    forget: () => undefined,
    close: () => Promise.resolve(),
  };
  const received: string[] = [];
  const reader = new PlatformaticReader({
    environment,
    settings: { ...KAFKA_SETTINGS, fetchGatherMs: GATHER_MS },
    link: link as PlatformaticLink, // a class with private parts; these are all that is used
    onRecords: (_topic, partition, records) => {
      for (const { offset, value } of records) {
        received.push(`${partition}@${offset} ${Buffer.from(value ?? []).toString()}`);
      }
    },
  });
  return {
    reader,
    requests,
    received,
    pass: (ms = 0) => environment.advance(ms),
    async answer(answer: Answer): Promise<void> {
      const replying = reply;
      reply = undefined;
      replying?.({ session: SESSION, ...answer });
      await environment.advance(0);
    },
  };
}

function requestOf(bytes: Buffer): Request {
  const reader = new KafkaReader(bytes);
  reader.skip(17);
  const session = reader.int32();
  const epoch = reader.int32();
  const places: string[] = [];
  for (let topics = reader.unsignedVarint() - 1; topics > 0; topics--) {
    reader.compactText();
    for (let left = reader.unsignedVarint() - 1; left > 0; left--) {
      const partition = reader.int32();
      reader.skip(4);
      places.push(`${partition}@${reader.int64()}`);
      reader.skip(16);
      reader.skipTagged();
    }
    reader.skipTagged();
  }
  const forgotten: number[] = [];
  for (let topics = reader.unsignedVarint() - 1; topics > 0; topics--) {
    reader.compactText();
    for (let left = reader.unsignedVarint() - 1; left > 0; left--) forgotten.push(reader.int32());
    reader.skipTagged();
  }
  return { session, epoch, places, forgotten };
}

function answerOf({ errorCode = 0, session = 0, records = [] }: Answer): Buffer {
  const writer = new KafkaWriter();
  writer.int32(0);
  writer.int16(errorCode);
  writer.int32(session);
  writer.unsignedVarint(records.length === 0 ? 1 : 2);
  if (records.length > 0) {
    writer.compactText("t");
    writer.unsignedVarint(records.length + 1);
    for (const [partition, offset, value] of records) {
      writer.int32(partition);
      writer.int16(0);
      for (let end = 0; end < 3; end++) writer.int64(offset + 1);
      writer.unsignedVarint(0);
      writer.int32(-1);
      const from = writer.length;
      writer.raw(batchOf(partition, offset, value));
      writer.prefixLength(from, true);
      writer.noTagged();
    }
    writer.noTagged();
  }
  writer.noTagged();
  return Buffer.from(writer.written());
}

function batchOf(partition: number, offset: number, value: string): Buffer {
  const record: KafkaRecord = {
    topic: "t",
    partition,
    key: null,
    value: Buffer.from(value),
    headers: {},
    timestampMs: 1,
  };
  const writer = new KafkaWriter();
  writeBatch(writer, [record], { producerId: 1, producerEpoch: 0, sequence: 0 }, 1);
  const batch = Buffer.from(writer.written());
  batch.writeBigInt64BE(BigInt(offset), 0);
  return batch;
}

test("every partition is named once, then only those that went on", async () => {
  const { reader, requests, received, pass, answer } = setUp(3);
  for (const partition of [0, 1, 2]) reader.begin("t", partition, 10 * partition);
  await pass();
  await answer({ records: [[1, 10, "a"]] });
  await answer({});
  await answer({
    records: [
      [0, 0, "b"],
      [2, 20, "c"],
    ],
  });
  expect(requests).toEqual([
    { session: 0, epoch: 0, places: ["0@0", "1@10", "2@20"], forgotten: [] },
    { session: SESSION, epoch: 1, places: ["1@11"], forgotten: [] },
    { session: SESSION, epoch: 2, places: [], forgotten: [] },
    { session: SESSION, epoch: 3, places: ["0@1", "2@21"], forgotten: [] },
  ]);
  expect(received).toEqual(["1@10 a", "0@0 b", "2@20 c"]);
});

test("a partition that is paused is taken out, and named again when it goes on", async () => {
  const { reader, requests, pass, answer } = setUp(2);
  for (const partition of [0, 1]) reader.begin("t", partition, 0);
  await pass();
  reader.setPaused("t", 1, true);
  await answer({});
  expect(requests.at(-1)).toEqual({ session: SESSION, epoch: 1, places: [], forgotten: [1] });
  reader.setPaused("t", 1, false);
  await answer({});
  expect(requests.at(-1)).toEqual({ session: SESSION, epoch: 2, places: ["1@0"], forgotten: [] });
});

test("a session that the node has lost is begun anew, where each partition was", async () => {
  for (const errorCode of [70, 71]) {
    const { reader, requests, pass, answer } = setUp(2);
    for (const partition of [0, 1]) reader.begin("t", partition, 0);
    await pass();
    await answer({ records: [[1, 0, "a"]] });
    await answer({ errorCode, session: 0 });
    expect(requests.at(-1)).toEqual({
      session: 0,
      epoch: 0,
      places: ["0@0", "1@1"],
      forgotten: [],
    });
    await answer({ session: 78 });
    expect(requests.at(-1)).toEqual({ session: 78, epoch: 1, places: [], forgotten: [] });
  }
});

test("what came for an assignment that is over is not handed over, nor read past", async () => {
  const { reader, requests, received, pass, answer } = setUp(1);
  reader.begin("t", 0, 5);
  await pass();
  reader.clear();
  reader.begin("t", 0, 3);
  await answer({ records: [[0, 5, "late"]] });
  expect(received).toEqual([]);
  expect(requests.at(-1)).toEqual({ session: SESSION, epoch: 1, places: ["0@3"], forgotten: [] });
});

test("under traffic a request waits for more to come, but not after a full answer", async () => {
  const { reader, requests, pass, answer } = setUp(1);
  reader.begin("t", 0, 0);
  await pass();
  for (let offset = 0; offset < 8; offset++) await answer({ records: [[0, offset, "a"]] });
  expect(requests).toHaveLength(8);
  await pass(GATHER_MS - 1);
  expect(requests).toHaveLength(8);
  await pass(1);
  expect(requests).toHaveLength(9);
  await answer({ records: [[0, 8, "x".repeat(100_000)]] });
  expect(requests).toHaveLength(10);
});
