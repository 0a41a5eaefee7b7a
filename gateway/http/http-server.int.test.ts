/**
 * The gateway behind a real socket: what only shows when bytes arrive in pieces and peers go away.
 *
 * The shop behind is in memory; every deadline is generous, and nothing waits to prove a negative.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { connect } from "node:net";

import { isShopError } from "../../runtime/errors.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import type { GatewayDeps } from "./gateway-ports.ts";
import { createHttpApp } from "./http-app.ts";
import type { HttpServer } from "./http-server.ts";
import { startHttp } from "./http-server.ts";
import { NEW_ORDER, sender } from "./testing/api-client.ts";
import { MemoryShop } from "./testing/memory-shop.ts";

const DEADLINE_MS = 10_000;
const LOOPBACK = { host: "127.0.0.1", port: 0 };

const running: HttpServer[] = [];

afterEach(() => {
  for (const server of running.splice(0)) server.kill();
});

function start(limits: Partial<GatewayDeps["limits"]> = {}) {
  const shop = new MemoryShop(systemEnvironment, limits);
  const app = createHttpApp(shop.deps);
  const server = startHttp(app, LOOPBACK);
  running.push(server);
  return { shop, app, server, send: sender((request) => fetch(request), server.url) };
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error("it never came to be");
    await Bun.sleep(5);
  }
}

/** A connection on which the test writes and reads bytes. */
async function open(server: HttpServer) {
  const socket = connect(server.port, "127.0.0.1");
  let received = "";
  let closed = false;
  socket.on("data", (bytes: Buffer) => (received += bytes.toString("latin1")));
  socket.on("close", () => (closed = true));
  socket.on("error", () => (closed = true));
  await once(socket, "connect");
  return {
    socket,
    received: () => received,
    closed: () => closed,
    write: (text: string) => void socket.write(text),
    until: (text: string) => until(() => received.includes(text)),
  };
}

function head(line: string, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ host: "localhost", ...headers }).map(([n, v]) => `${n}: ${v}`);
  return `${[line, ...lines].join("\r\n")}\r\n\r\n`;
}

async function placeOrder(send: ReturnType<typeof start>["send"]): Promise<string> {
  const { json } = await send("POST", "/v1/orders", { body: NEW_ORDER });
  return (json as { id: string }).id; // Order
}

describe("over a socket", () => {
  test("an order is placed, read, listed and refused as in memory", async () => {
    const { send } = start();
    const id = await placeOrder(send);
    expect((await send("GET", `/v1/orders/${id}`)).text).toContain('"total":20.00');
    expect((await send("GET", "/v1/orders?customerId=c-1")).json).toMatchObject({
      orders: [{ id }],
    });
    expect((await send("DELETE", `/v1/orders/${id}`)).headers.get("allow")).toBe(
      "GET, HEAD, OPTIONS",
    );
    expect((await send("HEAD", `/v1/orders/${id}`)).status).toBe(200);
    expect((await send("GET", "/nope")).status).toBe(404);
    expect((await send("GET", "/docs/swagger-ui.js")).text.length).toBeGreaterThan(1_000_000);
  });

  test("a host header of any length leads to the same path", async () => {
    const { server } = start();
    const client = await open(server);
    client.write(head("GET /live HTTP/1.1", { host: "a" }));
    await client.until("HTTP/1.1 200");
    client.socket.destroy();
  });

  test("many at once with one idempotency key place one order", async () => {
    const { send, shop } = start();
    shop.beforeCommand = () => Bun.sleep(5);
    const headers = { "idempotency-key": "same" };
    const replies = await Promise.all(
      Array.from({ length: 30 }, () => send("POST", "/v1/orders", { body: NEW_ORDER, headers })),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(replies.map(({ text }) => text)).size).toBe(1);
    expect(shop.orderCount).toBe(1);
  });

  test("more than may be in flight are refused quickly while the others wait", async () => {
    const { send, shop, app } = start({ inFlightMax: 10 });
    const gate = Promise.withResolvers<void>();
    shop.beforeCommand = () => gate.promise;
    const held = Array.from({ length: 10 }, () => send("POST", "/v1/orders", { body: NEW_ORDER }));
    await until(() => app.inFlight() === 10);
    const shed = await Promise.all(
      Array.from({ length: 50 }, () => send("POST", "/v1/orders", { body: NEW_ORDER })),
    );
    expect(new Set(shed.map(({ status }) => status))).toEqual(new Set([503]));
    gate.resolve();
    expect(new Set((await Promise.all(held)).map(({ status }) => status))).toEqual(new Set([201]));
  });
});

