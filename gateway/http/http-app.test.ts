/**
 * What holds for every path: methods, correlation, admission, probes, and never a stray text.
 *
 * The order and inventory tests look at single endpoints; this looks at the frame around them.
 */

import { describe, expect, test } from "bun:test";

import { makeRequest, NEW_ORDER, openShop, ORIGIN } from "./testing/api-client.ts";

const PATHS: readonly [path: string, allow: string][] = [
  ["/v1/orders", "POST, GET, HEAD, OPTIONS"],
  ["/v1/orders/x", "GET, HEAD, OPTIONS"],
  ["/v1/orders/x/events", "GET, HEAD, OPTIONS"],
  ["/v1/orders/x/cancel", "POST, OPTIONS"],
  ["/v1/inventory/x", "GET, PUT, HEAD, OPTIONS"],
  ["/live", "GET, HEAD, OPTIONS"],
  ["/ready", "GET, HEAD, OPTIONS"],
  ["/health", "GET, HEAD, OPTIONS"],
  ["/metrics", "GET, HEAD, OPTIONS"],
  ["/docs", "GET, HEAD, OPTIONS"],
  ["/openapi.json", "GET, HEAD, OPTIONS"],
];

describe("methods", () => {
  test.each(PATHS)("of %s: 405 with Allow for the others, 204 for OPTIONS", async (path, allow) => {
    const { send } = openShop();
    for (const method of ["DELETE", "PATCH", "PUT", "POST", "GET"]) {
      if (allow.includes(method)) continue;
      const reply = await send(method, path);
      expect(reply.status).toBe(405);
      expect(reply.headers.get("allow")).toBe(allow);
    }
    const options = await send("OPTIONS", path);
    expect(options.status).toBe(204);
    expect(options.headers.get("allow")).toBe(allow);
  });

  test("HEAD answers what GET does, without the body", async () => {
    const { send } = openShop();
    for (const [path, allow] of PATHS) {
      if (!allow.includes("GET")) continue;
      const get = await send("GET", path);
      const head = await send("HEAD", path);
      expect(head.status).toBe(get.status);
      expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
      expect(head.text).toBe("");
    }
  });

  test("of a path that is not there: 404", async () => {
    const { send } = openShop();
    for (const path of ["/", "/v1", "/v1/orders/x/y", "/v2/orders", "/docs/../other", "//"]) {
      expect((await send("GET", path)).status).toBe(404);
    }
  });

  test("find their path whatever the length of the host", async () => {
    const { app } = openShop();
    const response = await app.handle(new Request("http://a/live"));
    expect(response.status).toBe(200);
  });
});

