/**
 * A broker that is not there yet takes nothing and gives nothing, and is like any other once it is.
 *
 * What it says of itself meanwhile is tested beside this.
 */

import { expect, test } from "bun:test";

import type { Delivery } from "./broker.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { LONG_MS, outgoing, reading, rig, TOPIC } from "./late-broker.fixture.ts";
import { isAway, openOrAwait } from "./late-broker.ts";
import { MEMORY_CAPABILITIES } from "./memory-broker.ts";

test("a broker that is there is handed out itself", async () => {
  const { opening, server, states, environment } = rig();
  server.isThere = true;
  const broker = await opening();
  expect(isAway(broker)).toBe(false);
  await broker.publish([outgoing(1)]);
  expect(environment.pendingTimers()).toBe(0);
  expect(states).toEqual([]);
});

test("what is a bug and no refusal is not waited out", async () => {
  const environment = createVirtualEnvironment();
  const opening = openOrAwait({
    name: "redis",
    capabilities: MEMORY_CAPABILITIES,
    environment,
    open: () => Promise.reject(new TypeError("a bug")),
    onConnection: () => undefined,
  });
  expect(opening).rejects.toThrow("a bug");
});

test("while it is away nothing is stored or given, and then everything is", async () => {
  const { opening, server, states, environment, inner } = rig();
  const broker = await opening();
  expect(isAway(broker)).toBe(true);
  expect(states).toEqual([{ isUp: false, detail: expect.stringContaining("nobody answers") }]);
  expect(broker.publish([outgoing(1)])).rejects.toMatchObject({
    code: "STORAGE_FAULT",
    message: expect.stringContaining("redis is away"),
    retry: "later",
  });
  expect(broker.deadLetters(TOPIC, 0, 10)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
  const got: Delivery[] = [];
  const member = await broker.subscribe(reading(got));
  let standings: unknown;
  await member.standing((seen) => void (standings = seen));
  expect(standings).toEqual([]);
  await inner.publish([outgoing(2)]);
  await environment.advance(LONG_MS);
  expect(got).toEqual([]);

  server.isThere = true;
  await environment.advance(LONG_MS);
  expect(isAway(broker)).toBe(false);
  expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  expect(got).toHaveLength(1);
  const settling = member.ack(got);
  const looking = member.standing((seen) => void (standings = seen));
  await environment.settle();
  expect(await settling).toEqual(["settled"]);
  await looking;
  expect(standings).toMatchObject([{ topic: TOPIC, acked: 1 }]);
  await broker.publish([outgoing(3)]);
  const later: Delivery[] = [];
  await broker.subscribe(reading(later, { group: "other" }));
  await environment.settle();
  expect(got).toHaveLength(2);
  expect(later).toHaveLength(2);
});

test("it is asked for ever more seldom, and never less than every ten seconds", async () => {
  const { opening, server, environment } = rig();
  await opening();
  await environment.advance(10 * LONG_MS);
  const gaps = server.askedAtMs.slice(1).map((atMs, at) => atMs - (server.askedAtMs[at] ?? 0));
  expect(gaps.slice(0, 6)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000]);
  expect(new Set(gaps.slice(5))).toEqual(new Set([10_000]));
});

test("a member that paused before it could join is given nothing until it goes on", async () => {
  const { opening, server, environment, inner } = rig();
  const broker = await opening();
  const got: Delivery[] = [];
  const member = await broker.subscribe(reading(got));
  member.pause();
  await inner.publish([outgoing(1)]);
  server.isThere = true;
  await environment.advance(LONG_MS);
  await inner.publish([outgoing(2)]);
  await environment.settle();
  const early = got.length;
  member.resume();
  await environment.settle();
  expect(early).toBeLessThan(2);
  expect(got).toHaveLength(2);
});

test("a member that left before never joins, and has nothing to settle", async () => {
  const { opening, server, environment, inner } = rig();
  const broker = await opening();
  const got: Delivery[] = [];
  const member = await broker.subscribe(reading(got));
  const settling = member.ack([{ group: "g", topic: TOPIC, partition: 0, sequence: 1, epoch: 1 }]);
  await Promise.all([
    member.close(false),
    expect(settling).rejects.toMatchObject({ code: "CLOSED" }),
  ]);
  expect(member.standing(() => undefined)).rejects.toMatchObject({ code: "CLOSED" });
  server.isThere = true;
  await inner.publish([outgoing(1)]);
  await environment.advance(LONG_MS);
  expect(isAway(broker)).toBe(false);
  expect(got).toEqual([]);
});

