/**
 * The simulated provider: repeatable outcomes, honest books, and latencies that are distributed as
 * they say.
 */

import { describe, expect, test } from "bun:test";

import type { SimulatedProviderSettings } from "./simulated-provider.ts";

import { isShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import {
  createSimulatedProvider,
  sampleLatencyMs,
  SIMULATED_PROVIDER,
} from "./simulated-provider.ts";

const open = new AbortController().signal;
const instant = { ...SIMULATED_PROVIDER, latency: { kind: "none" } } as const;

function provider(settings: Partial<SimulatedProviderSettings> = {}) {
  const environment = createVirtualEnvironment();
  return { environment, ...createSimulatedProvider(environment, { ...instant, ...settings }) };
}

function captureOf(orderId: string) {
  return { idempotencyKey: `${orderId}:capture`, orderId, amountMinor: 500, currency: "USD" };
}

function refundOf(orderId: string, reference?: string) {
  const request = {
    idempotencyKey: `${orderId}:refund`,
    captureKey: `${orderId}:capture`,
    orderId,
    amountMinor: 500,
    currency: "USD",
  };
  return reference === undefined ? request : { ...request, reference };
}

describe("outcomes", () => {
  test("of one key are always the same, also after a restart", async () => {
    const keys = Array.from({ length: 200 }, (_, at) => `o${at}`);
    const answers = async (seed: number) => {
      const { capture } = provider({ declineRate: 0.3, seed });
      return await Promise.all(keys.map((key) => capture(captureOf(key), open)));
    };
    const first = await answers(7);
    expect(await answers(7)).toEqual(first);
    expect(await answers(8)).not.toEqual(first);
  });

  test("are declines at the rate that was asked for", async () => {
    const { capture } = provider({ declineRate: 0.25 });
    let declined = 0;
    for (let at = 0; at < 4_000; at++) {
      if ((await capture(captureOf(`o${at}`), open)).status === "declined") declined++;
    }
    expect(declined / 4_000).toBeWithin(0.22, 0.28);
  });

  test("are failures at the rate that was asked for, half of them after the fact", async () => {
    const { capture, effectOf } = provider({ failureRate: 0.2 });
    let failed = 0;
    let captured = 0;
    for (let at = 0; at < 4_000; at++) {
      const request = captureOf(`o${at}`);
      const error = await capture(request, open).catch((caught: unknown) => caught);
      if (!isShopError(error, "PROVIDER_UNAVAILABLE")) continue;
      failed++;
      if (effectOf(request.idempotencyKey) === "captured") captured++;
    }
    expect(failed / 4_000).toBeWithin(0.17, 0.23);
    expect(captured / failed).toBeWithin(0.4, 0.6);
  });

  test("are drawn anew at each attempt, so that trying again helps", async () => {
    const { capture } = provider({ failureRate: 0.5 });
    for (let at = 0; at < 50; at++) {
      let answer: unknown;
      for (let tries = 0; tries < 40 && answer === undefined; tries++) {
        answer = await capture(captureOf(`o${at}`), open).catch(() => undefined);
      }
      expect(answer).toMatchObject({ status: "captured" });
    }
  });
});

describe("the books", () => {
  test("a second capture under one key gives the first answer", async () => {
    const { capture } = provider();
    const first = await capture(captureOf("a"), open);
    expect(await capture(captureOf("a"), open)).toEqual(first);
  });
  test("a refund gives back what was captured", async () => {
    const { capture, refund, effectOf } = provider();
    await capture(captureOf("a"), open);
    expect(await refund(refundOf("a"), open)).toMatchObject({ status: "refunded" });
    expect(effectOf("a:capture")).toBe("refunded");
    expect(await refund(refundOf("a"), open)).toMatchObject({ status: "refunded" });
  });
  test("a refund before its capture voids the key", async () => {
    const { capture, refund, effectOf } = provider();
    expect(await refund(refundOf("a"), open)).toMatchObject({ status: "nothing_to_refund" });
    expect(await capture(captureOf("a"), open)).toEqual({ status: "declined", reason: "voided" });
    expect(effectOf("a:capture")).toBe("voided");
  });
  test("a refund that names the capture succeeds after a restart", async () => {
    const { refund } = provider();
    expect(await refund(refundOf("a", "cap_1"), open)).toMatchObject({ status: "refunded" });
  });
});

describe("latency", () => {
  const lognormal = { kind: "lognormal", medianMs: 120, sigma: 0.5 } as const;

  test("is log-normal: median, quartiles and tail are where they should be", () => {
    const at = (share: number) => sampleLatencyMs(lognormal, share);
    expect(at(0.5)).toBeCloseTo(120, 6);
    expect(at(0.25)).toBeWithin(84.4, 86.9); // 120 · e^(−0.5 · 0.6745) = 85.65
    expect(at(0.95)).toBeWithin(270, 276); // 120 · e^(0.5 · 1.6449) = 273.1
    expect(at(0.99)).toBeWithin(380, 388); // 120 · e^(0.5 · 2.3263) = 384.0
    expect(Number.isFinite(at(0)) && at(0) >= 0).toBe(true);
  });

  test("passes before the answer comes", async () => {
    const { environment, capture } = provider({ latency: { kind: "fixed", delayMs: 100 } });
    let isAnswered = false;
    const answer = capture(captureOf("a"), open).then(() => (isAnswered = true));
    await environment.advance(99);
    expect(isAnswered).toBe(false);
    await environment.advance(1);
    await answer;
  });

  test("over the timeout is a failure at the timeout, without an effect", async () => {
    const latency = { kind: "fixed", delayMs: 5_000 } as const;
    const { environment, capture, effectOf } = provider({ latency, timeoutMs: 50 });
    const answer = capture(captureOf("a"), open).catch((error: unknown) => error);
    await environment.advance(50);
    expect(await answer).toMatchObject({ code: "PROVIDER_UNAVAILABLE" });
    expect(effectOf("a:capture")).toBeUndefined();
  });
});

describe("closing", () => {
  test("ends every call under way at once and leaves no timer", async () => {
    const { environment, capture } = provider({ latency: { kind: "fixed", delayMs: 100 } });
    const closing = new AbortController();
    const calls = ["a", "b", "c"].map((id) => capture(captureOf(id), closing.signal));
    closing.abort();
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: "rejected", reason: { code: "CLOSED" } });
    }
    expect(environment.pendingTimers()).toBe(0);
    const late = capture(captureOf("d"), closing.signal);
    expect(late).rejects.toMatchObject({ code: "CLOSED" });
  });
});

test("rates outside 0..1 are refused", () => {
  expect(() => provider({ declineRate: 1.1 })).toThrow("declineRate");
  expect(() => provider({ failureRate: -0.1 })).toThrow("failureRate");
});
