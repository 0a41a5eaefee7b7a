/**
 * A circuit breaker around one gateway: cockatiel's, with our clock and two rules it lacks.
 *
 * Five failures in a row open the circuit; the count is also cleared each minute. Open, it refuses
 * every call at once with `PROVIDER_UNAVAILABLE`. After 30 s at most 100 trial calls go out: the
 * first failure opens it again, a hundred successes close it. Cockatiel would let calls beyond the
 * hundred wait without a bound; here they are refused. Only `PROVIDER_UNAVAILABLE` counts as a
 * failure: a decline is an answer, and closing the shop is not the provider's fault.
 */

import type { IBackoff, IBackoffFactory, IBreaker } from "cockatiel";
import { BrokenCircuitError, circuitBreaker, CircuitState, handleWhen } from "cockatiel";

import type { Environment } from "../../runtime/environment.ts";
import type { GatewayName, PaymentGateway } from "./gateways.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";

export interface CircuitBreakerSettings {
  readonly failuresToOpen: number;
  /** While closed, the count of failures starts anew this often. */
  readonly clearIntervalMs: number;
  readonly halfOpenAfterMs: number;
  readonly trialsMax: number;
}

export const CIRCUIT_BREAKER: CircuitBreakerSettings = {
  failuresToOpen: 5,
  clearIntervalMs: 60_000,
  halfOpenAfterMs: 30_000,
  trialsMax: 100,
};

export type CircuitStateName = "closed" | "open" | "half_open";

/** One change of state; `changes` counts those of this circuit so far, this one included. */
export interface CircuitChange {
  readonly gateway: GatewayName;
  readonly state: CircuitStateName;
  readonly changes: number;
}

export interface CircuitBreakerOptions {
  readonly environment: Environment;
  readonly gateway: GatewayName;
  readonly settings?: CircuitBreakerSettings;
  /** For the log and the metrics. Must not throw. */
  readonly onChange?: (change: CircuitChange) => void;
}

export interface GuardedGateway extends PaymentGateway {
  circuit(): CircuitStateName;
}

/** `inner` behind a circuit that its captures and refunds share. */
export function guardGateway(
  inner: PaymentGateway,
  options: CircuitBreakerOptions,
): GuardedGateway {
  const { environment, gateway, settings = CIRCUIT_BREAKER } = options;
  const policy = circuitBreaker(
    handleWhen((error) => isShopError(error, "PROVIDER_UNAVAILABLE")),
    {
      breaker: createClearingBreaker(environment, settings),
      halfOpenAfter: waitByOurClock(environment, settings.halfOpenAfterMs),
      halfOpenSampling: { calls: settings.trialsMax, threshold: 0 },
    },
  );
  let trials = 0;
  let changes = 0;
  policy.onStateChange((state) => {
    trials = 0;
    options.onChange?.({ gateway, state: nameOf(state), changes: ++changes });
  });

  async function guarded<Result>(call: () => Promise<Result>): Promise<Result> {
    if (policy.state === CircuitState.HalfOpen && trials >= settings.trialsMax) {
      throw refused(gateway, "enough trial calls are under way");
    }
    try {
      return await policy.execute(() => {
        if (policy.state === CircuitState.HalfOpen) trials++;
        return call();
      });
    } catch (error) {
      if (error instanceof BrokenCircuitError) throw refused(gateway, "its circuit is open");
      throw error;
    }
  }

  return {
    capture: (request, signal) => guarded(() => inner.capture(request, signal)),
    refund: (request, signal) => guarded(() => inner.refund(request, signal)),
    circuit: () => nameOf(policy.state),
  };
}

/** Failures in a row, forgotten at the first success and whenever the interval ends. */
function createClearingBreaker(
  environment: Environment,
  settings: CircuitBreakerSettings,
): IBreaker {
  let failures = 0;
  let intervalStartMs = environment.monotonicMs();
  return {
    state: undefined,
    success() {
      failures = 0;
    },
    failure() {
      const nowMs = environment.monotonicMs();
      if (nowMs - intervalStartMs >= settings.clearIntervalMs) {
        failures = 0;
        intervalStartMs = nowMs;
      }
      failures++;
      if (failures < settings.failuresToOpen) return false;
      failures = 0;
      return true;
    },
  };
}

/**
 * Cockatiel compares `Date.now() - openedAt` with `duration`. A duration that is longer than
 * any clock shows, then shorter, by the environment's monotonic clock, leaves `Date.now` no say.
 */
function waitByOurClock(environment: Environment, waitMs: number): IBackoffFactory<unknown> {
  function next(): IBackoff<unknown> {
    const openedAtMs = environment.monotonicMs();
    return {
      get duration() {
        const isOver = environment.monotonicMs() - openedAtMs >= waitMs;
        return isOver ? Number.MIN_SAFE_INTEGER : Number.MAX_SAFE_INTEGER;
      },
      next,
    };
  }
  return { next };
}

function nameOf(state: CircuitState): CircuitStateName {
  switch (state) {
    case CircuitState.Closed:
      return "closed";
    case CircuitState.HalfOpen:
      return "half_open";
    case CircuitState.Open:
    case CircuitState.Isolated:
      return "open";
  }
}

function refused(gateway: GatewayName, why: string): ShopError {
  return new ShopError("PROVIDER_UNAVAILABLE", `gateway ${gateway}: ${why}`, "later");
}
