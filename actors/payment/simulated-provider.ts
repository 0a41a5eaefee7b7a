/**
 * A payment provider that exists only here: it takes its time, sometimes declines, sometimes fails.
 *
 * Decline and failure follow from seed and idempotency key alone, so a run can be repeated, and a
 * provider that was restarted decides as before. Half of the failures lose the answer after the
 * money moved, as real ones do. It refuses to capture under a key that was voided. What it
 * remembers is bounded: the oldest keys are forgotten first.
 */

import { LRUCache } from "lru-cache";

import type { Environment } from "../../runtime/environment.ts";
import type {
  CaptureRequest,
  CaptureResult,
  PaymentGateway,
  RefundRequest,
  RefundResult,
} from "./gateways.ts";

import { assert, ShopError } from "../../runtime/errors.ts";

/** How long a call takes. `lognormal`: exp(N(ln median, sigma)), half of the calls under median. */
export type Latency =
  | { readonly kind: "none" }
  | { readonly kind: "fixed"; readonly delayMs: number }
  | { readonly kind: "lognormal"; readonly medianMs: number; readonly sigma: number };

export interface SimulatedProviderSettings {
  readonly latency: Latency;
  /** Share of captures that are declined, 0..1. */
  readonly declineRate: number;
  /** Share of calls that fail, 0..1; each attempt anew. */
  readonly failureRate: number;
  readonly seed: number;
  /** A call whose latency comes out longer than this fails after this long. */
  readonly timeoutMs: number;
}

export const SIMULATED_PROVIDER: SimulatedProviderSettings = {
  latency: { kind: "lognormal", medianMs: 120, sigma: 0.35 },
  declineRate: 0,
  failureRate: 0,
  seed: 1,
  timeoutMs: 5_000,
};

/** Idempotency keys remembered, captures and refunds alike. */
const KEYS_MAX = 50_000;

interface Ledger {
  attempts: number;
  effect: "captured" | "refunded" | "voided" | undefined;
}

export interface SimulatedProvider extends PaymentGateway {
  /** What the provider itself would say it did; for tests that compare its books with ours. */
  effectOf(idempotencyKey: string): Ledger["effect"];
}

export function createSimulatedProvider(
  environment: Environment,
  settings: SimulatedProviderSettings = SIMULATED_PROVIDER,
): SimulatedProvider {
  assert(settings.declineRate >= 0 && settings.declineRate <= 1, "declineRate must be in 0..1");
  assert(settings.failureRate >= 0 && settings.failureRate <= 1, "failureRate must be in 0..1");
  const ledgers = new LRUCache<string, Ledger>({ max: KEYS_MAX });
  const wait = createWaits(environment);

  function ledgerOf(key: string): Ledger {
    const known = ledgers.get(key);
    if (known !== undefined) return known;
    const fresh: Ledger = { attempts: 0, effect: undefined };
    ledgers.set(key, fresh);
    return fresh;
  }

  /** Waits, then runs `effect` unless this attempt is one that fails before it does anything. */
  async function call<Result>(key: string, signal: AbortSignal, effect: () => Result) {
    const ledger = ledgerOf(key);
    const salt = `attempt ${++ledger.attempts}`;
    const latencyMs = sampleLatencyMs(settings.latency, environment.random());
    await wait(Math.min(latencyMs, settings.timeoutMs), signal);
    if (latencyMs > settings.timeoutMs) throw unavailable(key, "took too long");
    const fails = share(settings.seed, key, salt) < settings.failureRate;
    const answerLost = share(settings.seed, key, `${salt} lost`) < 0.5;
    if (fails && !answerLost) throw unavailable(key, "failed");
    const result = effect();
    if (fails) throw unavailable(key, "lost its answer");
    return result;
  }

  function settle(request: CaptureRequest): CaptureResult {
    const { idempotencyKey } = request;
    const ledger = ledgerOf(idempotencyKey);
    if (ledger.effect === "voided") return { status: "declined", reason: "voided" };
    if (share(settings.seed, idempotencyKey, "decline") < settings.declineRate) {
      return { status: "declined", reason: "declined" };
    }
    // A refunded capture still answers as it did at first.
    ledger.effect ??= "captured";
    return { status: "captured", reference: referenceOf("cap", idempotencyKey) };
  }

  function undo(request: RefundRequest): RefundResult {
    const { idempotencyKey, captureKey } = request;
    const captured = ledgerOf(captureKey);
    const reference = referenceOf("ref", idempotencyKey);
    // A restarted provider has forgotten the capture, but not what its own reference means.
    if (captured.effect === undefined && request.reference === undefined) {
      captured.effect = "voided";
    }
    if (captured.effect === "voided") return { status: "nothing_to_refund", reference };
    captured.effect = "refunded";
    ledgerOf(idempotencyKey).effect = "refunded";
    return { status: "refunded", reference };
  }

  return {
    capture: (request, signal) => call(request.idempotencyKey, signal, () => settle(request)),
    refund: (request, signal) => call(request.idempotencyKey, signal, () => undo(request)),
    effectOf: (idempotencyKey) => ledgers.peek(idempotencyKey)?.effect,
  };
}

/** Latency for a uniform `random` in [0, 1). */
export function sampleLatencyMs(latency: Latency, random: number): number {
  switch (latency.kind) {
    case "none":
      return 0;
    case "fixed":
      return latency.delayMs;
    case "lognormal":
      return latency.medianMs * Math.exp(latency.sigma * normalQuantile(random));
  }
}

/**
 * The standard normal quantile, by Tukey's lambda approximation (Tukey 1960; Joiner & Rosenblatt
 * 1971): within 0.01 of the true value up to the 99th percentile.
 */
function normalQuantile(random: number): number {
  const below = Math.min(Math.max(random, 1e-6), 1 - 1e-6);
  return (below ** 0.135 - (1 - below) ** 0.135) / 0.1975;
}

/** A number in [0, 1) that depends on its arguments alone. */
function share(seed: number, key: string, salt: string): number {
  return Bun.hash.xxHash32(`${key}/${salt}`, seed) / 4_294_967_296;
}

function referenceOf(prefix: string, key: string): string {
  return `${prefix}_${Bun.hash.xxHash64(key).toString(16).padStart(16, "0")}`;
}

function unavailable(key: string, what: string): ShopError {
  return new ShopError("PROVIDER_UNAVAILABLE", `simulated provider ${what}: ${key}`, "later");
}

/** Waits that one `abort` ends: a listener for each of thousands of calls would cost O(calls). */
function createWaits(environment: Environment) {
  const waits = new WeakMap<AbortSignal, Set<PromiseWithResolvers<void>>>();

  function waitsOf(signal: AbortSignal): Set<PromiseWithResolvers<void>> {
    const known = waits.get(signal);
    if (known !== undefined) return known;
    const fresh = new Set<PromiseWithResolvers<void>>();
    waits.set(signal, fresh);
    signal.addEventListener("abort", () => {
      for (const pending of fresh) pending.reject(closed());
      fresh.clear();
    });
    return fresh;
  }

  return async function wait(delayMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw closed();
    if (delayMs <= 0) return;
    const pending = Promise.withResolvers<void>();
    const together = waitsOf(signal);
    together.add(pending);
    const timer = environment.startTimer(delayMs, () => pending.resolve());
    try {
      await pending.promise;
    } finally {
      together.delete(pending);
      timer.cancel();
    }
  };
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the payment service is closing", "later");
}
