/**
 * The core of every circuit breaker: cockatiel's, with our clock and two rules it lacks.
 *
 * Failures in a row open the circuit; their count is also cleared at each interval. Open, it
 * refuses every call at once. After a wait a bounded number of trial calls go out: the first
 * failure opens it again, as many successes close it. Cockatiel would let calls beyond the trials
 * wait without a bound; here they are refused. Who calls says which errors are failures and what a
 * refusal looks like.
 */

import type { IBackoff, IBackoffFactory, IBreaker } from "cockatiel";
import { BrokenCircuitError, circuitBreaker, CircuitState, handleWhen } from "cockatiel";

import type { Environment } from "../../runtime/environment.ts";
import type { ShopError } from "../../runtime/errors.ts";

export interface CircuitBreakerSettings {
  readonly failuresToOpen: number;
  /** While closed, the count of failures starts anew this often. */
  readonly clearIntervalMs: number;
  readonly halfOpenAfterMs: number;
  readonly trialsMax: number;
}

export type CircuitStateName = "closed" | "open" | "half_open";

export interface BreakerOptions {
  readonly environment: Environment;
  readonly settings: CircuitBreakerSettings;
  /** False for errors that say nothing about the other side. */
  readonly isFailure: (error: unknown) => boolean;
  /** What a refused call rejects with. */
  readonly refusal: (why: string) => ShopError;
  /** `changes` counts those of this circuit so far, this one included. Must not throw. */
  readonly onChange?: (state: CircuitStateName, changes: number) => void;
}

export interface Breaker {
  /** What `call` answers; rejects with a refusal, without calling, while the circuit is open. */
  execute<Result>(call: () => Promise<Result>): Promise<Result>;
  state(): CircuitStateName;
  /** How long the circuit has not been closed, trials included; 0 while it is closed. */
  downForMs(): number;
  /** Until a trial may go out; 0 unless the circuit is open. */
  trialInMs(): number;
}

export function createBreaker(options: BreakerOptions): Breaker {
  const { environment, settings, refusal } = options;
  const policy = circuitBreaker(handleWhen(options.isFailure), {
    breaker: createClearingBreaker(environment, settings),
    halfOpenAfter: waitByOurClock(environment, settings.halfOpenAfterMs),
    halfOpenSampling: { calls: settings.trialsMax, threshold: 0 },
  });
  let trials = 0;
  let changes = 0;
  let downFromMs: number | undefined;
  let openedAtMs = 0;
  policy.onStateChange((state) => {
    trials = 0;
    const name = nameOf(state);
    if (name === "open") openedAtMs = environment.monotonicMs();
    if (name === "closed") downFromMs = undefined;
    else downFromMs ??= environment.monotonicMs();
    options.onChange?.(name, ++changes);
  });

  return {
    async execute(call) {
      if (policy.state === CircuitState.HalfOpen && trials >= settings.trialsMax) {
        throw refusal("enough trial calls are under way");
      }
      try {
        return await policy.execute(() => {
          if (policy.state === CircuitState.HalfOpen) trials++;
          return call();
        });
      } catch (error) {
        if (error instanceof BrokenCircuitError) throw refusal("its circuit is open");
        throw error;
      }
    },
    state: () => nameOf(policy.state),
    downForMs: () => (downFromMs === undefined ? 0 : environment.monotonicMs() - downFromMs),
    trialInMs() {
      if (nameOf(policy.state) !== "open") return 0;
      return Math.max(0, openedAtMs + settings.halfOpenAfterMs - environment.monotonicMs());
    },
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
