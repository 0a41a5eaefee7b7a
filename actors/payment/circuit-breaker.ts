/**
 * A circuit breaker around one gateway, that its captures and refunds share.
 *
 * Five failures in a row open the circuit; open, it refuses every call at once with `CIRCUIT_OPEN`:
 * the provider never saw it, so it is no attempt. After 30 s at most 100 trial calls go out: the
 * first failure opens it again, a hundred successes close it; calls beyond the hundred are refused.
 * Only `PROVIDER_UNAVAILABLE` counts as a failure: a decline is an answer, and closing the shop is
 * not the provider's fault.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { CircuitBreakerSettings, CircuitStateName } from "../delivery/breaker.ts";
import type { GatewayName, PaymentGateway } from "./gateways.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import { createBreaker } from "../delivery/breaker.ts";

export const CIRCUIT_BREAKER: CircuitBreakerSettings = {
  failuresToOpen: 5,
  clearIntervalMs: 60_000,
  halfOpenAfterMs: 30_000,
  trialsMax: 100,
};

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
  const breaker = createBreaker({
    environment,
    settings,
    isFailure: (error) => isShopError(error, "PROVIDER_UNAVAILABLE"),
    refusal: (why) => new ShopError("CIRCUIT_OPEN", `gateway ${gateway}: ${why}`, "later"),
    onChange: (state, changes) => options.onChange?.({ gateway, state, changes }),
  });
  return {
    capture: (request, signal) => breaker.execute(() => inner.capture(request, signal)),
    refund: (request, signal) => breaker.execute(() => inner.refund(request, signal)),
    circuit: () => breaker.state(),
  };
}
