/**
 * The whole HTTP API as one Elysia application.
 *
 * Endpoints read their bodies and check them themselves, so Elysia neither converts nor strips
 * anything; its own errors are turned into problems. A path that exists answers every method: the
 * known ones, HEAD and OPTIONS, and 405 with `Allow` for the rest.
 */

import { Elysia } from "elysia";

import { docsRoutes } from "./docs-page.ts";
import type { Door, Params, Route } from "./endpoint.ts";
import { createDoor } from "./endpoint.ts";
import type { GatewayDeps } from "./gateway-ports.ts";
import { healthRoutes } from "./health-routes.ts";
import type { RouteCounters } from "./http-counters.ts";
import { createRouteCounters } from "./http-counters.ts";
import { inventoryRoutes } from "./inventory-routes.ts";
import type { MetricRow } from "./metric-row.ts";
import { openApiJson } from "./openapi-document.ts";
import { orderRoutes } from "./order-routes.ts";
import { platformRoutes } from "./platform-routes.ts";
import { Problem } from "./problem.ts";
import { describe } from "./shop-problems.ts";
import { createStreamRegistry } from "./sse.ts";

export interface HttpApp {
  /** For tests; `startHttp` puts it behind a socket. */
  handle(request: Request): Promise<Response>;
  /** Refuses new work (probes and metrics are still served) and ends every event stream. */
  close(): void;
  inFlight(): number;
  openStreams(): number;
  /** The gateway's own rows for `/metrics`. */
  metricRows(): readonly MetricRow[];
}

/** Builds the application; nothing listens yet. */
export function createHttpApp(deps: GatewayDeps): HttpApp {
  const { environment, limits, onFailure } = deps;
  const door = createDoor({
    environment,
    inFlightMax: limits.inFlightMax,
    ...(onFailure === undefined ? {} : { onFailure }),
  });
  const streams = createStreamRegistry(limits.streamsMax);
  const app = createElysia(door, (error) => onFailure?.(error, "-"));
  let documentJson: string | undefined;
  const counters = addRoutes(app, door, [
    ...orderRoutes(deps, streams),
    ...inventoryRoutes(deps),
    ...platformRoutes(deps),
    ...healthRoutes(deps),
    ...docsRoutes(() => (documentJson ??= openApiJson(app))),
  ]);
  app.compile();
  return {
    handle: async (request) => await app.fetch(request),
    close() {
      door.close();
      streams.close();
    },
    inFlight: () => door.inFlight(),
    openStreams: () => streams.count(),
    metricRows: () => [
      ...counters.flatMap((one) => one.rows()),
      gauge("shopstream_http_in_flight", "Requests being answered.", door.inFlight()),
      gauge("shopstream_http_streams", "Open event streams.", streams.count()),
    ],
  };
}

function createElysia(door: Door, onFailure: (error: unknown) => void) {
  return new Elysia({
    normalize: false,
    // Otherwise a Host header of fewer than four characters hides the path.
    handler: { standardHostname: false },
  }).onError(({ code, error, request }) => {
    if (code === "NOT_FOUND") return door.refuse(request, describe("not_found"));
    onFailure(error);
    return door.refuse(request, describe("internal"));
  });
}

function addRoutes(
  app: ReturnType<typeof createElysia>,
  door: Door,
  routes: readonly Route[],
): readonly RouteCounters[] {
  const all: RouteCounters[] = [];
  for (const route of routes) {
    const counters = createRouteCounters(route.method, route.path);
    all.push(counters);
    const detail = route.operation ?? { hide: true };
    // Elysia reads this function's text: naming only these two keeps it from parsing anything.
    const handler = ({ request, params }: { request: Request; params: Params }) =>
      door.serve(route, counters, request, params);
    app.route(route.method, route.path, handler, { detail });
  }
  for (const path of new Set(routes.map((route) => route.path)))
    addFallback(app, door, path, routes);
  return all;
}

/** OPTIONS, and 405 for every method that no route of `path` takes. */
function addFallback(
  app: ReturnType<typeof createElysia>,
  door: Door,
  path: string,
  routes: readonly Route[],
): void {
  const methods = routes.filter((route) => route.path === path).map(({ method }) => method);
  const allow = [...methods, ...(methods.includes("GET") ? ["HEAD"] : []), "OPTIONS"].join(", ");
  const refuse = ({ request }: { request: Request }) => {
    const detail = `${path} knows ${allow}`;
    return door.refuse(request, new Problem("method_not_allowed", detail, { headers: { allow } }));
  };
  const options = ({ request }: { request: Request }) =>
    door.pass(request, new Response(null, { status: 204, headers: { allow } }));
  app.all(path, refuse, { detail: { hide: true } });
  app.options(path, options, { detail: { hide: true } });
}

function gauge(name: string, help: string, value: number): MetricRow {
  return { kind: "gauge", name, help, labels: {}, value };
}
