/**
 * Conformance: the server or the network fails under an adapter that lives on (B27, B32 to B37).
 *
 * Whatever was confirmed comes out, as it went in, and the adapter finds its way back by itself.
 * Nothing here opens a second adapter: what heals heals in the one there is.
 */

import { expect } from "bun:test";

import type { Bench, BrokerCase, Probe } from "./broker-bench.suite.ts";

import { isShopError } from "../../runtime/errors.ts";
import { idOf, idsOf } from "./broker-bench.suite.ts";

/** From when the server can be reached until a frame is confirmed again. */
const RECONNECT_MS = 10_000;
/** On top of a publish timeout: the machine may be slow, the promise is kept nevertheless. */
const MARGIN_MS = 5_000;
/** Until the server is back by itself, which is not what is judged. */
const SERVER_BACK_MS = 180_000;
const PUBLISHERS = 10;
const RESETS = 10;
const FLOOD_BYTES = 16_384;
const PENDING_BYTES_MAX = 64 * 1_024 * 1_024;
/** What a publisher may be told while the server does not answer. */
const REFUSALS = ["INDETERMINATE", "SATURATED", "STORAGE_FAULT", "STORAGE_FULL"];

export const REMOTE_SERVER_CASES: readonly BrokerCase[] = [
  {
    name: "B07: a confirmation that the network lost is told as such, in time",
    needs: ["network"],
    run: confirmLost,
  },
  {
    name: "B27: what is confirmed under resets is stored in the order it was sent in",
    needs: ["network"],
    run: sendOrder,
  },
  {
    name: "B32: a living adapter survives two clean restarts of its server",
    needs: ["bounce", "persistent"],
    run: (bench) => bounces(bench, ["clean", "clean"]),
  },
  {
    name: "B33: a living adapter survives three kills of its server, and every byte is right",
    needs: ["bounce", "persistent", "confirmIsDurable"],
    run: (bench) => bounces(bench, ["kill", "kill", "kill"]),
  },
  {
    name: "B35: while the server is frozen, publishers are refused in time and nothing piles up",
    needs: ["pauseServer"],
    run: frozenServer,
  },
  {
    name: "B36: connections that went silent are found out, and nothing confirmed is lost",
    needs: ["network"],
    run: halfOpen,
  },
  {
    name: "B37: byte by byte and late, every frame is put together and confirmed",
    needs: ["network"],
    run: slowNetwork,
  },
];

async function confirmLost(bench: Bench): Promise<void> {
  await bench.start();
  await bench.publish(["before"]);
  const frame = bench.frame("p1-1");
  bench.hooks.network?.loseAnswers();
  const startMs = bench.environment.monotonicMs();
  expect(await bench.refusal(() => bench.send("p1-1", frame))).toBe("INDETERMINATE");
  expect(bench.environment.monotonicMs() - startMs).toBeLessThan(refusedWithinMs(bench));
  bench.hooks.network?.heal();
  await bench.within(bench.sendUntilConfirmed("after"), RECONNECT_MS);
  const probe = await bench.probe({ acks: true });
  await bench.drained();
  expect(probe.ids().filter((id) => id === "p1-1").length).toBeLessThanOrEqual(1);
  bench.expectValid();
}

/** Four sends of one key are under way at any time, and none is repeated by the sender. */
async function sendOrder(bench: Bench): Promise<void> {
  await bench.start({ partitions: 4 });
  const ids = idsOf("K", 2_000);
  let next = 0;
  const sender = async (): Promise<void> => {
    for (let id = ids[next++]; id !== undefined; id = ids[next++]) {
      try {
        await bench.send(id, bench.frame(id, { key: "K" }));
      } catch (error) {
        if (!isShopError(error)) throw error;
        await bench.pause(50); // refused: others of its kind would be, in the same moment
      }
    }
  };
  const member = await bench.probe({ acks: true });
  const sending = Promise.all(Array.from({ length: 4 }, sender));
  sending.catch(() => undefined); // when the case fails before it waits for them
  for (let reset = 1; reset <= RESETS; reset++) {
    const enough = (reset * ids.length) / (RESETS + 2);
    await bench.eventually("it has got further", () => bench.attempted.length >= enough);
    bench.hooks.network?.cut();
  }
  await bench.within(sending);
  expect(bench.acked.length).toBeGreaterThan(ids.length / 2);
  await bench.drained();
  const confirmed = new Set(bench.acked);
  const stored = [...new Set(member.ids())].filter((id) => confirmed.has(id));
  expect(stored).toEqual(ids.filter((id) => confirmed.has(id)));
  bench.expectValid();
}

async function bounces(bench: Bench, kinds: readonly ("clean" | "kill")[]): Promise<void> {
  await bench.start({ partitions: 16 });
  const member = await bench.probe({ acks: true });
  const sent = new Map<string, bigint>();
  let isOver = false;
  const publisher = async (producer: number): Promise<void> => {
    for (let count = 1; !isOver; count++) {
      const id = `p${producer}-${count}`;
      const outgoing = bench.frame(id);
      sent.set(id, Bun.hash(outgoing.frame));
      await bench.sendUntilConfirmed(id, outgoing);
      await bench.pause(2);
    }
  };
  const publishing = Promise.all(Array.from({ length: PUBLISHERS }, (_, at) => publisher(at)));
  publishing.catch(() => undefined); // when the case fails before it waits for them
  try {
    for (const [index, kind] of kinds.entries()) {
      const enough = bench.acked.length + 200;
      await bench.eventually("publishing goes well", () => bench.acked.length >= enough);
      await bench.eventually("consuming goes well", () => bench.delivered.length >= enough - 200);
      await bench.within(bench.hooks.bounce?.(kind, 1_000) ?? Promise.resolve(), SERVER_BACK_MS);
      await comesBack(bench, member, `marker-${index}`, sent);
    }
  } finally {
    isOver = true;
  }
  await bench.within(publishing);
  await bench.drained();
  bench.expectValid();
  for (const delivery of member.deliveries) {
    expect(Bun.hash(delivery.bytes)).toBe(sent.get(idOf(delivery)) ?? 0n);
  }
}

