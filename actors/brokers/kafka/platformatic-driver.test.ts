/**
 * What a publisher is told when a request went to two nodes and they fare differently.
 *
 * The nodes are the test's, behind the library's own connection interface. No I/O.
 */

import { describe, expect, test } from "bun:test";

import { ResponseError } from "@platformatic/kafka";

import type { Connection } from "@platformatic/kafka";
import type { KafkaRecord } from "./kafka-driver.ts";
import type { PlatformaticLink } from "./platformatic-link.ts";
import type { ProduceAnswer } from "./platformatic-produce.ts";

import { isShopError, ShopError } from "../../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { PlatformaticDriver } from "./platformatic-driver.ts";

const INIT_PRODUCER = 22;
/** Of a partition, in an answer. */
const OUT_OF_ORDER = 45;
const NOT_LEADER = 6;

type Outcome = "away" | "silent" | "stored" | "unknown" | number;

/** Node n leads partition n. */
function setUp(outcomes: readonly Outcome[]) {
  let producers = 0;
  const send =
    (node: number): Connection["send"] =>
    (key, _version, _payload, _parser, _tags, _more, callback) => {
      // What the parser would make is what the caller waits for.
      if (key === INIT_PRODUCER) {
        producers++;
        callback(null, { producerId: 1n, producerEpoch: 0 } as never);
        return;
      }
      const outcome = outcomes[node];
      if (outcome === "silent") callback(new Error("connection lost"), undefined);
      else if (typeof outcome === "number") callback(refusal(node, outcome), undefined);
      else callback(null, answerOf(node, 0) as never);
    };
  const connectionOf = (node: number): Connection =>
    ({ send: send(node) }) as unknown as Connection; // all of it that is used
  const leaders = outcomes.map((_, node) => node);
  const link: Pick<PlatformaticLink, "any" | "forget" | "layouts" | "node"> = {
    any: () => Promise.resolve(connectionOf(0)),
    forget: () => undefined,
    layouts: () => Promise.resolve(new Map([["t", { partitions: leaders.length, leaders }]])),
    node(id) {
      if (outcomes[id] === "away") return Promise.reject(new Error("connect ECONNREFUSED"));
      if (outcomes[id] !== "unknown") return Promise.resolve(connectionOf(id));
      return Promise.reject(new ShopError("STORAGE_FAULT", `nobody knows node ${id}`, "later"));
    },
  };
  const driver = new PlatformaticDriver({
    environment: createVirtualEnvironment(),
    settings: KAFKA_SETTINGS,
    onLog: () => undefined,
    link: link as PlatformaticLink, // a class with private parts; these are all that is used
  });
  const records = leaders.map((partition): KafkaRecord => {
    const value = new Uint8Array(1);
    return { topic: "t", partition, key: null, value, headers: {}, timestampMs: 1 };
  });
  return {
    producers: () => producers,
    async produce(): Promise<string> {
      try {
        await driver.produce(records);
        return "stored";
      } catch (error) {
        return isShopError(error) ? error.code : String(error);
      }
    },
  };
}

function answerOf(node: number, errorCode: number): ProduceAnswer {
  const rest = { baseOffset: 0n, logAppendTimeMs: 0n, logStartOffset: 0n, recordErrors: [] };
  const partitionResponses = [{ ...rest, index: node, errorCode, errorMessage: null }];
  return { throttleTimeMs: 0, responses: [{ name: "t", partitionResponses }] };
}

function refusal(node: number, code: number): Error {
  return new ResponseError(0, 9, { "/responses/0": [code, null] }, answerOf(node, code));
}

describe("a request to two nodes", () => {
  const cases: readonly [outcomes: readonly [Outcome, Outcome], told: string][] = [
    [["stored", "stored"], "stored"],
    [["away", "silent"], "INDETERMINATE"],
    [["away", "stored"], "INDETERMINATE"],
    [["away", "away"], "STORAGE_FAULT"],
    [["unknown", "silent"], "INDETERMINATE"],
    [["unknown", "stored"], "INDETERMINATE"],
    [["unknown", "away"], "STORAGE_FAULT"],
    [[NOT_LEADER, "silent"], "INDETERMINATE"],
    [[NOT_LEADER, "stored"], "INDETERMINATE"],
    [[NOT_LEADER, "away"], "STORAGE_FAULT"],
  ];
  for (const [[one, other], told] of cases) {
    test(`is ${told} when they are ${one} and ${other}, in both orders`, async () => {
      expect(await setUp([one, other]).produce()).toBe(told);
      expect(await setUp([other, one]).produce()).toBe(told);
    });
  }

  test("has new numbers after any of them has lost those it had", async () => {
    for (const outcomes of [
      ["away", OUT_OF_ORDER],
      [OUT_OF_ORDER, "away"],
      ["stored", OUT_OF_ORDER],
    ] as const) {
      const { produce, producers } = setUp(outcomes);
      await produce();
      expect(producers()).toBe(1);
      await produce();
      expect(producers()).toBe(2);
    }
  });

  test("keeps its numbers after other failures, to be recognized", async () => {
    const { produce, producers } = setUp(["away", "silent"]);
    await produce();
    await produce();
    expect(producers()).toBe(1);
  });
});
