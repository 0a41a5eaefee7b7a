/**
 * Numbers of records, and what counts as stored. No I/O.
 */

import { expect, test } from "bun:test";

import type { KafkaRecord } from "./kafka-driver.ts";
import type { ProduceAnswer } from "./platformatic-produce.ts";

import { confirmedBy, ProducerNumbers } from "./platformatic-produce.ts";

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
