/**
 * The circuit breaker on a clock that moves when told: when it opens, tries and closes.
 */

import { describe, expect, test } from "bun:test";

import type { CircuitChange } from "./circuit-breaker.ts";
import type { CaptureResult, PaymentGateway } from "./gateways.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { guardGateway } from "./circuit-breaker.ts";

const { signal } = new AbortController();
const request = { idempotencyKey: "k", orderId: "o1", amountMinor: 1, currency: "USD" };
const answer: CaptureResult = { status: "captured", reference: "c1" };
const refund = { ...request, captureKey: "k" };

function setUp() {
  const environment = createVirtualEnvironment();
  const changes: CircuitChange[] = [];
  let calls = 0;
  let behave: () => Promise<CaptureResult> = async () => answer;
  const inner: PaymentGateway = {
    capture: () => {
      calls++;
      return behave();
    },
    refund: async () => {
      calls++;
      await behave();
      return { status: "refunded", reference: "r1" };
    },
  };
  const onChange = (change: CircuitChange) => void changes.push(change);
  const guarded = guardGateway(inner, { environment, gateway: "premium", onChange });
  const call = () => guarded.capture(request, signal).catch((error: unknown) => error);
  const down = async () => {
    throw new ShopError("PROVIDER_UNAVAILABLE", "down", "later");
  };
  return {
    environment,
    changes,
    guarded,
    call,
    calls: () => calls,
    goDown: () => void (behave = down),
    goUp: () => void (behave = async () => answer),
    become: (next: () => Promise<CaptureResult>) => void (behave = next),
    async fail(times: number) {
      behave = down;
      for (let at = 0; at < times; at++) await call();
    },
  };
}

async function openCircuit() {
  const shop = setUp();
  await shop.fail(5);
  return shop;
}

describe("a closed circuit", () => {
  test("opens at the fifth failure in a row", async () => {
    const shop = setUp();
    await shop.fail(4);
    expect(shop.guarded.circuit()).toBe("closed");
    await shop.fail(1);
    expect(shop.guarded.circuit()).toBe("open");
    expect(shop.changes).toEqual([{ gateway: "premium", state: "open", changes: 1 }]);
  });
  test("counts failures in a row only", async () => {
    const shop = setUp();
    await shop.fail(4);
    shop.goUp();
    await shop.call();
    await shop.fail(4);
    expect(shop.guarded.circuit()).toBe("closed");
  });
  test("forgets its failures each minute", async () => {
    const shop = setUp();
    await shop.fail(4);
    await shop.environment.advance(60_000);
    await shop.fail(4);
    expect(shop.guarded.circuit()).toBe("closed");
    await shop.fail(1);
    expect(shop.guarded.circuit()).toBe("open");
  });
  test("takes declines and its own closing for no failures", async () => {
    const shop = setUp();
    shop.become(async () => ({ status: "declined", reason: "no funds" }));
    for (let at = 0; at < 10; at++) await shop.call();
    shop.become(async () => {
      throw new ShopError("CLOSED", "closing", "later");
    });
    for (let at = 0; at < 10; at++) await shop.call();
    expect(shop.guarded.circuit()).toBe("closed");
  });
  test("counts refunds as it counts captures", async () => {
    const shop = setUp();
    shop.goDown();
    for (let at = 0; at < 5; at++) {
      const attempt = shop.guarded.refund(refund, signal);
      expect(attempt).rejects.toMatchObject({ code: "PROVIDER_UNAVAILABLE" });
    }
    expect(shop.guarded.circuit()).toBe("open");
  });
});

describe("an open circuit", () => {
  test("refuses at once without calling, to be tried again later", async () => {
    const shop = await openCircuit();
    expect(await shop.call()).toMatchObject({ code: "CIRCUIT_OPEN", retry: "later" });
    expect(shop.calls()).toBe(5);
  });
  test("lets the first trial through after 30 s, not before", async () => {
    const shop = await openCircuit();
    shop.goUp();
    await shop.environment.advance(29_999);
    expect(await shop.call()).toBeInstanceOf(ShopError);
    await shop.environment.advance(1);
    expect(await shop.call()).toEqual(answer);
    expect(shop.guarded.circuit()).toBe("half_open");
  });
  test("does not notice jumps of the wall clock", async () => {
    const shop = await openCircuit();
    shop.environment.jumpWallClock(3_600_000);
    expect(await shop.call()).toBeInstanceOf(ShopError);
    shop.environment.jumpWallClock(-7_200_000);
    await shop.environment.advance(30_000);
    await shop.call();
    expect(shop.changes.map((change) => change.state)).toContain("half_open");
  });
});

describe("a half-open circuit", () => {
  test("opens again at the first failure, for another 30 s", async () => {
    const shop = await openCircuit();
    await shop.environment.advance(30_000);
    await shop.fail(1);
    expect(shop.guarded.circuit()).toBe("open");
    await shop.environment.advance(29_999);
    await shop.call();
    expect(shop.calls()).toBe(6);
    await shop.environment.advance(1);
    await shop.call();
    expect(shop.calls()).toBe(7);
    expect(shop.changes.map((change) => change.state)).toEqual([
      "open",
      "half_open",
      "open",
      "half_open",
      "open",
    ]);
    expect(shop.changes.at(-1)?.changes).toBe(5);
  });
  test("closes after a hundred successes", async () => {
    const shop = await openCircuit();
    await shop.environment.advance(30_000);
    shop.goUp();
    for (let at = 0; at < 99; at++) await shop.call();
    expect(shop.guarded.circuit()).toBe("half_open");
    await shop.call();
    expect(shop.guarded.circuit()).toBe("closed");
    await shop.fail(4);
    expect(shop.guarded.circuit()).toBe("closed");
  });
  test("has at most a hundred trials under way and refuses the rest at once", async () => {
    const shop = await openCircuit();
    await shop.environment.advance(30_000);
    const gate = Promise.withResolvers<CaptureResult>();
    shop.become(() => gate.promise);
    const trials = Array.from({ length: 100 }, () => shop.call());
    expect(await shop.call()).toMatchObject({ code: "CIRCUIT_OPEN" });
    expect(shop.calls()).toBe(105);
    gate.resolve(answer);
    for (const trial of await Promise.all(trials)) expect(trial).toEqual(answer);
    expect(shop.guarded.circuit()).toBe("closed");
    expect(await shop.call()).toEqual(answer);
  });
});
