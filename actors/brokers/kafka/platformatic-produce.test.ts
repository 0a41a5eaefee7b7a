/**
 * Numbers of records, what goes over the wire, and what counts as stored. No I/O.
 */

import { expect, test } from "bun:test";

import { NumericMap, produceV9 } from "@platformatic/kafka";

import type { Connection } from "@platformatic/kafka";
import type { KafkaRecord } from "./kafka-driver.ts";
import type { ProduceAnswer } from "./platformatic-produce.ts";

import { byPlace, confirmedBy, produceOnce, ProducerNumbers } from "./platformatic-produce.ts";

function records(count: number): KafkaRecord[] {
  const value = new Uint8Array(0);
  const one = { topic: "t", partition: 0, key: null, value, headers: {}, timestampMs: 0 };
  return Array.from({ length: count }, () => one);
}

test("each partition of each topic counts by itself, and from nothing", () => {
  const numbers = new ProducerNumbers(1, 0);
  numbers.advance(new Map([["a", new Map([[3, records(2)]])]]));
  numbers.advance(new Map([["a", new Map([[3, records(5)]])]]));
  expect(numbers.sequenceOf("a", 3)).toBe(7);
  expect(numbers.sequenceOf("a", 4)).toBe(0);
  expect(numbers.sequenceOf("b", 3)).toBe(0);
});

test("after the last number comes the first, as the server counts", () => {
  const numbers = new ProducerNumbers(1, 0);
  const many = { length: 2 ** 31 - 2 } as readonly KafkaRecord[]; // nothing else of it is read
  numbers.advance(new Map([["a", new Map([[0, many]])]]));
  expect(numbers.sequenceOf("a", 0)).toBe(2 ** 31 - 2);
  numbers.advance(new Map([["a", new Map([[0, records(3)]])]]));
  expect(numbers.sequenceOf("a", 0)).toBe(1);
});

test("records are put together by topic and partition, each in its order", () => {
  const [one] = records(1);
  const places = ["a0", "a1", "b0", "a0", "b0", "b1", "b1", "a1", "a0"];
  const given = places.map((place, index) => {
    const value = new Uint8Array([index]);
    return { ...one!, topic: place.slice(0, 1), partition: Number(place.slice(1)), value };
  });
  const found = [...byPlace(given)].map(([topic, ofTopic]) => {
    const values = [...ofTopic].map(([at, batch]) => [at, batch.map(({ value }) => value[0])]);
    return [topic, values];
  });
  expect(found).toEqual([
    [
      "a",
      [
        [0, [0, 3, 8]],
        [1, [1, 7]],
      ],
    ],
    [
      "b",
      [
        [0, [2, 4]],
        [1, [5, 6]],
      ],
    ],
  ]);
});

test("stored is what the server says it has, for the first time or from before", () => {
  const place = { baseOffset: 0n, logAppendTimeMs: 0n, logStartOffset: 0n, recordErrors: [] };
  const answer: ProduceAnswer = {
    throttleTimeMs: 0,
    responses: [
      {
        name: "t",
        partitionResponses: [
          { ...place, index: 0, errorCode: 0, errorMessage: null },
          { ...place, index: 1, errorCode: 46, errorMessage: null },
          { ...place, index: 2, errorCode: 45, errorMessage: null },
        ],
      },
    ],
  };
  expect([...confirmedBy(answer)]).toEqual(["t:0", "t:1"]);
  expect([...confirmedBy(undefined)]).toEqual([]);
});

test("a request is what the library makes of the same records, byte by byte", async () => {
  const partitioned = new Map([
    ["orders", new Map([0, 3].map((partition) => [partition, written("orders", partition)]))],
    ["payments", new Map([[1, written("payments", 1)]])],
  ]);
  const numbers = new ProducerNumbers(4_711, 3);
  numbers.advance(new Map([["orders", new Map([[0, records(300)]])]]));
  let ours = Buffer.alloc(0);
  const send: Connection["send"] = (
    key,
    version,
    createPayload,
    _parser,
    _tags,
    _more,
    callback,
  ) => {
    expect([key, version]).toEqual([0, 9]);
    const payload = createPayload();
    if (!(payload instanceof Promise)) ours = Buffer.from(payload.buffer);
    callback(null, undefined); // the answer is not looked at
  };
  const connection = { send } as unknown as Connection; // all of it that is used
  await produceOnce(connection, partitioned, { numbers, timeoutMs: 9_000, nowMs: 1 });
  const messages = [...partitioned.values()]
    .flatMap((byPartition) => [...byPartition.values()].flat())
    .map(({ topic, partition, key, value, headers, timestampMs }) => ({
      topic,
      partition,
      ...(key === null ? {} : { key: Buffer.from(key) }),
      value: Buffer.from(value),
      headers: new Map(
        Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)]),
      ),
      timestamp: BigInt(timestampMs),
    }));
  const theirs = produceV9.createRequest(-1, 9_000, messages, {
    producerId: 4_711n,
    producerEpoch: 3,
    partitionLeaderEpoch: -1,
    sequences: new NumericMap([["orders:0", 300]]),
  });
  expect(ours.equals(Buffer.from(theirs.buffer))).toBe(true);
});

function written(topic: string, partition: number): KafkaRecord[] {
  return ["a", "b".repeat(9_000)].map((text, index) => ({
    topic,
    partition,
    key: index === 0 ? Buffer.from("key") : null,
    value: Buffer.from(text),
    headers: { name: "value" },
    timestampMs: 1_700_000_000_000 + index,
  }));
}