describe("correlation", () => {
  test("an id that is well formed comes back and goes along", async () => {
    const { send, shop } = openShop();
    const headers = { "x-correlation-id": "Req-1.a:b_c" };
    const reply = await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
    expect(reply.headers.get("x-correlation-id")).toBe("Req-1.a:b_c");
    expect(shop.sent[0]?.options).toEqual({ correlationId: "Req-1.a:b_c", deadlineMs: 5000 });
  });

  test("one that is not, or none, is replaced by a new one", async () => {
    const { send, shop } = openShop();
    const seen: string[] = [];
    for (const id of ["a b", "<script>", "x".repeat(129), "-x", ""]) {
      const headers = { "x-correlation-id": id };
      const reply = await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
      seen.push(reply.headers.get("x-correlation-id") ?? "");
      expect(reply.status).toBe(201);
    }
    expect(new Set(seen).size).toBe(5);
    expect(shop.sent.map(({ options }) => options.correlationId)).toEqual(seen);
  });

  test("a valid trace context goes along, a broken one is dropped", async () => {
    const { send, shop } = openShop();
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    const contexts = [
      `00-${trace}-00f067aa0ba902b7-01`,
      `ff-${trace}-00f067aa0ba902b7-01`,
      `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
      `00-${trace}-${"0".repeat(16)}-01`,
      `00-${trace}-00f067aa0ba902b7`,
    ];
    for (const traceparent of contexts) {
      await send("POST", "/v1/orders", { body: NEW_ORDER, headers: { traceparent } });
    }
    const passedOn = shop.sent.map(({ options }) => options.traceparent);
    expect(passedOn).toEqual([contexts[0], undefined, undefined, undefined, undefined]);
  });
});

describe("admission", () => {
  test("beyond the bound is 503 at once, and probes are still served", async () => {
    const { send, shop, app, environment } = openShop({ inFlightMax: 2 });
    const gate = Promise.withResolvers<void>();
    shop.beforeCommand = () => gate.promise;
    const held = [1, 2].map(() => send("POST", "/v1/orders", { body: NEW_ORDER }));
    await environment.settle();
    expect(app.inFlight()).toBe(2);

    const refused = await send("POST", "/v1/orders", { body: "not even read" });
    expect(refused.status).toBe(503);
    expect(refused.json).toMatchObject({ type: "urn:shopstream:problem:saturated" });
    expect((await send("GET", "/v1/orders/x")).status).toBe(503);
    for (const path of ["/live", "/ready", "/health", "/metrics", "/openapi.json"]) {
      expect((await send("GET", path)).status).toBe(200);
    }

    gate.resolve();
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([201, 201]);
    expect(app.inFlight()).toBe(0);
    expect((await send("POST", "/v1/orders", { body: NEW_ORDER })).status).toBe(201);
  });

  test("leaks no place when an endpoint fails", async () => {
    const { send, shop, app } = openShop({ inFlightMax: 1 });
    shop.beforeCommand = () => Promise.reject(new Error("secret"));
    for (let count = 0; count < 3; count++) {
      expect((await send("POST", "/v1/orders", { body: NEW_ORDER })).status).toBe(500);
      expect((await send("POST", "/v1/orders", { body: "{" })).status).toBe(400);
    }
    expect(app.inFlight()).toBe(0);
  });

  test("ends with the stop: what is inside finishes, what comes is 503", async () => {
    const { send, shop, app, environment } = openShop();
    const gate = Promise.withResolvers<void>();
    shop.beforeCommand = () => gate.promise;
    const held = send("POST", "/v1/orders", { body: NEW_ORDER });
    await environment.settle();
    app.close();
    const late = await send("POST", "/v1/orders", { body: NEW_ORDER });
    expect(late.status).toBe(503);
    expect(late.json).toMatchObject({ type: "urn:shopstream:problem:not-ready" });
    gate.resolve();
    expect((await held).status).toBe(201);
    expect((await send("GET", "/live")).status).toBe(200);
  });
});

describe("probes", () => {
  test("readiness follows the shop, liveness does not", async () => {
    const { send, shop } = openShop();
    expect((await send("GET", "/ready")).status).toBe(200);
    shop.isReady = false;
    const reply = await send("GET", "/ready");
    expect(reply.status).toBe(503);
    expect(reply.json).toMatchObject({ type: "urn:shopstream:problem:not-ready" });
    expect((await send("GET", "/live")).status).toBe(200);
  });

  test("health tells about each service, and is 503 when one is not up", async () => {
    const { send, shop } = openShop();
    const healthy = await send("GET", "/health");
    expect(healthy.status).toBe(200);
    expect(healthy.json).toEqual({
      status: "up",
      services: [
        expect.objectContaining({ name: "order", status: "up" }),
        {
          name: "payment",
          status: "up",
          latencyMs: 130,
          errorRate: 0.5,
          lastChecked: "2023-11-14T22:13:20.000Z",
        },
      ],
    });
    shop.paymentStatus = "down";
    const degraded = await send("GET", "/health");
    expect(degraded.status).toBe(503);
    expect(degraded.json).toMatchObject({ status: "degraded" });
  });

  test("metrics are passed through as they are", async () => {
    const { send } = openShop();
    const reply = await send("GET", "/metrics");
    expect(reply.text).toBe("up 1\n");
    expect(reply.headers.get("content-type")).toBe("text/plain; version=0.0.4");
  });
});

test("the gateway counts its requests by route and status, never by what was asked", async () => {
  const { send, app } = openShop();
  await send("POST", "/v1/orders", { body: NEW_ORDER });
  await send("POST", "/v1/orders", { body: {} });
  for (const id of ["a", "b", "c"]) await send("GET", `/v1/orders/${id}`);
  const rows = app.metricRows();
  const requests = rows.filter(({ name }) => name === "shopstream_http_requests_total");
  expect(requests).toMatchObject([
    { labels: { method: "POST", route: "/v1/orders", status: "201" }, value: 1 },
    { labels: { method: "POST", route: "/v1/orders", status: "422" }, value: 1 },
    { labels: { method: "GET", route: "/v1/orders/:id", status: "404" }, value: 3 },
  ]);
  const durations = rows.filter(({ name }) => name === "shopstream_http_request_duration_seconds");
  expect(durations).toMatchObject([{ count: 2 }, { count: 3 }]);
  expect(rows.find(({ name }) => name === "shopstream_http_in_flight")).toMatchObject({ value: 0 });
});

test("a body over the bound is cut off while it is read, whatever it announced", async () => {
  const { app } = openShop({ bodyBytes: 4096 });
  let pulled = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled++;
      controller.enqueue(new Uint8Array(1024).fill(0x20));
    },
  });
  const headers = { "content-type": "application/json" };
  const request = new Request(`${ORIGIN}/v1/orders`, { method: "POST", headers, body });
  const response = await app.handle(request);
  expect(response.status).toBe(413);
  expect(pulled).toBeLessThan(20);
  const announced = makeRequest(ORIGIN, "POST", "/v1/orders", {
    body: "{}",
    headers: { "content-length": "999999" },
  });
  expect((await app.handle(announced)).status).toBe(413);
});
