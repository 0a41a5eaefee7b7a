/**
 * Partitions are let go of in order: settled, committed, forgotten; and never waited for in vain.
 *
 * The member of a remote group is real, the server is the test. No I/O.
 */

import { expect, test } from "bun:test";

import type { Delivery, SubscribeOptions } from "../broker.ts";

import { encodeFrame } from "../../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RemoteMember } from "../remote-member.ts";
import { HandOver } from "./slot-hand-over.ts";
import { OffsetCommitter } from "./offset-committer.ts";

const WAIT_MS = 10_000;

function setUp(onRevoking?: SubscribeOptions["onRevoking"]) {
  const environment = createVirtualEnvironment();
  const story: string[] = [];
  const deliveries: Delivery[] = [];
  const subscribe: SubscribeOptions = {
    group: "g",
    topics: ["t"],
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries: (batch) => void deliveries.push(...batch),
    onRevoked: (_topic, partitions) => void story.push(`revoked ${partitions.join()}`),
    ...(onRevoking === undefined ? {} : { onRevoking }),
  };
  const member = new RemoteMember({ environment, subscribe, onSettled: () => handOver.settled() });
  const committer = new OffsetCommitter({
    environment,
    intervalMs: 250,
    snapshot: (topic, partition) => {
      const offset = member.position(topic, partition)?.settled.position ?? -1;
      return { topic, partition, offset, metadata: "" };
    },
    commit: (offsets) => {
      story.push(`committed ${offsets.map(({ offset }) => offset).join()}`);
      return Promise.resolve();
    },
    onStale: () => undefined,
    onAttempt: () => undefined,
  });
  const handOver = new HandOver({ environment, subscribe, member, committer, waitMs: WAIT_MS });
  member.assign("t", 0, { position: 0, settledAbove: [], postponed: new Map() });
  const bytes = encodeFrame({
    type: 1,
    slot: 0,
    key: "k",
    payload: new Uint8Array(0),
    id: environment.newId(),
    timeMs: 0,
  });
  const receive = (...sequences: readonly number[]): void => {
    member.received(
      "t",
      0,
      sequences.map((sequence) => ({ sequence, bytes })),
    );
  };
  const held = [{ topic: "t", partitions: [0] }];
  return { environment, story, deliveries, member, handOver, receive, held };
}

test("what is in hand may be settled, and then the last commit has it", async () => {
  const { environment, story, deliveries, member, handOver, receive, held } = setUp();
  receive(1, 2);
  await environment.advance(0);
  void handOver.run(held);
  receive(3);
  await environment.advance(1_000);
  expect(deliveries.map(({ sequence }) => sequence)).toEqual([1, 2]);
  expect(story.filter((each) => each.startsWith("revoked"))).toEqual([]);
  for (const delivery of deliveries) expect(member.settle(delivery)).toBe("settled");
  await environment.advance(1_000);
  expect(story.slice(-2)).toEqual(["committed 2", "revoked 0"]);
});

test("what waits for its time is not waited for", async () => {
  const { environment, story, deliveries, member, handOver, receive, held } = setUp();
  receive(1);
  await environment.advance(0);
  const notBeforeMs = environment.nowMs() + 60_000;
  for (const each of deliveries) member.postpone(each, { attempt: 2, notBeforeMs, error: "x" });
  void handOver.run(held);
  await environment.advance(100);
  expect(story.at(-1)).toBe("revoked 0");
});

test("a subscriber that does not let go is waited for only so long", async () => {
  const { environment, story, handOver, receive, held } = setUp(() => new Promise(() => undefined));
  receive(1);
  await environment.advance(0);
  void handOver.run(held);
  await environment.advance(WAIT_MS - 100);
  expect(story).not.toContain("revoked 0");
  await environment.advance(WAIT_MS);
  expect(story.at(-1)).toBe("revoked 0");
});

test("a close ends the waiting at once", async () => {
  const { environment, story, handOver, receive, held } = setUp();
  receive(1);
  await environment.advance(0);
  void handOver.run(held);
  handOver.end();
  await environment.advance(0);
  await environment.advance(0);
  expect(story.at(-1)).toBe("revoked 0");
});
