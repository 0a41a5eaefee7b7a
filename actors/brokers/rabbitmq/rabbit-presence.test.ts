/**
 * When a member may take it that it knows all members: not before those who live have been heard.
 *
 * The server is a fake that takes what is said; time is virtual.
 */

import { expect, test } from "bun:test";

import type { Channel, ChannelModel } from "amqplib";

import type { Beat } from "./membership.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { RabbitPresence } from "./rabbit-presence.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

const MODEL = {} as ChannelModel; // handed on to the link

function setUp() {
  const environment = createVirtualEnvironment();
  const server = { isBlocked: false, isUp: true };
  const changes: boolean[] = [];
  const nothing = { shunned: {}, held: {}, roster: 0, isSettled: true };
  const beat: Beat = { kind: "beat", id: "me", topics: ["t"], ...nothing };
  const presence: RabbitPresence = new RabbitPresence({
    environment,
    publisher: {
      get isBlocked() {
        return server.isBlocked;
      },
      get isUp() {
        return server.isUp;
      },
      say: () => undefined,
      ask: () => undefined,
      onUnroutable: () => () => undefined,
    },
    names: new RabbitNames(RABBIT_SETTINGS),
    group: "g",
    id: "me",
    memberTimeoutMs: 10_000,
    beat: () => beat,
    onChange: () => void changes.push(presence.knowsAll),
  });
  const channel = {
    assertQueue: async (queue: string) => ({ queue }),
    bindQueue: async () => undefined,
    consume: async () => undefined,
  };
  const attach = async (): Promise<void> => {
    const link = { channel: async () => channel as unknown as Channel }; // it has what is called
    await presence.attach(MODEL, link, () => undefined);
  };
  return { environment, presence, server, changes, attach };
}

test("a member knows all once it has listened for longer than any silence of theirs", async () => {
  const { environment, presence, changes, attach } = setUp();
  await attach();
  await environment.advance(2_500);
  expect([presence.knowsAll, changes]).toEqual([false, []]);
  await environment.advance(500);
  // It is told of that, and once.
  expect([presence.knowsAll, changes]).toEqual([true, [true]]);
  await environment.advance(5_000);
  expect(changes).toEqual([true]);
  presence.close();
});

test("a member knows nobody again on a new connection", async () => {
  const { environment, presence, attach } = setUp();
  await attach();
  await environment.advance(10_000);
  await attach();
  expect(presence.knowsAll).toBe(false);
  await environment.advance(2_500);
  expect(presence.knowsAll).toBe(false);
  await environment.advance(500);
  expect(presence.knowsAll).toBe(true);
  presence.close();
});

test.each(["isBlocked", "isUp"] as const)("nobody is heard while %s says so", async (what) => {
  const { environment, presence, server, attach } = setUp();
  await attach();
  await environment.advance(3_000);
  server[what] = !server[what];
  await environment.advance(6_000);
  expect(presence.knowsAll).toBe(false);
  server[what] = !server[what];
  await environment.advance(2_000);
  expect(presence.knowsAll).toBe(false);
  await environment.advance(1_000);
  expect(presence.knowsAll).toBe(true);
  presence.close();
});