describe("a body that is too large", () => {
  test("in chunks is 413 before its end was sent", async () => {
    const { server, shop } = start({ bodyBytes: 4096 });
    const client = await open(server);
    const headers = { "content-type": "application/json", "transfer-encoding": "chunked" };
    client.write(head("POST /v1/orders HTTP/1.1", headers));
    for (let count = 0; count < 8; count++) client.write(`400\r\n${" ".repeat(1024)}\r\n`);
    await client.until("HTTP/1.1 413");
    expect(client.received()).toContain("application/problem+json");
    expect(shop.sent).toEqual([]);
    client.socket.destroy();
  });

  test("by its announced length is 413 before any of it was sent", async () => {
    const { server } = start();
    const client = await open(server);
    const headers = { "content-type": "application/json", "content-length": "99999999" };
    client.write(head("POST /v1/orders HTTP/1.1", headers));
    await client.until("HTTP/1.1 413");
    expect(client.received()).toContain("application/problem+json");
    client.socket.destroy();
  });

  test("does not disturb the requests of others", async () => {
    const { send } = start();
    const huge = " ".repeat(300 * 1024);
    const replies = await Promise.all([
      send("POST", "/v1/orders", { body: huge }),
      send("POST", "/v1/orders", { body: NEW_ORDER }),
      send("POST", "/v1/orders", { body: huge }),
    ]);
    expect(replies.map(({ status }) => status)).toEqual([413, 201, 413]);
  });
});

test("a body in pieces is read whole, byte by byte if need be", async () => {
  const { server, shop } = start();
  const client = await open(server);
  const body = JSON.stringify(NEW_ORDER);
  const headers = { "content-type": "application/json", "transfer-encoding": "chunked" };
  client.write(head("POST /v1/orders HTTP/1.1", headers));
  client.socket.setNoDelay(true);
  for (const byte of body) {
    client.write(`1\r\n${byte}\r\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.write("0\r\n\r\n");
  await client.until("HTTP/1.1 201");
  expect(shop.orderCount).toBe(1);
  client.socket.destroy();
});

test("a client that goes away in the middle of its body leaves nothing behind", async () => {
  const { server, app, shop, send } = start();
  const client = await open(server);
  const headers = { "content-type": "application/json", "content-length": "100" };
  client.write(head("POST /v1/orders HTTP/1.1", headers) + "{");
  await until(() => app.inFlight() === 1);
  client.socket.destroy();
  await until(() => app.inFlight() === 0);
  expect(shop.sent).toEqual([]);
  expect(shop.failures).toEqual([]);
  expect((await send("GET", "/live")).status).toBe(200);
});

describe("an event stream", () => {
  const asStream = { accept: "text/event-stream" };

  test("reaches a slow reader whole and in order", async () => {
    const { server, send, shop } = start();
    const id = await placeOrder(send);
    const client = await open(server);
    client.write(head(`GET /v1/orders/${id}/events HTTP/1.1`, asStream));
    await client.until("id: 1");
    client.socket.pause();
    shop.deliver(id);
    await Bun.sleep(50);
    client.socket.resume();
    await client.until('event: end\ndata: {"reason":"settled"}');
    const ids = [...client.received().matchAll(/^id: (\d+)$/gm)].map(([, version]) => version);
    expect(ids).toEqual(["1", "2", "3", "4", "5", "6"]);
    client.socket.destroy();
  });

  test("is let go of when its reader disconnects", async () => {
    const { server, send, app, shop } = start();
    const id = await placeOrder(send);
    const client = await open(server);
    client.write(head(`GET /v1/orders/${id}/events HTTP/1.1`, asStream));
    await client.until("id: 1");
    expect(app.openStreams()).toBe(1);
    client.socket.destroy();
    await until(() => app.openStreams() === 0 && shop.listenerCount === 0);
  });
});

describe("stopping", () => {
  test("finishes what is in flight, ends the streams, and takes nothing new", async () => {
    const { server, send, app, shop } = start();
    const id = await placeOrder(send);
    const stream = await open(server);
    stream.write(head(`GET /v1/orders/${id}/events HTTP/1.1`, { accept: "text/event-stream" }));
    await stream.until("id: 1");
    const gate = Promise.withResolvers<void>();
    shop.beforeCommand = () => gate.promise;
    const held = send("POST", "/v1/orders", { body: NEW_ORDER });
    await until(() => app.inFlight() === 1);

    const drained = server.drain();
    await stream.until('{"reason":"stopping"}');
    const late = await open(server).catch(() => undefined);
    expect(late).toBeUndefined();
    gate.resolve();
    expect((await held).status).toBe(201);
    await drained;
  });

  test("is not held up by a client that keeps an idle connection", async () => {
    const { server } = start();
    const client = await open(server);
    client.write(head("GET /live HTTP/1.1"));
    await client.until("HTTP/1.1 200");
    await server.drain();
    await until(() => client.closed());
  });
});

test("a port that is taken is refused by name, not shared", async () => {
  const { app, server } = start();
  try {
    running.push(startHttp(app, { host: "127.0.0.1", port: server.port }));
  } catch (error) {
    expect(isShopError(error, "BAD_CONFIGURATION")).toBe(true);
    expect(String(error)).toContain(`127.0.0.1:${server.port}`);
    return;
  }
  throw new Error("two servers share a port");
});