test("a membership that is refused once the broker is there is told to its owner", async () => {
  const { opening, server, environment } = rig();
  const broker = await opening();
  const failures: unknown[] = [];
  const onFailure = (error: unknown): void => void failures.push(error);
  await broker.subscribe(reading([], { topics: ["nowhere"], onFailure }));
  server.isThere = true;
  await environment.advance(LONG_MS);
  expect(failures).toEqual([expect.objectContaining({ code: "UNKNOWN_TOPIC" })]);
});

test("a member leaves at once while its broker lets it wait, and what comes late", async () => {
  const { opening, server, environment, inner } = rig();
  const broker = await opening();
  const got: Delivery[] = [];
  const member = await broker.subscribe(reading(got));
  const admission = Promise.withResolvers<void>();
  server.admits = admission.promise;
  server.isThere = true;
  await environment.advance(LONG_MS);
  const settling = member.ack([]);
  await Promise.all([
    member.close(true),
    expect(settling).rejects.toMatchObject({ code: "CLOSED" }),
  ]);
  admission.resolve();
  await environment.settle();
  await inner.publish([outgoing(1)]);
  await environment.advance(LONG_MS);
  expect(got).toEqual([]);
});

test("a broker that goes away again before the member could join is joined later", async () => {
  const { opening, server, environment, inner, states } = rig();
  const broker = await opening();
  const got: Delivery[] = [];
  const failures: unknown[] = [];
  const onFailure = (error: unknown): void => void failures.push(error);
  await broker.subscribe(reading(got, { onFailure }));
  server.admits = Promise.reject(new ShopError("SERVER_UNUSABLE", "gone again", "never"));
  server.admits.catch(() => undefined);
  server.isThere = true;
  await environment.advance(LONG_MS);
  await inner.publish([outgoing(1)]);
  expect(got).toEqual([]);
  expect(states.at(-1)).toEqual({
    isUp: false,
    detail: expect.stringMatching(/^g cannot join: .*gone again/),
  });
  server.admits = Promise.resolve();
  await environment.advance(LONG_MS);
  expect(got).toHaveLength(1);
  expect(states.at(-1)).toEqual({ isUp: true, detail: "" });
  expect(failures).toEqual([]);
  await broker.close();
  expect(environment.pendingTimers()).toBe(0);
});

test("a member that waits to join again is forgotten with its broker", async () => {
  const { opening, server, environment } = rig();
  const broker = await opening();
  await broker.subscribe(reading([]));
  server.admits = Promise.reject(new ShopError("SERVER_UNUSABLE", "gone again", "never"));
  server.admits.catch(() => undefined);
  server.isThere = true;
  await environment.advance(LONG_MS);
  await broker.close();
  expect(environment.pendingTimers()).toBe(0);
});

test("a broker that is closed while away is not asked for again, and takes nothing", async () => {
  const { opening, server, environment } = rig();
  const broker = await opening();
  const member = await broker.subscribe(reading([]));
  await broker.close();
  const asked = server.askedAtMs.length;
  await environment.advance(LONG_MS);
  expect(server.askedAtMs).toHaveLength(asked);
  expect(environment.pendingTimers()).toBe(0);
  expect(broker.publish([outgoing(1)])).rejects.toMatchObject({ code: "CLOSED" });
  expect(broker.subscribe(reading([]))).rejects.toMatchObject({ code: "CLOSED" });
  expect(member.standing(() => undefined)).rejects.toMatchObject({ code: "CLOSED" });
});

test("one that comes back just as it is closed is closed as well", async () => {
  const { opening, server, environment } = rig();
  const broker = await opening();
  const answer = Promise.withResolvers<void>();
  server.answers = answer.promise;
  server.isThere = true;
  await environment.advance(1_000);
  await broker.close();
  answer.resolve();
  await environment.settle();
  expect(server.closed).toBe(1);
  expect(isAway(broker)).toBe(true);
});
