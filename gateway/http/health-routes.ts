/**
 * The endpoints of whoever runs the shop: liveness, readiness, health, metrics.
 *
 * They are served when the shop is saturated and while it stops: that is when they are needed.
 */

import { HEALTH_EXAMPLE, METRICS_EXAMPLE } from "./api-examples.ts";
import { operation } from "./api-operation.ts";
import type { Answer, Route } from "./endpoint.ts";
import { jsonResponse } from "./endpoint.ts";
import type { GatewayDeps } from "./gateway-ports.ts";
import { isoTime } from "./order-view.ts";
import { retryLater } from "./problem.ts";

const FRESH = { "cache-control": "no-store" };
const HEALTH = {
  mediaType: "application/json",
  schema: "Health",
  example: HEALTH_EXAMPLE,
} as const;

const LIVE = operation({
  operationId: "live",
  summary: "Is the process alive?",
  description: "Answers as long as the event loop turns.",
  tag: "operations",
  answers: { 200: { description: "It is." } },
  problems: [],
});

const READY = operation({
  operationId: "ready",
  summary: "May requests be sent?",
  description: "From the end of the start to the beginning of the stop.",
  tag: "operations",
  answers: { 200: { description: "They may." } },
  problems: ["not_ready"],
});

const HEALTH_OPERATION = operation({
  operationId: "health",
  summary: "How is each service?",
  description: "Status, latency, error rate and time of the last check, by service.",
  tag: "operations",
  answers: {
    200: { description: "All services are up.", content: HEALTH },
    503: {
      description: "A service is degraded or down.",
      content: { ...HEALTH, example: { ...HEALTH_EXAMPLE, status: "degraded" } },
    },
  },
  problems: [],
});

const METRICS = operation({
  operationId: "metrics",
  summary: "Metrics for Prometheus",
  description: "Text exposition format 0.0.4.",
  tag: "operations",
  answers: {
    200: {
      description: "All metrics.",
      content: { mediaType: "text/plain", schema: "text", example: METRICS_EXAMPLE },
    },
  },
  problems: [],
});

export function healthRoutes(deps: GatewayDeps): readonly Route[] {
  const probe = { method: "GET", admission: "always" } as const;
  return [
    {
      ...probe,
      path: "/live",
      endpoint: () => new Response(null, { headers: FRESH }),
      operation: LIVE,
    },
    { ...probe, path: "/ready", endpoint: () => ready(deps), operation: READY },
    { ...probe, path: "/health", endpoint: () => health(deps), operation: HEALTH_OPERATION },
    { ...probe, path: "/metrics", endpoint: () => metrics(deps), operation: METRICS },
  ];
}

function ready(deps: GatewayDeps): Answer {
  if (deps.health.ready()) return new Response(null, { headers: FRESH });
  return retryLater("not_ready", "the shop is starting or stopping");
}

/** The report is the body of the 503 too: it says more than a problem could. */
function health(deps: GatewayDeps): Answer {
  const report = deps.health.report();
  const body = {
    status: report.status,
    services: report.services.map(({ lastCheckedMs, detail, ...service }) => ({
      ...service,
      lastChecked: isoTime(lastCheckedMs),
      ...(detail === undefined ? {} : { detail }),
    })),
  };
  return jsonResponse(report.status === "up" ? 200 : 503, JSON.stringify(body), FRESH);
}

async function metrics(deps: GatewayDeps): Promise<Answer> {
  const { contentType, body } = await deps.metricsText();
  return new Response(body, { headers: { "content-type": contentType, ...FRESH } });
}
