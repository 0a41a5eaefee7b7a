/** When rows of topics that nobody carries are counted, and what is told of them. No database. */

import { expect, test } from "bun:test";

import type { OutboxShare, TopicCount } from "./outbox-relay-table.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { StrayWatch } from "./outbox-relay-strays.ts";

function setUp() {
  const asked: OutboxShare[] = [];
  const told: string[] = [];
  const world = { counts: [] as readonly TopicCount[], isDown: false };
  const watch = new StrayWatch({
    table: {
      async countOthers(share) {
        asked.push(share);
        if (world.isDown) throw new ShopError("STORAGE_FAULT", "away", "later");
        return world.counts;
      },
    },
    relayId: "me",
    topics: ["orders"],
    onLog: (level, text) => void told.push(`${level} ${text}`),
  });
  const looks = async (count: number): Promise<void> => {
    for (let look = 0; look < count; look++) await watch.look();
  };
  return { watch, world, asked, told, looks };
}

test("rows are counted at the first look, and seldom while there are none", async () => {
  const { watch, asked, told, looks } = setUp();
  expect(watch.states()).toEqual([]);
  await looks(1);
  expect(asked).toEqual([{ relays: ["me"], topics: ["orders"] }]);
  await looks(44);
  expect(asked).toHaveLength(4);
  expect(told).toEqual([]);
  expect(watch.states()).toMatchObject([{ name: "none", depth: 0, isUp: true }]);
});

test("what is there is told once and shown until it is gone", async () => {
  const { watch, world, asked, told, looks } = setUp();
  world.counts = [
    { topic: "outbox.redis", frames: 3 },
    { topic: "vip", frames: 1 },
  ];
  for (let look = 1; look < 10; look++) {
    // Timers of such a topic fire all the time.
    watch.suspect();
    await looks(1);
  }
  // The first, and every fifth.
  expect(asked).toHaveLength(2);
  const what = "4 frames wait for topics that no setting names: outbox.redis, vip";
  expect(told).toEqual([`warning outbox: ${what}; they stay in the database until one does`]);
  const [state] = watch.states();
  expect(state).toMatchObject({ name: "none", depth: 4, isUp: false });
  expect(state?.detail).toContain(what);
  world.counts = [];
  await looks(1);
  expect(asked).toHaveLength(3);
  expect(told.slice(1)).toEqual(["info outbox: every frame is of a topic in the settings"]);
  expect(watch.states()).toMatchObject([{ depth: 0, isUp: true, detail: "" }]);
});

test("those of others are counted once they are this relay's to publish", async () => {
  const { watch, asked, looks } = setUp();
  await looks(1);
  watch.setAdopted(["dead"]);
  await looks(1);
  expect(asked.at(-1)).toEqual({ relays: ["me", "dead"], topics: ["orders"] });
  expect(asked).toHaveLength(2);
});

test("a count that failed is made again at the next look", async () => {
  const { watch, world, asked, looks } = setUp();
  await looks(1);
  watch.suspect();
  world.isDown = true;
  await expect(watch.look()).rejects.toThrow("away");
  world.isDown = false;
  await looks(2);
  expect(asked).toHaveLength(3);
});
