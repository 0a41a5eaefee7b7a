/**
 * Conformance: members of a group in processes of their own, which are killed, frozen and stopped
 * in good order (B16, B17, B26, B31).
 *
 * What they did is judged by what they told: each frame of a key in order and by one member at a
 * time, nothing acknowledged comes again, and whoever slept through its session settles nothing.
 */

import { expect } from "bun:test";

import type { MemberEvent, MemberProcess, MemberSetup } from "../testing/member-process.fixture.ts";
import type { Bench, BrokerCase } from "./broker-bench.suite.ts";

import { assert } from "../../runtime/errors.ts";
import { idsOf, sorted } from "./broker-bench.suite.ts";

const PARTITIONS = 16;
const KEYS = Array.from({ length: 32 }, (_, index) => `key-${index}`);
const FRAMES_PER_KEY = 200;
/** What happens to the crew, one after the other, under load. */
const NEMESIS = ["join", "kill", "join", "terminate", "join", "kill"] as const;

export const REMOTE_MEMBER_CASES: readonly BrokerCase[] = [
  {
    name: "B16: of a killed process, exactly what it had not acknowledged comes back",
    needs: ["memberProcess"],
    run: killedMember,
  },
  {
    name: "B17: a process that slept through its session settles nothing when it wakes",
    needs: ["memberProcess"],
    run: sleeper,
  },
  {
    name: "B26: while members come, go and are killed, each key is in order and with one of them",
    needs: ["memberProcess"],
    run: crew,
  },
  {
    name: "B31: told to end, a process settles what it has begun, gives back the rest and exits 0",
    needs: ["memberProcess"],
    run: terminated,
  },
];

async function killedMember(bench: Bench): Promise<void> {
  await bench.start();
  const dying = await join(bench, { work: "hold", creditFrames: 50 });
  const ids = idsOf(1, 50);
  await bench.publish(ids);
  await bench.eventually("it has all", () => deliveredBy(dying).length >= 50);
  const acked = deliveredBy(dying).filter((_, index) => index % 2 === 0);
  dying.ack(acked);
  await bench.eventually("its acknowledgements are stored", () => {
    return dying.events.filter(({ type }) => type === "settled").length >= acked.length;
  });
  expect(sorted(settledBy(dying))).toEqual(sorted(acked));
  await dying.kill();
  const heir = await bench.probe({ acks: true });
  const rest = ids.filter((id) => !acked.includes(id));
  await bench.eventually("the rest came back", () => rest.every((id) => heir.ids().includes(id)));
  await bench.publish(["marker"]);
  await bench.eventually("the marker came", () => heir.ids().includes("marker"));
  expect(sorted(heir.ids())).toEqual(sorted([...rest, "marker"]));
}

async function sleeper(bench: Bench): Promise<void> {
  await bench.start();
  const ids = idsOf(1, 20);
  const asleep = await join(bench, { work: "hold", creditFrames: 50 });
  await bench.publish(ids);
  await bench.eventually("it has all", () => deliveredBy(asleep).length >= 20);
  asleep.freeze();
  const awake = await bench.probe();
  await bench.eventually("another has all", () => new Set(awake.ids()).size >= 20);
  const [taken, left] = [ids.slice(0, 15), ids.slice(15)];
  expect(await awake.ack(...taken)).toEqual(taken.map(() => "settled"));
  asleep.thaw();
  asleep.ack(ids);
  await bench.eventually("it was answered", () => {
    return asleep.events.filter(({ type }) => type === "settled").length >= 20;
  });
  expect(settledBy(asleep)).toEqual([]);
  await asleep.kill();
  await bench.within(awake.subscription.close(false));
  const last = await bench.probe({ acks: true });
  await bench.eventually("what is left came", () => left.every((id) => last.ids().includes(id)));
  await bench.publish(["marker"]);
  await bench.eventually("the marker came", () => last.ids().includes("marker"));
  expect(sorted(last.ids())).toEqual(sorted([...left, "marker"]));
}

async function terminated(bench: Bench): Promise<void> {
  await bench.start();
  // More than it can do before it is told, however late that is: each key takes nine seconds.
  const ofKey = (key: number): string[] => idsOf(key, 30);
  const ids = Array.from({ length: 10 }, (_, key) => ofKey(key)).flat();
  for (const key of Array(10).keys()) await bench.publish(ofKey(key), { key: `key-${key}` });
  const ending = await join(bench, { work: "handle", handleMs: 300, creditFrames: 100 });
  await bench.eventually("some are being handled", () => deliveredBy(ending).length >= 10);
  await bench.eventually("some are settled", () => settledBy(ending).length >= 10);
  expect(await bench.within(ending.terminate())).toBe(0);
  const begun = deliveredBy(ending);
  expect(begun.length).toBeLessThan(ids.length);
  expect(sorted(settledBy(ending))).toEqual(sorted(begun));
  await bench.publish(["marker"]);
  const heir = await bench.probe({ acks: true });
  const rest = ids.filter((id) => !begun.includes(id));
  const expected = [...rest, "marker"];
  await bench.eventually("the rest came", () => expected.every((id) => heir.ids().includes(id)));
  expect(sorted(heir.ids())).toEqual(sorted(expected));
}

