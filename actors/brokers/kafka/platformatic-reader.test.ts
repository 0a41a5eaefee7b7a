/**
 * Which requests a reader makes, against a node that the test answers for.
 *
 * The node speaks the protocol through the library's own connection interface, on a virtual clock.
 * No I/O.
 */

import { describe, expect, test } from "bun:test";

import { Reader } from "@platformatic/kafka";

import type { Connection } from "@platformatic/kafka";
import type { KafkaRecord } from "./kafka-driver.ts";
import type { PlatformaticLink, TopicLayout } from "./platformatic-link.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { KafkaReader, KafkaWriter } from "./kafka-bytes.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { PlatformaticReader } from "./platformatic-reader.ts";
import { writeBatch } from "./record-batch.ts";

const SESSION = 77;
const GATHER_MS = 10;
const LIST_OFFSETS = 2;

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
  /** What a partition has instead of records: a code, or bytes. */
  readonly faults?: readonly (readonly [partition: number, what: Buffer | number])[];
}

/** The node that the test answers for. */
class FakeNode {
  readonly requests: Request[] = [];
  /** Of the oldest record of every partition; absent: the node does not say. */
  oldest: bigint | undefined;
  isAway = false;
  #reply: ((answer: Answer) => void) | undefined;

  connection(): Promise<Connection> {
    if (this.isAway) return Promise.reject(new Error("nobody there"));
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
      // What the parser makes is what the caller waits for.
      if (key === LIST_OFFSETS) {
        const partitions = this.oldest === undefined ? [] : [{ offset: this.oldest }];
        callback(null, { topics: [{ partitions }] } as never);
        return;
      }
      this.requests.push(requestOf(payload.buffer));
      this.#reply = (answer) => {
        const read = parser(1, key, version, Reader.from(answerOf(answer)));
        callback(null, read as never);
      };
    };
    return Promise.resolve({ send } as unknown as Connection); // all of it that is used
  }

  answer(answer: Answer): void {
    const replying = this.#reply;
    this.#reply = undefined;
    replying?.({ session: SESSION, ...answer });
  }
}

