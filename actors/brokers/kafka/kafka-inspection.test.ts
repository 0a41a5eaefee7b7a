/**
 * Which clusters are refused, and in which words: what they say of themselves, as a table.
 *
 * What a real one says of itself is in `gateway/real-refusals.int.test.ts`.
 */

import { describe, expect, test } from "bun:test";

import { checkMaking, checkRights, checkVersions } from "./kafka-inspection.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";

const NEW = new Map([
  [9, 9],
  [10, 6],
]);
const ALL = 0b1101_1111_1000;
const READ = 1 << 3;
const WRITE = 1 << 4;
const CONFIGS = 1 << 10;
const who = { username: "shop" };

describe("a cluster", () => {
  test("that speaks what is needed is used", () => {
    expect(() => checkVersions(NEW, KAFKA_SETTINGS)).not.toThrow();
    const oldest = new Map([
      [9, 8],
      [10, 4],
    ]);
    expect(() => checkVersions(oldest, KAFKA_SETTINGS)).not.toThrow();
  });

  test("that is too old, or tells nothing, is refused with what is needed", () => {
    expect(() => checkVersions(new Map([[9, 7]]), KAFKA_SETTINGS)).toThrow(
      "kafka.brokers: the server at 127.0.0.1:9092 is too old (it knows OffsetFetch up to " +
        "version 7), needed is Kafka 3.0 or later",
    );
    expect(() => checkVersions(new Map([[9, 9]]), KAFKA_SETTINGS)).toThrow(
      "FindCoordinator not at",
    );
    expect(() => checkVersions(new Map(), KAFKA_SETTINGS)).toThrow("needed is Kafka 3.0 or later");
  });
});

describe("a user", () => {
  const topic = "shopstream.orders";
  const check = (rights: number, errorCode = 0) => checkRights([{ topic, errorCode, rights }], who);

  test("with the rights, or of whom nothing is said, is let through", () => {
    expect(() => check(ALL)).not.toThrow();
    expect(() => check(READ | WRITE | CONFIGS)).not.toThrow();
    expect(() => check(-2_147_483_648)).not.toThrow();
    expect(() => check(0, 3)).not.toThrow();
  });

  test.each([
    [WRITE | CONFIGS, "READ"],
    [READ | CONFIGS, "WRITE"],
    [READ | WRITE, "DESCRIBE_CONFIGS"],
    [READ, "WRITE, DESCRIBE_CONFIGS"],
  ])("with the rights %d is told of %s", (rights, lacking) => {
    expect(() => check(rights)).toThrow(
      `kafka: user "shop" lacks ${lacking} on topic ${topic}; needed are READ, WRITE, ` +
        "DESCRIBE_CONFIGS",
    );
  });

  test("who may not even see the topic is told so", () => {
    expect(() => check(0, 29)).toThrow(`kafka: user "shop" lacks DESCRIBE on topic ${topic}`);
    const nobody = { username: "" };
    expect(() => checkRights([{ topic, errorCode: 29, rights: 0 }], nobody)).toThrow(
      "kafka: a client without a user lacks DESCRIBE",
    );
  });

  test("who may not make what is not there is told so, and of nothing else", () => {
    expect(() => checkMaking([{ topic, errorCode: 29 }], who)).toThrow(
      `kafka: topic ${topic} is not there, and user "shop" lacks CREATE on it`,
    );
    expect(() => checkMaking([{ topic, errorCode: 31 }], who)).toThrow("lacks CREATE");
    const others = [0, 36, 38, 41].map((errorCode) => ({ topic, errorCode }));
    expect(() => checkMaking(others, who)).not.toThrow();
  });
});