async function crew(bench: Bench): Promise<void> {
  await bench.start({ partitions: PARTITIONS });
  const setup = { work: "handle", handleMs: 15, creditFrames: 200 } as const;
  const all: MemberProcess[] = [];
  const living = (): MemberProcess[] => all.filter((member) => member.goneAtMs() === undefined);
  for (let count = 0; count < 3; count++) all.push(await join(bench, setup));
  await bench.eventually("each partition has one owner", () => isShared(living()));

  const publishing = Promise.all(KEYS.map((key) => publishKey(bench, key)));
  publishing.catch(() => undefined); // when the case fails before it waits for them
  const handled = (): number => {
    return all.reduce((sum, { events }) => sum + events.filter(isHandled).length, 0);
  };
  for (const [step, act] of NEMESIS.entries()) {
    const enough = ((step + 1) * KEYS.length * FRAMES_PER_KEY) / (NEMESIS.length + 3);
    await bench.eventually("the crew has got further", () => handled() >= enough);
    const [first] = living();
    assert(first !== undefined, "somebody is left");
    if (act === "join") all.push(await join(bench, setup));
    else if (act === "kill") await first.kill();
    else expect(await bench.within(first.terminate())).toBe(0);
    await bench.eventually(`each partition has one owner after a ${act}`, () => {
      return isShared(living());
    });
  }
  await bench.within(publishing);
  bench.delivered.length = 0;
  await bench.eventually("everything confirmed was delivered", () => {
    return new Set(all.flatMap(deliveredBy)).size >= bench.acked.length;
  });
  bench.delivered.push(...all.flatMap(deliveredBy));
  bench.expectValid();
  expect(all.flatMap(({ events }) => events).filter(({ type }) => type === "failed")).toEqual([]);
  expect(disorders(all)).toEqual([]);
  expect(overlaps(all)).toEqual([]);
}

async function publishKey(bench: Bench, key: string): Promise<void> {
  for (const id of idsOf(key, FRAMES_PER_KEY)) {
    await bench.sendUntilConfirmed(id, bench.frame(id, { key }));
  }
}

async function join(bench: Bench, setup: Omit<MemberSetup, "group">): Promise<MemberProcess> {
  const { memberProcess } = bench.hooks;
  assert(memberProcess !== undefined, "the case needs `memberProcess` and does not say so");
  return await bench.within(memberProcess({ group: "g", ...setup }));
}

/** Every partition is held, each by one. */
function isShared(members: readonly MemberProcess[]): boolean {
  const held = members.flatMap((member) => member.held());
  return held.length === PARTITIONS && new Set(held).size === PARTITIONS;
}

function isHandled(event: MemberEvent): boolean {
  return event.type === "handled";
}

function deliveredBy({ events }: MemberProcess): string[] {
  return events.flatMap((event) => (event.type === "delivered" ? [event.id] : []));
}

function settledBy({ events }: MemberProcess): string[] {
  return events.flatMap((event) => {
    return event.type === "settled" && event.result === "settled" ? [event.id] : [];
  });
}

/** One handling of a frame by one member, as far as it had an effect. */
interface Handling {
  readonly member: string;
  readonly id: string;
  readonly key: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Frames whose first delivery was before the first delivery of the one before them. */
function disorders(members: readonly MemberProcess[]): string[] {
  const firstMs = new Map<string, number>();
  for (const event of members.flatMap(({ events }) => events)) {
    if (event.type !== "delivered") continue;
    firstMs.set(event.id, Math.min(event.atMs, firstMs.get(event.id) ?? Number.MAX_VALUE));
  }
  return KEYS.flatMap((key) => {
    const ids = idsOf(key, FRAMES_PER_KEY);
    return ids.filter((id, index) => {
      const before = ids[index - 1];
      return before !== undefined && (firstMs.get(id) ?? 0) < (firstMs.get(before) ?? 0);
    });
  });
}

/** Pairs of handlings of one key by two members at the same time. */
function overlaps(members: readonly MemberProcess[]): string[] {
  const byKey = Map.groupBy(members.flatMap(handlingsOf), ({ key }) => key);
  return [...byKey.values()].flatMap((handlings) => {
    const inTime = handlings.toSorted((one, other) => one.fromMs - other.fromMs);
    return inTime.flatMap((one, index) => {
      return inTime
        .slice(index + 1)
        .filter((other) => other.fromMs < one.toMs && other.member !== one.member)
        .map((other) => `${one.id} by ${one.member} and ${other.id} by ${other.member}`);
    });
  });
}

/** Of a member that was killed, the last handlings ended with it; a refused one had no effect. */
function handlingsOf({ name, events, goneAtMs }: MemberProcess): Handling[] {
  const handlings: Handling[] = [];
  const begun = new Map<string, { readonly key: string; readonly fromMs: number }>();
  const ended = new Map<string, number>();
  for (const event of events) {
    if (event.type === "delivered") begun.set(event.id, { key: event.key, fromMs: event.atMs });
    if (event.type === "handled") ended.set(event.id, event.atMs);
    if (event.type !== "settled") continue;
    const from = begun.get(event.id);
    begun.delete(event.id);
    if (from === undefined || event.result !== "settled") continue;
    const toMs = ended.get(event.id) ?? from.fromMs;
    handlings.push({ member: name, id: event.id, ...from, toMs });
  }
  const endMs = goneAtMs();
  if (endMs === undefined) return handlings;
  const cutOff = [...begun].map(([id, from]) => {
    return { member: name, id, ...from, toMs: ended.get(id) ?? endMs };
  });
  return [...handlings, ...cutOff];
}