/** `leaders`: the node of each partition; may be changed. */
function setUp(leaders: number[]) {
  const environment = createVirtualEnvironment();
  const nodes = [new FakeNode(), new FakeNode(), new FakeNode()] as const;
  const received: string[] = [];
  const told: string[] = [];
  let known: ReadonlyMap<string, TopicLayout> | undefined;
  let questions = 0;
  const link: Pick<PlatformaticLink, "close" | "forget" | "layouts" | "node"> = {
    layouts() {
      if (known === undefined) questions++;
      known ??= new Map([["t", { partitions: leaders.length, leaders: [...leaders] }]]);
      return Promise.resolve(known);
    },
    node: (id) => nodes[id as 0 | 1 | 2].connection(), // there are no others
    forget: () => void (known = undefined),
    close: () => Promise.resolve(),
  };
  const reader = new PlatformaticReader({
    environment,
    settings: { ...KAFKA_SETTINGS, fetchGatherMs: GATHER_MS },
    link: link as PlatformaticLink, // a class with private parts; these are all that is used
    onRecords: (_topic, partition, records) => {
      for (const { offset, value } of records) {
        received.push(`${partition}@${offset} ${Buffer.from(value ?? []).toString()}`);
      }
    },
    onUnreadable: (what, why) => void told.push(`${what}: ${why ?? "well"}`),
  });
  return {
    reader,
    nodes,
    requests: nodes[1].requests,
    received,
    told,
    questions: () => questions,
    timers: () => environment.pendingTimers(),
    pass: (ms = 0) => environment.advance(ms),
    async answer(answer: Answer, node: 1 | 2 = 1): Promise<void> {
      nodes[node].answer(answer);
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

function answerOf({ errorCode = 0, session = 0, records = [], faults = [] }: Answer): Buffer {
  const partitions = [
    ...faults.map(([partition, what]) => ({ partition, what })),
    ...records.map(([partition, offset, value]) => {
      return { partition, what: batchOf(partition, offset, value) };
    }),
  ];
  const writer = new KafkaWriter();
  writer.int32(0);
  writer.int16(errorCode);
  writer.int32(session);
  writer.unsignedVarint(partitions.length === 0 ? 1 : 2);
  if (partitions.length > 0) {
    writer.compactText("t");
    writer.unsignedVarint(partitions.length + 1);
    for (const { partition, what } of partitions) {
      writer.int32(partition);
      writer.int16(typeof what === "number" ? what : 0);
      for (let end = 0; end < 3; end++) writer.int64(0);
      writer.unsignedVarint(0);
      writer.int32(-1);
      const from = writer.length;
      if (typeof what !== "number") writer.raw(what);
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

/** Of a compression that there is not. */
function spoiltBatch(partition: number, offset: number): Buffer {
  const batch = batchOf(partition, offset, "spoilt");
  batch.writeInt16BE(7, 21);
  return batch;
}

test("every partition is named once, then only those that went on", async () => {
  const { reader, requests, received, pass, answer } = setUp([1, 1, 1]);
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
  const { reader, requests, pass, answer } = setUp([1, 1]);
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
  // One that is not there any more, and one that the node still has: that one is replaced.
  for (const [errorCode, named] of [
    [70, 0],
    [71, SESSION],
  ] as const) {
    const { reader, requests, pass, answer } = setUp([1, 1]);
    for (const partition of [0, 1]) reader.begin("t", partition, 0);
    await pass();
    await answer({ records: [[1, 0, "a"]] });
    await answer({ errorCode, session: 0 });
    expect(requests.at(-1)).toEqual({
      session: named,
      epoch: 0,
      places: ["0@0", "1@1"],
      forgotten: [],
    });
    await answer({ session: 78 });
    expect(requests.at(-1)).toEqual({ session: 78, epoch: 1, places: [], forgotten: [] });
  }
});

test("what came for an assignment that is over is not handed over, nor read past", async () => {
  const { reader, requests, received, pass, answer } = setUp([1]);
  reader.begin("t", 0, 5);
  await pass();
  reader.clear();
  reader.begin("t", 0, 3);
  await answer({ records: [[0, 5, "late"]] });
  expect(received).toEqual([]);
  expect(requests.at(-1)).toEqual({ session: SESSION, epoch: 1, places: ["0@3"], forgotten: [] });
});

test("under traffic a request waits for more to come, but not after a full answer", async () => {
  const { reader, requests, pass, answer } = setUp([1]);
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

test("after many full answers one with little in it waits no longer than an interval", async () => {
  const { reader, requests, pass, answer } = setUp([1]);
  reader.begin("t", 0, 0);
  await pass();
  for (let offset = 0; offset < 200; offset++) {
    await pass(1);
    await answer({ records: [[0, offset, "x".repeat(100_000)]] });
  }
  expect(requests).toHaveLength(201);
  await answer({ records: [[0, 200, "a"]] });
  await pass(GATHER_MS);
  expect(requests).toHaveLength(202);
});

test("a node that keeps no session is told everything every time", async () => {
  const { reader, requests, received, pass, answer } = setUp([1, 1]);
  for (const partition of [0, 1]) reader.begin("t", partition, 0);
  await pass();
  await answer({ session: 0, records: [[1, 0, "a"]] });
  await answer({ session: 0, records: [[1, 1, "b"]] });
  expect(received).toEqual(["1@0 a", "1@1 b"]);
  expect(requests.map(({ session, epoch }) => [session, epoch])).toEqual([
    [0, 0],
    [0, 0],
    [0, 0],
  ]);
  expect(requests.map(({ places }) => places)).toEqual([
    ["0@0", "1@0"],
    ["0@0", "1@1"],
    ["0@0", "1@2"],
  ]);
});

test("a pause while an answer is under way keeps what comes and asks for no more", async () => {
  const { reader, requests, received, pass, answer } = setUp([1, 1]);
  for (const partition of [0, 1]) reader.begin("t", partition, 0);
  await pass();
  reader.setPaused("t", 1, true);
  await answer({ records: [[1, 0, "a"]] });
  expect(received).toEqual(["1@0 a"]);
  expect(requests.at(-1)).toMatchObject({ places: [], forgotten: [1] });
  reader.setPaused("t", 1, false);
  await answer({});
  expect(requests.at(-1)).toMatchObject({ places: ["1@1"], forgotten: [] });
});

test("what is not kept any more is read on from the oldest there is", async () => {
  const { reader, nodes, requests, received, pass, answer } = setUp([1, 1]);
  nodes[1].oldest = 40n;
  for (const partition of [0, 1]) reader.begin("t", partition, 5);
  await pass();
  await answer({ faults: [[0, 1]], records: [[1, 5, "a"]] });
  expect(received).toEqual(["1@5 a"]);
  expect(requests.at(-1)?.places).toEqual(["0@40", "1@6"]);
});

test("if nobody says what is the oldest it is asked again after a while, not at once", async () => {
  const { reader, requests, pass, answer } = setUp([1, 1]);
  for (const partition of [0, 1]) reader.begin("t", partition, 5);
  await pass();
  await answer({ faults: [[0, 1]] });
  expect(requests.at(-1)).toMatchObject({ places: [], forgotten: [0] });
  await pass(200);
  await answer({});
  expect(requests.at(-1)).toMatchObject({ places: ["0@5"] });
});

describe("a partition that cannot be read", () => {
  const CAUSES: readonly [what: Buffer | number, why: string][] = [
    [spoiltBatch(0, 5), "unknown compression 7"],
    [batchOf(0, 5, "short").subarray(0, 40), "ends too early"],
    [29, "TOPIC_AUTHORIZATION_FAILED"],
    [1_234, "error 1234"],
  ];

  test("holds none of the others back, and is asked ever less often", async () => {
    for (const [what] of CAUSES) {
      const { reader, requests, received, pass, answer } = setUp([1, 1]);
      for (const partition of [0, 1]) reader.begin("t", partition, 5);
      await pass();
      await answer({ faults: [[0, what]], records: [[1, 5, "a"]] });
      expect(received).toEqual(["1@5 a"]);
      // The session goes on, without it.
      expect(requests.at(-1)).toEqual({
        session: SESSION,
        epoch: 1,
        places: ["1@6"],
        forgotten: [0],
      });
      for (let time = 0; time < 1_000; time++) {
        await pass(10);
        const isAsked = requests.at(-1)?.places.includes("0@5") === true;
        await answer(isAsked ? { faults: [[0, what]] } : {});
      }
      const asked = requests.filter(({ places }) => places.includes("0@5")).length;
      expect(asked).toBeGreaterThan(4);
      expect(asked).toBeLessThan(8);
      expect(requests.length).toBeGreaterThan(500);
    }
  });

  test("is told once for each cause, and when it can be read again", async () => {
    for (const [what, why] of CAUSES) {
      const { reader, requests, received, told, pass, answer } = setUp([1, 1]);
      for (const partition of [0, 1]) reader.begin("t", partition, 5);
      await pass();
      const answers = async (good: Answer, bad: Answer): Promise<void> => {
        for (let time = 0; time < 100; time++) {
          await pass(10);
          await answer(requests.at(-1)?.places.includes("0@5") === true ? bad : good);
        }
      };
      await answers({}, { faults: [[0, what]] });
      expect(told).toEqual([expect.stringContaining(why)]);
      expect(told[0]).toStartWith("t/0: ");
      await answers({}, { faults: [[0, 87]] });
      expect(told.slice(1)).toEqual(["t/0: INVALID_RECORD"]);
      for (let time = 0; time < 3; time++) await answers({}, { records: [[0, 5, "a"]] });
      expect(received).toEqual(["0@5 a"]);
      expect(told.slice(2)).toEqual(["t/0: well"]);
    }
  });

  test("is no trouble any more when it goes to another member", async () => {
    for (const end of ["clear", "stop"] as const) {
      const { reader, told, pass, answer } = setUp([1]);
      reader.begin("t", 0, 5);
      await pass();
      await answer({ faults: [[0, 29]] });
      reader[end]();
      expect(told).toEqual(["t/0: TOPIC_AUTHORIZATION_FAILED", "t/0: well"]);
    }
  });

  test("is told of what ought to pass only when it does not", async () => {
    const { reader, requests, told, pass, answer } = setUp([1]);
    reader.begin("t", 0, 5);
    await pass();
    for (let time = 0; time < 1_000; time++) {
      await answer(requests.at(-1)?.places.length === 0 ? {} : { faults: [[0, 6]] });
      if (time === 900) expect(told).toEqual([]);
      await pass(10);
    }
    await pass(1_000);
    await answer({ faults: [[0, 6]] });
    expect(told).toEqual(["t/0: NOT_LEADER_OR_FOLLOWER"]);
  });
});

describe("two nodes", () => {
  test("are asked for what each leads, and neither waits for the other", async () => {
    const { reader, nodes, received, pass, answer } = setUp([1, 2, 1]);
    for (const partition of [0, 1, 2]) reader.begin("t", partition, 0);
    await pass();
    expect(nodes[1].requests[0]?.places).toEqual(["0@0", "2@0"]);
    expect(nodes[2].requests[0]?.places).toEqual(["1@0"]);
    await answer({ session: 9, records: [[1, 0, "a"]] }, 2);
    await answer({ session: 9, records: [[1, 1, "b"]] }, 2);
    expect(received).toEqual(["1@0 a", "1@1 b"]);
    expect(nodes[1].requests).toHaveLength(1);
    expect(nodes[2].requests.at(-1)).toEqual({
      session: 9,
      epoch: 2,
      places: ["1@2"],
      forgotten: [],
    });
  });

  test("take a partition over from each other, where it was", async () => {
    const leaders = [1, 1];
    const { reader, nodes, received, pass, answer } = setUp(leaders);
    for (const partition of [0, 1]) reader.begin("t", partition, 0);
    await pass();
    await answer({ records: [[1, 0, "a"]] });
    leaders[1] = 2;
    await answer({ faults: [[1, 6]] });
    expect(nodes[1].requests.at(-1)).toMatchObject({ places: [], forgotten: [1] });
    await pass(200);
    expect(nodes[2].requests).toEqual([{ session: 0, epoch: 0, places: ["1@1"], forgotten: [] }]);
    await answer({ session: 9, records: [[1, 1, "b"]] }, 2);
    expect(received).toEqual(["1@0 a", "1@1 b"]);
  });

  test("of which one is away: it is tried five times a second, the other goes on", async () => {
    const { reader, nodes, told, pass, answer, questions } = setUp([1, 2]);
    nodes[2].isAway = true;
    const tries: number[] = [];
    const connection = nodes[2].connection.bind(nodes[2]);
    nodes[2].connection = () => {
      tries.push(1);
      return connection();
    };
    for (const partition of [0, 1]) reader.begin("t", partition, 0);
    await pass();
    for (let time = 0; time < 200; time++) {
      await pass(10);
      await answer({});
    }
    expect(tries.length).toBeGreaterThan(8);
    expect(tries.length).toBeLessThan(13);
    expect(questions()).toBeLessThan(13);
    expect(nodes[1].requests.length).toBeGreaterThan(100);
    expect(told).toEqual([]);
    for (let time = 0; time < 1_000; time++) {
      await pass(10);
      await answer({});
    }
    expect(told).toEqual(["node 2: nobody there"]);
    nodes[2].isAway = false;
    await pass(200);
    await answer({ session: 9, records: [[1, 0, "a"]] }, 2);
    expect(told.slice(1)).toEqual(["node 2: well"]);
  });
});

test("while nobody leads a partition it is asked five times a second who does", async () => {
  const leaders = [1, -1];
  const { reader, nodes, pass, answer, questions, timers, told } = setUp(leaders);
  for (const partition of [0, 1]) reader.begin("t", partition, 0);
  await pass();
  for (let time = 0; time < 1_200; time++) {
    await pass(10);
    await answer({});
    expect(timers()).toBeLessThanOrEqual(2);
  }
  expect(questions()).toBeGreaterThan(50);
  expect(questions()).toBeLessThan(63);
  expect(told).toEqual(["t/1: nobody is known to lead it"]);
  leaders[1] = 2;
  await pass(200);
  expect(nodes[2].requests[0]?.places).toEqual(["1@0"]);
  await answer({ session: 9 }, 2);
  reader.stop();
  await answer({});
  await pass(GATHER_MS);
  expect(timers()).toBe(0);
});

test("what is stopped leaves no timer behind", async () => {
  const { reader, pass, timers } = setUp([-1]);
  reader.begin("t", 0, 0);
  await pass(500);
  expect(timers()).toBe(1);
  reader.stop();
  expect(timers()).toBe(0);
});

test("what is stopped while it connects asks for nothing any more", async () => {
  const { reader, nodes, requests, pass } = setUp([1]);
  const connecting = Promise.withResolvers<void>();
  const connection = nodes[1].connection.bind(nodes[1]);
  nodes[1].connection = async () => {
    await connecting.promise;
    return await connection();
  };
  reader.begin("t", 0, 0);
  await pass();
  reader.stop();
  connecting.resolve();
  await pass();
  expect(requests).toEqual([]);
});

test("a close ends the sessions of the nodes, a death does not", async () => {
  for (const isOrderly of [true, false]) {
    const { reader, nodes, pass, answer } = setUp([1, 2]);
    for (const partition of [0, 1]) reader.begin("t", partition, 0);
    await pass();
    await answer({});
    const closing = reader.close(isOrderly);
    await pass();
    const ending = { session: SESSION, epoch: -1, places: [], forgotten: [] };
    if (isOrderly) expect(nodes[1].requests.at(-1)).toEqual(ending);
    else expect(nodes[1].requests.at(-1)?.epoch).toBe(1);
    // Nobody waits for long for a node that does not answer.
    await pass(500);
    await closing;
    // Where there is no session, nothing is ended.
    expect(nodes[2].requests).toHaveLength(1);
  }
});
