/**
 * What the broker tells of partitions that cannot be read. The test is its driver. No I/O.
 */

import { expect, test } from "bun:test";

import type { ConnectionState } from "../broker.ts";
import type { DriverMember, JoinOptions, KafkaDriver } from "./kafka-driver.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { KafkaBroker } from "./kafka-broker.ts";
import { KAFKA_SETTINGS } from "./kafka-options.ts";

function setUp() {
  const environment = createVirtualEnvironment();
  const joined: JoinOptions[] = [];
  const states: ConnectionState[] = [];
  const logged: string[] = [];
  const member: DriverMember = {
    begin: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    commit: () => Promise.resolve(),
    rejoin: () => undefined,
    close: () => Promise.resolve(),
  };
  const driver: Pick<KafkaDriver, "close" | "committed" | "ends" | "join" | "produce"> = {
    join(options) {
      joined.push(options);
      options.onAssigned([]);
      return member;
    },
    ends: () => Promise.resolve(new Map()),
    committed: () => Promise.resolve([]),
    produce: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const broker = new KafkaBroker({
    environment,
    settings: KAFKA_SETTINGS,
    driver: driver as KafkaDriver, // all of it that is used
    topics: ["orders"],
    slots: 4,
    types: { nameOf: () => undefined, numberOf: () => undefined },
    onConnection: (state) => void states.push(state),
    onLog: (level, text) => void logged.push(`${level}: ${text}`),
  });
  const subscribe = async (group: string): Promise<JoinOptions> => {
    const subscribing = broker.subscribe({
      group,
      topics: ["orders"],
      from: "earliest",
      creditFrames: 1,
      creditBytes: 1,
      leaseMs: 60_000,
      onDeliveries: () => undefined,
    });
    await environment.settle();
    await subscribing;
    return joined.at(-1)!; // `!`: it has joined
  };
  return { subscribe, states, logged };
}

test("a partition that cannot be read is logged, and shows until every group can", async () => {
  const { subscribe, states, logged } = setUp();
  const one = await subscribe("one");
  const other = await subscribe("other");
  one.onUnreadable("shopstream.orders/3", "unknown compression 7");
  other.onUnreadable("shopstream.orders/3", "unknown compression 7");
  const text = "kafka: shopstream.orders/3 cannot be read: unknown compression 7";
  expect(logged).toEqual([`warning: ${text}`, `warning: ${text}`]);
  expect(states).toEqual([{ isUp: false, detail: text }]);
  one.onUnreadable("shopstream.orders/3", undefined);
  expect(states).toHaveLength(1);
  other.onUnreadable("shopstream.orders/3", undefined);
  expect(states.slice(1)).toEqual([{ isUp: true, detail: "" }]);
  expect(logged).toHaveLength(2);
});
