/**
 * The network that can be broken, on real sockets: each fault looks as it should from both ends.
 *
 * The suites for remote brokers stand on it, so a fault that did nothing would prove nothing.
 */

import type { Server, Socket } from "node:net";

import { afterEach, beforeEach, expect, test } from "bun:test";
import { connect, createServer } from "node:net";

import { assert } from "../../runtime/errors.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { TcpProxy } from "./tcp-proxy.fixture.ts";

const PATIENCE_MS = 20_000;

let server: Server;
let proxy: TcpProxy;
let heard: Buffer[] = [];
let accepted: Socket[] = [];

beforeEach(async () => {
  heard = [];
  accepted = [];
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      heard.push(Buffer.from(bytes));
      socket.write(bytes);
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert(address !== null && typeof address === "object", "the server listens");
  proxy = await TcpProxy.listen(systemEnvironment);
  proxy.forwardTo(`127.0.0.1:${address.port}`);
});

afterEach(async () => {
  await proxy.close();
  for (const socket of accepted) socket.destroy();
  server.close();
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const limitMs = systemEnvironment.monotonicMs() + PATIENCE_MS;
  while (!holds()) {
    assert(systemEnvironment.monotonicMs() < limitMs, `waited in vain until ${what}`);
    await Bun.sleep(2);
  }
}

function dial() {
  const [host = "", port = ""] = proxy.address.split(":");
  const socket = connect({ host, port: Number(port), noDelay: true });
  const seen = { pieces: [] as Buffer[], error: "", isClosed: false };
  socket.on("data", (bytes) => void seen.pieces.push(Buffer.from(bytes)));
  socket.on("error", (error) => void (seen.error = String(Reflect.get(error, "code"))));
  socket.on("close", () => void (seen.isClosed = true));
  const text = (): string => Buffer.concat(seen.pieces).toString();
  return { socket, seen, text };
}

const heardText = (): string => Buffer.concat(heard).toString();

test("forwards both ways, many megabytes, in order", async () => {
  const { socket, seen } = dial();
  const bytes = Buffer.alloc(8 * 1_024 * 1_024, Buffer.from("0123456789abcdef-"));
  socket.write(bytes);
  const size = (): number => seen.pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
  await until("all came back", () => size() >= bytes.byteLength);
  expect(Buffer.concat(seen.pieces).equals(bytes)).toBe(true);
  socket.destroy();
});

test("passes an end on, after what came before it", async () => {
  const { socket, seen, text } = dial();
  socket.end("last words");
  await until("it is over", () => seen.isClosed);
  expect(text()).toBe("last words");
  expect(seen.error).toBe("");
});

test("a cut resets what is open and lets new connections through", async () => {
  const first = dial();
  first.socket.write("one");
  await until("it came back", () => first.text() === "one");
  proxy.cut();
  await until("it was reset", () => first.seen.isClosed);
  expect(first.seen.error).toBe("ECONNRESET");
  const second = dial();
  second.socket.write("two");
  await until("the next one works", () => second.text() === "two");
  second.socket.destroy();
});

test("frozen connections stay silent after it healed, and are never closed", async () => {
  const old = dial();
  old.socket.write("before");
  await until("it came back", () => old.text() === "before");
  proxy.freeze();
  const during = dial();
  old.socket.write("lost");
  during.socket.write("lost too");
  await until("the second has come through", () => proxy.stats().made === 2);
  proxy.heal();
  const fresh = dial();
  fresh.socket.write("after");
  await until("a new connection works", () => fresh.text() === "after");
  expect(heardText()).toBe("beforeafter");
  expect([old.seen.isClosed, during.seen.isClosed]).toEqual([false, false]);
  expect(proxy.stats()).toEqual({ made: 3, open: 1 });
  for (const { socket } of [old, during, fresh]) socket.destroy();
});

test("an answer is lost: the server heard it, the client was reset", async () => {
  const { socket, seen, text } = dial();
  proxy.loseAnswers();
  socket.write("question");
  await until("it was reset", () => seen.isClosed);
  expect(heardText()).toBe("question");
  expect(text()).toBe("");
});

test("a slow network brings every byte, in order, in pieces, and late", async () => {
  const { socket, text } = dial();
  proxy.slow(1, 50);
  const startMs = systemEnvironment.monotonicMs();
  const question = "0123456789".repeat(20);
  socket.write(question);
  await until("all came back", () => text().length === question.length);
  expect(text()).toBe(question);
  expect(systemEnvironment.monotonicMs() - startMs).toBeGreaterThan(95);
  expect(heard.length).toBeGreaterThan(20);
  socket.destroy();
});

test("without a server behind it, a connection is reset", async () => {
  server.close();
  for (const socket of accepted) socket.destroy();
  proxy.forwardTo("127.0.0.1:1");
  const { seen } = dial();
  await until("it was reset", () => seen.isClosed);
});
