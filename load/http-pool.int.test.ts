/**
 * The pool against real sockets: what each failure means, and that it never mixes up answers.
 */

import { afterEach, describe, expect, test } from "bun:test";

import { createHttpPool } from "./http-pool.ts";
import { findFreePort } from "./shop-process.ts";
import { isShopError } from "../runtime/errors.ts";
import type { ErrorCode } from "../runtime/errors.ts";
import type { HttpPool } from "./http-pool.ts";

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function poolFor(port: number, connectionsMax: number, timeoutMs = 10_000): HttpPool {
  const pool = createHttpPool({ host: "127.0.0.1", port, connectionsMax, timeoutMs });
  cleanups.push(() => pool.close());
  return pool;
}

function serve(fetch: (request: Request) => Response | Promise<Response>): number {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch });
  cleanups.push(() => void server.stop(true));
  return server.port ?? 0;
}

/** A server that gets a connection's bytes and does with the socket as it likes. */
function serveRaw(data: (socket: Bun.Socket) => void): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data } });
  cleanups.push(() => listener.stop(true));
  return listener.port;
}

async function codeOf(request: Promise<unknown>): Promise<ErrorCode | undefined> {
  const error = await request.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return isShopError(error) ? error.code : undefined;
}

describe("createHttpPool", () => {
  test("gives every request its own answer, over few connections", async () => {
    const peers = new Set<string>();
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        peers.add(String(server.requestIP(request)?.port));
        return Response.json({ echo: await request.text(), path: new URL(request.url).pathname });
      },
    });
    cleanups.push(() => void server.stop(true));
    const pool = poolFor(server.port ?? 0, 7);
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, n) =>
        pool.request({ method: "POST", path: `/${n}`, body: `"${"é".repeat(n)}"` }),
      ),
    );
    for (const [n, { body }] of answers.entries()) {
      expect(JSON.parse(body)).toEqual({ echo: `"${"é".repeat(n)}"`, path: `/${n}` });
    }
    expect(peers.size).toBe(7);
  });

  test("sends a body larger than a socket takes at once", async () => {
    const port = serve(async (request) => new Response(String((await request.text()).length)));
    const body = "x".repeat(8 * 1024 * 1024);
    const answer = await poolFor(port, 1).request({ method: "POST", path: "/", body });
    expect(answer.body).toBe(String(body.length));
  });

  test("calls a refused connection CLOSED: nothing was sent", async () => {
    const pool = poolFor(findFreePort(), 2);
    const codes = await Promise.all(
      Array.from({ length: 20 }, () => codeOf(pool.request({ method: "GET", path: "/" }))),
    );
    expect(new Set(codes)).toEqual(new Set(["CLOSED"]));
  });

  test("calls a connection that is cut before its answer INDETERMINATE, and goes on", async () => {
    let cuts = 0;
    const port = serveRaw((socket) => {
      if (cuts++ === 0) socket.terminate();
      else socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    const pool = poolFor(port, 1);
    const first = codeOf(pool.request({ method: "GET", path: "/" }));
    const second = pool.request({ method: "GET", path: "/" });
    expect(await first).toBe("INDETERMINATE");
    expect((await second).body).toBe("ok");
  });

  test("calls an answer that is late or no HTTP INDETERMINATE", async () => {
    // The first is answered, so that the connection of the second is there: it was sent.
    let asked = 0;
    const silent = serveRaw((socket) => {
      if (asked++ === 0) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    const pool = poolFor(silent, 1, 1_500);
    expect((await pool.request({ method: "GET", path: "/" })).body).toBe("ok");
    expect(await codeOf(pool.request({ method: "GET", path: "/" }))).toBe("INDETERMINATE");
    expect(asked).toBe(2);
    const garbage = serveRaw((socket) => void socket.write("hello\r\n\r\n"));
    const other = poolFor(garbage, 1).request({ method: "GET", path: "/" });
    expect(await codeOf(other)).toBe("INDETERMINATE");
  });

  test("goes on over a new connection when the server closes after its answer", async () => {
    let connections = 0;
    const port = serveRaw((socket) => {
      connections++;
      socket.end("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
    });
    const pool = poolFor(port, 1);
    const requests = Array.from({ length: 5 }, () => pool.request({ method: "GET", path: "/" }));
    for (const { body } of await Promise.all(requests)) expect(body).toBe("ok");
    expect(connections).toBe(5);
  });

  test("settles every request when it is closed", async () => {
    const pool = poolFor(
      serveRaw(() => undefined),
      2,
    );
    const requests = Array.from({ length: 10 }, () =>
      codeOf(pool.request({ method: "GET", path: "/" })),
    );
    pool.close();
    for (const code of await Promise.all(requests)) {
      expect(code === "CLOSED" || code === "INDETERMINATE").toBe(true);
    }
    expect(await codeOf(pool.request({ method: "GET", path: "/" }))).toBe("CLOSED");
  });
});
