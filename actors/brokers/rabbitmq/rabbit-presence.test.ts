/**
 * When a member may join, and when it may take it that it knows all: not before others hear it, and
 * not before those who live have been heard.
 *
 * The server is a fake that passes on what is said to whoever has a queue; time is virtual.
 */

import { expect, test } from "bun:test";

import type { Channel, ChannelModel } from "amqplib";

import type { VirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import type { Beat } from "./membership.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { RabbitPresence } from "./rabbit-presence.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

const MODEL = {} as ChannelModel; // handed on to the link
const TIMEOUT_MS = 10_000;

/** Passes what is said on to every queue, in its order, unless it is told to keep it. */
class FakeExchange {
  readonly environment: VirtualEnvironment = createVirtualEnvironment();
  readonly queues = new Map<string, (content: Buffer | null) => void>();
  keeps = false;
  #kept: string[] = [];

  say(text: string): void {
    this.#kept.push(text);
    this.environment.defer(() => {
      if (!this.keeps) this.pass();
    });
  }

  /** What it kept, or the first so many of that. */
  pass(count?: number): void {
    for (const text of this.#kept.splice(0, count ?? this.#kept.length)) {
      for (const take of this.queues.values()) take(Buffer.from(text));
    }
  }
}

/** Through what a member publishes. */
class FakePublisher {
  isBlocked = false;
  isUp = true;
  /** Queues that were looked for. */
  readonly asked: string[] = [];
  readonly #exchange: FakeExchange;

  constructor(exchange: FakeExchange) {
    this.#exchange = exchange;
  }

  say(_exchange: string, text: string): void {
    if (this.isUp && !this.isBlocked) this.#exchange.say(text);
  }

  ask(queue: string): void {
    this.asked.push(queue);
  }

  onUnroutable(): () => void {
    return () => undefined;
  }
}

function createMember(exchange = new FakeExchange(), id = "me") {
  const { environment } = exchange;
  const publisher = new FakePublisher(exchange);
  const changes: boolean[] = [];
  const state = { isJoined: false, losses: 0 };
  const presence: RabbitPresence = new RabbitPresence({
    environment,
    publisher,
    names: new RabbitNames(RABBIT_SETTINGS),
    group: "g",
    id,
    memberTimeoutMs: TIMEOUT_MS,
    joinWindowMs: 250,
    beat: (): Beat => {
      const nothing = { shunned: {}, roster: 0, isSettled: true };
      const held: Beat["held"] = state.isJoined ? { t: [1] } : {};
      return { kind: "beat", id, topics: ["t"], held, ...nothing };
    },
    onChange: () => void changes.push(presence.knowsAll),
  });
  const channel = {
    assertQueue: async (queue: string) => ({ queue }),
    bindQueue: async () => undefined,
    consume: async (queue: string, take: (message: { content: Buffer } | null) => void) => {
      exchange.queues.set(queue, (content) => take(content === null ? null : { content }));
    },
  };
  const attach = async (): Promise<void> => {
    state.isJoined = false;
    const link = { channel: async () => channel as unknown as Channel }; // it has what is called
    const onJoined = (): void => void (state.isJoined = true);
    await presence.attach(MODEL, link, () => void state.losses++, onJoined);
  };
  return { environment, presence, publisher, changes, state, attach };
}

test("a member knows all once it has listened for longer than any silence of theirs", async () => {
  const { environment, presence, changes, attach } = createMember();
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
  const { environment, presence, attach } = createMember();
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
  const { environment, presence, publisher, attach } = createMember();
  await attach();
  await environment.advance(3_000);
  publisher[what] = !publisher[what];
  await environment.advance(6_000);
  expect(presence.knowsAll).toBe(false);
  publisher[what] = !publisher[what];
  await environment.advance(2_000);
  expect(presence.knowsAll).toBe(false);
  await environment.advance(1_000);
  expect(presence.knowsAll).toBe(true);
  presence.close();
});

test("a member that others cannot hear does not join before they do", async () => {
  const exchange = new FakeExchange();
  const { environment } = exchange;
  const [mute, other] = [createMember(exchange, "a"), createMember(exchange, "b")];
  mute.publisher.isUp = false;
  await Promise.all([mute.attach(), other.attach()]);
  await environment.advance(4_500);
  // The other takes what nobody has, and the mute one must not have anything.
  expect([other.state.isJoined, other.presence.knowsAll]).toEqual([true, true]);
  expect([mute.state.isJoined, other.presence.membership.others]).toEqual([false, []]);
  mute.publisher.isUp = true;
  // To nothing but its hello everybody answers.
  mute.presence.tell();
  await environment.advance(500);
  expect(other.presence.membership.others.map(({ id }) => id)).toEqual(["a"]);
  expect(mute.state.isJoined).toBe(false);
  await environment.advance(250);
  // It was answered before it joined.
  expect(mute.presence.membership.others.map(({ held }) => held)).toEqual([{ t: [1] }]);
  expect(mute.state.isJoined).toBe(true);
  mute.presence.close();
  other.presence.close();
});

test("a member joins once its hello comes back: what is on its way nobody has heard", async () => {
  const exchange = new FakeExchange();
  const { environment, presence, state, attach } = createMember(exchange);
  exchange.keeps = true;
  await attach();
  await environment.advance(900);
  expect(state.isJoined).toBe(false);
  exchange.keeps = false;
  exchange.pass();
  await environment.advance(249);
  expect(state.isJoined).toBe(false);
  await environment.advance(1);
  expect(state.isJoined).toBe(true);
  presence.close();
});

test("a full server takes nothing of anybody, and is relieved by those who join", async () => {
  const { environment, presence, publisher, state, attach } = createMember();
  publisher.isBlocked = true;
  await attach();
  await environment.advance(1_000);
  expect(state.isJoined).toBe(false);
  await environment.advance(250);
  expect([state.isJoined, presence.knowsAll]).toEqual([true, false]);
  presence.close();
});

test("a connection that goes is not joined on", async () => {
  const { environment, presence, state, attach } = createMember();
  await attach();
  await environment.advance(100);
  presence.detach();
  await environment.advance(2_000);
  expect(state.isJoined).toBe(false);
  await attach();
  await environment.advance(250);
  expect(state.isJoined).toBe(true);
  presence.close();
});

test("what a member has not read yet counts neither as silence nor as listened to", async () => {
  const exchange = new FakeExchange();
  const { environment } = exchange;
  const [slow, other] = [createMember(exchange, "a"), createMember(exchange, "b")];
  await slow.attach();
  await environment.advance(1_500);
  exchange.keeps = true;
  await other.attach();
  await environment.advance(2 * TIMEOUT_MS);
  // The hello of the other, and what it said itself after that.
  exchange.pass(2);
  expect(slow.presence.knowsAll).toBe(false);
  exchange.pass();
  expect(slow.presence.knowsAll).toBe(true);
  expect(slow.presence.membership.others.map(({ id }) => id)).toEqual(["b"]);
  await environment.advance(2 * TIMEOUT_MS);
  exchange.pass(1);
  expect(slow.publisher.asked).toEqual([]);
  expect(slow.presence.membership.others).toHaveLength(1);
  slow.presence.close();
  other.presence.close();
});

test("a member that does not hear itself any more wants a new connection, and once", async () => {
  const exchange = new FakeExchange();
  const { environment, publisher, presence, state, attach } = createMember(exchange);
  await attach();
  await environment.advance(5_000);
  // As of an exchange that somebody deleted and another made anew.
  exchange.queues.clear();
  await environment.advance(TIMEOUT_MS - 1_000);
  // It could not be heard for another reason.
  publisher.isUp = false;
  await environment.advance(2_000);
  publisher.isUp = true;
  await environment.advance(TIMEOUT_MS);
  expect(state.losses).toBe(0);
  await environment.advance(1_000);
  expect(state.losses).toBe(1);
  await environment.advance(3 * TIMEOUT_MS);
  expect(state.losses).toBe(1);
  exchange.keeps = true;
  await attach();
  await environment.advance(TIMEOUT_MS);
  exchange.keeps = false;
  exchange.pass();
  await environment.advance(3 * TIMEOUT_MS);
  expect([state.losses, state.isJoined, presence.knowsAll]).toEqual([1, true, true]);
  presence.close();
});

test("so does one whose hello never came back", async () => {
  const exchange = new FakeExchange();
  const { environment, presence, state, attach } = createMember(exchange);
  await attach();
  exchange.queues.clear();
  await environment.advance(2 * TIMEOUT_MS);
  expect([state.losses, state.isJoined]).toEqual([1, false]);
  presence.close();
});

test("so does one whose queue the server ended, at once", async () => {
  const exchange = new FakeExchange();
  const { environment, presence, state, attach } = createMember(exchange);
  await attach();
  await environment.advance(1_000);
  for (const take of exchange.queues.values()) take(null);
  expect(state.losses).toBe(1);
  presence.close();
});
