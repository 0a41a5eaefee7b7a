/**
 * The payment gateways of one shard, as configured: simulated or over HTTP, each behind a circuit
 * breaker of its own.
 *
 * Translates settings, no more; what a gateway may answer is in `payment/gateways.ts`.
 */

import type { Environment } from "../runtime/environment.ts";
import type { PaymentGateways } from "./payment/gateways.ts";
import type { Latency } from "./payment/simulated-provider.ts";
import type { ShardMetrics } from "./shard-metrics.ts";

import { guardGateway } from "./payment/circuit-breaker.ts";
import { createHttpProvider } from "./payment/http-provider.ts";
import { createSimulatedProvider } from "./payment/simulated-provider.ts";

/** Whom to ask for money, and how the simulated provider behaves. */
export interface PaymentProviderSettings {
  readonly provider: "simulated" | "http";
  readonly url: string;
  readonly timeoutMs: number;
  readonly captureAttemptsMax: number;
  readonly latency: {
    readonly kind: "lognormal" | "fixed" | "none";
    readonly medianMs: number;
    readonly sigma: number;
  };
  readonly declineRate: number;
  readonly failureRate: number;
  readonly seed: number;
}

export interface GatewaysOptions {
  readonly environment: Environment;
  readonly metrics: Pick<ShardMetrics, "circuitChanged">;
  readonly onLog: (level: "warning", text: string) => void;
}

/** Both gateways; a change of a circuit is counted and logged. */
export function createGateways(
  settings: PaymentProviderSettings,
  options: GatewaysOptions,
): PaymentGateways {
  const { environment, metrics, onLog } = options;
  const { provider, url, timeoutMs, latency, ...simulated } = settings;
  const inner =
    provider === "http"
      ? createHttpProvider(environment, { baseUrl: url.replace(/\/+$/, ""), timeoutMs })
      : createSimulatedProvider(environment, {
          ...simulated,
          timeoutMs,
          latency: latencyOf(latency),
        });
  const guarded = (gateway: "premium" | "standard") =>
    guardGateway(inner, {
      environment,
      gateway,
      onChange(change) {
        metrics.circuitChanged(change);
        onLog("warning", `circuit of gateway ${gateway} is ${change.state}`);
      },
    });
  return { premium: guarded("premium"), standard: guarded("standard") };
}

function latencyOf({ kind, medianMs, sigma }: PaymentProviderSettings["latency"]): Latency {
  switch (kind) {
    case "none":
      return { kind };
    case "fixed":
      return { kind, delayMs: medianMs };
    case "lognormal":
      return { kind, medianMs, sigma };
  }
}
