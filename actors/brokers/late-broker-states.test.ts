/** What a broker that was away says of itself: it is up once everybody is with it. */

import { describe, expect, test } from "bun:test";

import type { SubscribeOptions } from "./broker.ts";

import { ShopError } from "../../runtime/errors.ts";
import { LONG_MS, reading, rig } from "./late-broker.fixture.ts";

describe("a member that could not join and gives up", () => {
  async function outside(more: Partial<SubscribeOptions> = {}) {
    const world = rig();
    const broker = await world.opening();
    const member = await broker.subscribe(reading([], more));
    world.server.admits = Promise.reject(new ShopError("SERVER_UNUSABLE", "gone again", "never"));
    world.server.admits.catch(() => undefined);
    world.server.isThere = true;
    await world.environment.advance(1_000);
    expect(world.states.at(-1)?.detail).toStartWith("g cannot join");
    return { ...world, broker, member };
  }

  test("by itself keeps the broker down no longer", async () => {
    const { member, states } = await outside();
    await member.close(true);
    expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  });

  test("because it is refused keeps the broker down no longer", async () => {
    const { environment, server, states } = await outside();
    server.admits = Promise.reject(new ShopError("BAD_CONFIGURATION", "other types", "never"));
    server.admits.catch(() => undefined);
    await environment.advance(1_000);
    expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  });

  test("leaves down a broker that says so itself, until that is up", async () => {
    const { member, server, states } = await outside();
    server.tells({ isUp: false, detail: "the connection ended" });
    await member.close(true);
    expect(states.at(-1)).toEqual({ isUp: false, detail: "the connection ended" });
    server.tells({ isUp: true, detail: "" });
    expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  });

  test("because its broker is closed tells nothing", async () => {
    const { broker, states } = await outside();
    const told = states.length;
    await broker.close();
    expect(states).toHaveLength(told);
  });
});

test("a broker that is reached is not well before everybody is with it", async () => {
  const { opening, server, environment, states } = rig();
  const broker = await opening();
  await broker.subscribe(reading([]));
  server.admits = Promise.reject(new ShopError("SERVER_UNUSABLE", "gone again", "never"));
  server.admits.catch(() => undefined);
  server.isThere = true;
  await environment.advance(1_000);
  server.tells({ isUp: true, detail: "" });
  expect(states.at(-1)?.isUp).toBe(false);
  server.admits = Promise.resolve();
  await environment.advance(1_000);
  expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  const told = states.length;
  await broker.close();
  expect(states).toHaveLength(told);
});

test("an attempt that failed tells nothing any more", async () => {
  const { opening, server, environment, states } = rig();
  await opening();
  const { tells } = server;
  server.isThere = true;
  await environment.advance(1_000);
  expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  tells({ isUp: false, detail: "long over" });
  expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
});

describe("a broker that is back, and lets its members wait", () => {
  const DOWN = { isUp: false, detail: "g is joining" };
  const UP = { isUp: true, detail: "" };

  async function joining(count: number) {
    const world = rig();
    const broker = await world.opening();
    const members = [];
    for (let at = 0; at < count; at++) members.push(await broker.subscribe(reading([])));
    const admission = Promise.withResolvers<void>();
    world.server.admits = admission.promise;
    world.server.isThere = true;
    return { ...world, admission, members };
  }

  test("is up once all are with it, and not a moment before", async () => {
    const { environment, states, admission } = await joining(2);
    await environment.advance(LONG_MS);
    expect(states.map(({ isUp }) => isUp)).not.toContain(true);
    expect(states.at(-1)).toEqual(DOWN);
    admission.resolve();
    await environment.settle();
    expect(states.slice(-2)).toEqual([DOWN, UP]);
  });

  test("waits for none that has left, before or since", async () => {
    const { environment, states, members } = await joining(3);
    await members[0]?.close(true);
    await environment.advance(LONG_MS);
    await members[1]?.close(true);
    expect(states.at(-1)).toEqual(DOWN);
    await members[2]?.close(true);
    expect(states.at(-1)).toEqual(UP);
  });
});

test("what a broker says that was there at once is passed on", async () => {
  const { opening, server, states } = rig();
  server.isThere = true;
  await opening();
  const said = [
    { isUp: false, detail: "the connection ended" },
    { isUp: true, detail: "" },
  ];
  for (const state of said) server.tells(state);
  expect(states).toEqual(said);
});

describe("an attempt that failed", () => {
  async function failed() {
    const world = rig();
    await world.opening();
    await world.environment.advance(500);
    expect(world.server.askedAtMs).toHaveLength(2);
    return { ...world, tells: world.server.tells };
  }

  test("is not heard once another has come through", async () => {
    const { environment, server, states, tells } = await failed();
    server.isThere = true;
    await environment.advance(1_000);
    tells({ isUp: false, detail: "long over" });
    expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  });

  test("leaves nothing behind of what it said", async () => {
    const { environment, server, states, tells } = await failed();
    tells({ isUp: false, detail: "the connection ended" });
    expect(states.at(-1)?.detail).toContain("nobody answers");
    server.isThere = true;
    await environment.advance(1_000);
    expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  });
});
