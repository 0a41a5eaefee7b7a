/** In which order slots are taken and given back. The rows answer when they are told to. */

import { describe, expect, test } from "bun:test";

import type { ShardLease } from "./shard-lease.ts";
import type { SlotRows } from "./slot-fences-rows.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { createSlotFences } from "./slot-fences.ts";

function setUp() {
  const calls: string[] = [];
  const claiming = Promise.withResolvers<readonly string[]>();
  const rows: SlotRows = {
    async claim(_relayId, group, slots) {
      calls.push(`claim ${group} ${slots.join()}`);
      return await claiming.promise;
    },
    async release(_relayId, group, slots) {
      calls.push(`release ${group} ${slots.join()}`);
    },
    lastOutgoing: async () => 0,
    hasOutgoing: async () => false,
  };
  const lease: ShardLease = {
    relayId: "me",
    fence: async () => undefined,
    beat: async () => undefined,
    close: async () => undefined,
  };
  const environment = createVirtualEnvironment();
  return {
    calls,
    claiming,
    environment,
    fences: createSlotFences({ environment, rows, lease, topics: ["orders"] }),
  };
}

describe("a release", () => {
  test("waits for what its group is taking, so that nothing is taken after it", async () => {
    const { fences, calls, claiming, environment } = setUp();
    const claimed = fences.claim("order", [1]);
    const released = fences.release("order", [1]);
    await environment.settle();
    expect(calls).toEqual(["claim order 1"]);
    claiming.resolve([]);
    await Promise.all([claimed, released]);
    expect(calls).toEqual(["claim order 1", "release order 1"]);
  });

  test("goes on when that fails, and waits for no other group", async () => {
    const { fences, calls, claiming, environment } = setUp();
    const claimed = fences.claim("order", [1]);
    await fences.release("payment", [1]);
    expect(calls).toEqual(["claim order 1", "release payment 1"]);
    const released = fences.release("order", [1]);
    claiming.reject(new Error("refused"));
    await expect(claimed).rejects.toThrow("refused");
    await released;
    await environment.settle();
    expect(calls.at(-1)).toBe("release order 1");
  });
});