/** A frame sent now is confirmed soon, and the member that was there before gets it. */
async function comesBack(
  bench: Bench,
  member: Probe,
  id: string,
  sent?: Map<string, bigint>,
): Promise<void> {
  const outgoing = bench.frame(id);
  sent?.set(id, Bun.hash(outgoing.frame));
  await bench.within(bench.sendUntilConfirmed(id, outgoing), RECONNECT_MS);
  await bench.eventually(`the member has ${id}`, () => member.ids().includes(id));
}

async function frozenServer(bench: Bench): Promise<void> {
  await bench.start({ topics: ["t", "flood"], partitions: 4 });
  const member = await bench.probe({ topics: ["t"], acks: true });
  await bench.publish(idsOf(1, 50));
  await bench.drained();
  const flood = bench.frame("flood", { topic: "flood", payload: new Uint8Array(FLOOD_BYTES) });
  const pauseMs = refusedWithinMs(bench) + 2_000;
  let isOver = false;
  const pausing = bench.hooks.pauseServer?.(pauseMs).then(() => void (isOver = true));
  const codes = new Set<string>();
  let pending = 0;
  let pendingMax = 0;
  let slowestMs = 0;
  const publishOne = async (): Promise<void> => {
    const startMs = bench.environment.monotonicMs();
    pendingMax = Math.max(pendingMax, ++pending);
    try {
      await bench.broker.publish([flood]);
      if (!isOver && bench.environment.monotonicMs() - startMs > 2_000) codes.add("confirmed");
    } catch (error) {
      codes.add(isShopError(error) ? error.code : String(error));
    }
    pending--;
    slowestMs = Math.max(slowestMs, bench.environment.monotonicMs() - startMs);
  };
  while (!isOver) {
    for (let count = 0; count < 20; count++) void publishOne();
    await bench.hooks.pass(20);
  }
  await bench.within(pausing ?? Promise.resolve());
  await bench.eventually("every publish is settled", () => pending === 0);
  expect([...codes].filter((code) => !REFUSALS.includes(code))).toEqual([]);
  expect(codes.size).toBeGreaterThan(0);
  expect(slowestMs).toBeLessThan(refusedWithinMs(bench));
  expect(pendingMax * FLOOD_BYTES).toBeLessThan(PENDING_BYTES_MAX);
  await comesBack(bench, member, "marker");
  bench.expectValid();
}

async function halfOpen(bench: Bench): Promise<void> {
  await bench.start();
  const member = await bench.probe({ acks: true });
  await bench.publish(idsOf(1, 20));
  await bench.drained();
  bench.hooks.network?.freeze();
  const startMs = bench.environment.monotonicMs();
  const refusal = await bench.refusal(() => bench.send("p2-1", bench.frame("p2-1")));
  expect(REFUSALS).toContain(refusal);
  expect(bench.environment.monotonicMs() - startMs).toBeLessThan(refusedWithinMs(bench));
  bench.hooks.network?.heal();
  await bench.within(bench.sendUntilConfirmed("marker"), RECONNECT_MS + refusedWithinMs(bench));
  await bench.eventually("the member has found out", () => member.ids().includes("marker"));
  await bench.within(Promise.all(idsOf(3, 20).map((id) => bench.sendUntilConfirmed(id))));
  await bench.drained();
  // A consumer that was given up on and not closed would have its own of each.
  for (const id of idsOf(3, 20)) expect(member.ids().filter((each) => each === id)).toEqual([id]);
  bench.expectValid();
}

async function slowNetwork(bench: Bench): Promise<void> {
  await bench.start({ partitions: 4 });
  const member = await bench.probe({ acks: true });
  await bench.publish(["before"]);
  await bench.drained();
  bench.hooks.network?.slow(1, 100);
  bench.hooks.network?.cut(); // so that the greetings are slow, too
  const ids = idsOf(1, 100);
  const sizes = new Map(ids.map((id, index) => [id, index * 7]));
  const frames = ids.map((id) => {
    const pad = "x".repeat(sizes.get(id) ?? 0);
    return [id, bench.frame(id, { headers: { pad } })] as const;
  });
  await bench.within(
    Promise.all(frames.map(([id, outgoing]) => bench.sendUntilConfirmed(id, outgoing))),
  );
  await bench.drained();
  bench.hooks.network?.heal();
  const hashes = new Map(frames.map(([id, { frame }]) => [id, Bun.hash(frame)]));
  for (const delivery of member.deliveries.filter((each) => idOf(each) !== "before")) {
    expect(Bun.hash(delivery.bytes)).toBe(hashes.get(idOf(delivery)) ?? 0n);
  }
  bench.expectValid();
}

function refusedWithinMs(bench: Bench): number {
  return (bench.hooks.publishTimeoutMs ?? 0) + MARGIN_MS;
}
