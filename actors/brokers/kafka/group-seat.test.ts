/**
 * A seat in a group that changes while slots are being taken on: what the group hears of them, and
 * what the subscriber.
 */

import { describe, expect, test } from "bun:test";

import type { Environment } from "../../../runtime/environment.ts";
import type { SubscribeOptions } from "../broker.ts";
import type { DriverMember, JoinOptions, KafkaDriver } from "./kafka-driver.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RemoteMember } from "../remote-member.ts";
import { GroupSeat } from "./group-seat.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";
import { OffsetCommitter } from "./offset-committer.ts";
import { decodeWish } from "./slot-assigner.ts";

const OPTIONS = {
  group: "g",
  topics: ["t"],
  from: "earliest",
  creditFrames: 1,
  creditBytes: 1,
  leaseMs: 60_000,
} as const;

function setUp(more: Partial<SubscribeOptions> = {}) {
  const environment = createVirtualEnvironment();
  const calls: string[] = [];
  const claiming = Promise.withResolvers<void>();
  let joined: JoinOptions | undefined;
  const connection: DriverMember = {
    begin: (topic, partition) => void calls.push(`begin ${topic}/${partition}`),
    pause: () => undefined,
    resume: () => undefined,
    commit: async () => undefined,
    rejoin: () => void calls.push(`rejoin with ${wish().owned.join()}`),
    close: async () => undefined,
  };
  const driver: Pick<KafkaDriver, "join" | "ends" | "committed"> = {
    join(options) {
      joined = options;
      return connection;
    },
    ends: async () => new Map(),
    committed: async () => [],
  };
  const wish = () => decodeWish(joined?.userData() ?? new Uint8Array());
  const subscribe: SubscribeOptions = {
    ...OPTIONS,
    onDeliveries: () => undefined,
    async onAssigned(topic, partitions) {
      calls.push(`claim ${topic}/${partitions.join()}`);
      await claiming.promise;
    },
    onRevoking: async (topic, partitions) => {
      calls.push(`release ${topic}/${partitions.join()}`);
      return true;
    },
    onRevoked: (topic, partitions) => void calls.push(`revoked ${topic}/${partitions.join()}`),
    ...more,
  };
  const member = new RemoteMember({ environment, subscribe });
  const seat = new GroupSeat({
    site: {
      environment,
      settings: { ...KAFKA_SETTINGS, topicPrefix: "" },
      // The seat asks it for nothing else.
      driver: driver as KafkaDriver,
      letters: { origins: async () => ({ origins: [], through: 0 }), put: async () => undefined },
      slots: 4,
      numberOf: () => undefined,
      onLog: (_, text) => void calls.push(text),
      onAttempt: () => undefined,
      onUnreadable: () => undefined,
    },
    subscribe,
    member,
    committer: idleCommitter(environment),
    onBegin: () => undefined,
    onRecords: () => undefined,
    onFailure: () => undefined,
  });
  async function assign(topics: Readonly<Record<string, readonly number[]>>): Promise<void> {
    joined?.onAssigned(
      Object.entries(topics).map(([topic, partitions]) => ({ topic, partitions: [...partitions] })),
    );
    await environment.settle();
  }
  return {
    environment,
    calls,
    claiming,
    member,
    seat,
    async open() {
      const taken = seat.take();
      taken.catch(() => undefined);
      await environment.settle();
    },
    assign,
    settle: () => environment.settle(),
  };
}

function idleCommitter(environment: Environment): OffsetCommitter {
  return new OffsetCommitter({
    environment,
    intervalMs: 10,
    snapshot: () => undefined,
    commit: async () => undefined,
    onStale: () => undefined,
    onAttempt: () => undefined,
  });
}

describe("slots that go elsewhere while the subscriber claims them", () => {
  test("are released before the group may give them to another", async () => {
    const rig = setUp();
    await rig.open();
    await rig.assign({ t: [0, 1] });
    await rig.assign({ t: [0] });
    expect(rig.calls).toEqual(["claim t/0,1"]);
    rig.claiming.resolve();
    await rig.settle();
    const released = rig.calls.indexOf("release t/0,1");
    const rejoined = rig.calls.indexOf("rejoin with 0");
    expect(released).toBeGreaterThan(0);
    expect(rejoined).toBeGreaterThan(released);
  });

  test("begin where they stay", async () => {
    const rig = setUp();
    await rig.open();
    await rig.assign({ t: [0, 1] });
    await rig.assign({ t: [0] });
    rig.claiming.resolve();
    await rig.settle();
    expect(rig.calls.filter((call) => call.startsWith("begin"))).toEqual(["begin t/0"]);
  });
});

test("a lease that ends while its slot is handed over takes nothing of the next one", async () => {
  const rig = setUp({ topics: ["t", "u"], onRevoking: () => new Promise(() => undefined) });
  rig.claiming.resolve();
  await rig.open();
  await rig.assign({ t: [0], u: [0] });
  await rig.assign({ t: [], u: [] });
  await rig.environment.advance(KAFKA_SETTINGS.rebalanceMs / 2);
  rig.member.revoke("t", [0]);
  rig.seat.giveAway("t", 0);
  // The time to hand it over is up, and the group gives it to the same member again.
  await rig.environment.advance(KAFKA_SETTINGS.rebalanceMs / 2);
  await rig.assign({ t: [0], u: [0] });
  await rig.environment.advance(KAFKA_SETTINGS.rebalanceMs);
  expect(rig.member.isAssigned("t", 0)).toBe(true);
  expect(rig.member.isAssigned("u", 0)).toBe(true);
});

test("slots that are never let go of hold nothing up once their time is over", async () => {
  const claiming = Promise.withResolvers<void>();
  const rig = setUp({
    topics: ["t", "u"],
    onAssigned: (topic) => (topic === "t" ? Promise.resolve() : claiming.promise),
    onRevoking: () => new Promise(() => undefined),
  });
  await rig.open();
  await rig.assign({ t: [0], u: [0] });
  await rig.assign({ t: [1], u: [1] });
  claiming.resolve();
  await rig.environment.advance(KAFKA_SETTINGS.rebalanceMs - 1);
  expect(rig.calls).toEqual([]);
  await rig.environment.advance(1);
  const begun = ["begin t/1", "begin u/1"];
  expect(rig.calls).toEqual(["revoked t/0", "revoked u/0", "rejoin with 1", ...begun]);
});
