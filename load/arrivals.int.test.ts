/**
 * The two arrival models on the real clock: counts, rounds, and a stall that cannot be hidden.
 */

import { describe, expect, test } from "bun:test";

import { runClosed, startOpen } from "./arrivals.ts";

describe("runClosed", () => {
  test("starts a round only when the round before has ended", async () => {
    const order: number[] = [];
    let inFlight = 0;
    let inFlightMax = 0;
    await runClosed(4, 5, async (index) => {
      inFlight++;
      inFlightMax = Math.max(inFlightMax, inFlight);
      await Bun.sleep(1);
      inFlight--;
      order.push(index);
    });
    expect(inFlightMax).toBe(5);
    const rounds = order.map((index) => Math.floor(index / 5));
    expect(rounds).toEqual(rounds.toSorted());
    expect(new Set(order).size).toBe(20);
  });
});

describe("startOpen", () => {
  test("sends exactly rate times duration, each due at its own moment", async () => {
    const due: number[] = [];
    const options = { ratePerSecond: 1_000, durationMs: 300, inFlightMax: 10_000 };
    await startOpen(options, async (index, intendedMs) => {
      due[index] = intendedMs;
    }).done;
    expect(due).toHaveLength(300);
    const first = due[0] ?? 0;
    for (const [index, intendedMs] of due.entries()) {
      expect(intendedMs - first).toBeCloseTo(index, 3);
    }
  });

  test("charges a stall of the server to every order that was due during it", async () => {
    const stall = Promise.withResolvers<void>();
    const latencies: number[] = [];
    const options = { ratePerSecond: 200, durationMs: 500, inFlightMax: 1 };
    const arrivals = startOpen(options, async (_index, intendedMs) => {
      await stall.promise;
      latencies.push(performance.now() - intendedMs);
    });
    setTimeout(() => stall.resolve(), 400);
    await arrivals.done;
    expect(latencies).toHaveLength(100);
    // Due during the first 200 ms, and nothing was answered before 400 ms: 200 ms at least each,
    // although only one of them was in flight.
    expect(latencies.slice(0, 40).every((latencyMs) => latencyMs > 190)).toBe(true);
  });

  test("stops sending when stopped, and waits for what is in flight", async () => {
    const release = Promise.withResolvers<void>();
    let sent = 0;
    let ended = 0;
    const arrivals = startOpen({ ratePerSecond: 500, inFlightMax: 50 }, async () => {
      sent++;
      await release.promise;
      ended++;
    });
    while (sent < 5) await Bun.sleep(1);
    const stopped = arrivals.stop();
    const sentAtStop = sent;
    release.resolve();
    await stopped;
    expect(sent).toBe(sentAtStop);
    expect(ended).toBe(sent);
  });
});
