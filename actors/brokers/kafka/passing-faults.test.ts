/**
 * Which answers of a server are told as passing, by both drivers. No I/O.
 */

import { describe, expect, test } from "bun:test";

import { ProtocolError } from "@platformatic/kafka";
import { KafkaJSProtocolError } from "kafkajs";

import { PassingFault } from "./kafka-driver.ts";
import * as kafkajs from "./kafkajs-errors.ts";
import * as platformatic from "./platformatic-errors.ts";

const PASSING = ["COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR", "REBALANCE_IN_PROGRESS"];
const LASTING = ["NOT_ENOUGH_REPLICAS", "GROUP_AUTHORIZATION_FAILED"];

/** `isPassing` of a commit: the member joins anew. */
const DRIVERS = {
  kafkajs: {
    errorOf: (type: string): Error =>
      new KafkaJSProtocolError({ name: type, type, code: 1, message: type } as never), // its shape
    ...kafkajs,
  },
  platformatic: {
    errorOf: (type: string): Error => new ProtocolError(type),
    ...platformatic,
  },
};

for (const [name, { errorOf, produceFailure, commitFailure }] of Object.entries(DRIVERS)) {
  describe(name, () => {
    test("what a group goes through is passing, and healed by a repetition", () => {
      for (const type of PASSING) {
        for (const failure of [
          produceFailure(errorOf(type), true),
          commitFailure(errorOf(type), false),
        ]) {
          expect(failure).toBeInstanceOf(PassingFault);
          expect(failure).toMatchObject({ code: "STORAGE_FAULT", retry: "later" });
        }
      }
    });

    test("a member that is out of its group is stale, unless it is joining anew", () => {
      const error = errorOf("UNKNOWN_MEMBER_ID");
      expect(commitFailure(error, false)).toMatchObject({ code: "STALE" });
      expect(commitFailure(error, true)).toBeInstanceOf(PassingFault);
    });

    test("everything else is not passing", () => {
      for (const error of [...LASTING.map(errorOf), new Error("connection lost")]) {
        expect(produceFailure(error, true)).not.toBeInstanceOf(PassingFault);
        expect(commitFailure(error, true)).not.toBeInstanceOf(PassingFault);
      }
    });
  });
}
