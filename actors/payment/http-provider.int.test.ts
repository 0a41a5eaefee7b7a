/**
 * The HTTP provider against a real server: what it sends, and what it makes of every answer.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { createHttpProvider } from "./http-provider.ts";

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly key: string | null;
  readonly body: unknown;
}

const environment = systemEnvironment;
const { signal } = new AbortController();
const capture = {
  idempotencyKey: "o1:capture",
  orderId: "o1",
  amountMinor: 1_900,
  currency: "USD",
  token: "tok_1",
};
const refund = {
  idempotencyKey: "o1:refund",
  captureKey: "o1:capture",
  orderId: "o1",
  reference: "c1",
  amountMinor: 1_900,
  currency: "USD",
};

let answer: (request: Request) => Response | Promise<Response>;
let seen: Seen[];
let server: Bun.Server<undefined>;

beforeAll(() => {
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 60,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const key = request.headers.get("idempotency-key");
      seen.push({ method: request.method, path: pathname, key, body: await request.json() });
      return answer(request);
    },
  });
});
afterAll(() => server.stop(true));
beforeEach(() => {
  seen = [];
});

function provider(timeoutMs = 20_000) {
  return createHttpProvider(environment, { baseUrl: `http://127.0.0.1:${server.port}`, timeoutMs });
}

describe("a capture", () => {
  test("sends amount, currency and token under its idempotency key", async () => {
    answer = () => Response.json({ status: "captured", reference: "c1" });
    expect(await provider().capture(capture, signal)).toEqual({
      status: "captured",
      reference: "c1",
    });
    const { idempotencyKey: key, ...body } = capture;
    expect(seen).toEqual([{ method: "POST", path: "/captures", key, body }]);
  });
  test("that is answered with 402 is declined", async () => {
    const body = { status: "declined", reason: "no funds" };
    answer = () => Response.json(body, { status: 402 });
    expect(await provider().capture(capture, signal)).toEqual({
      status: "declined",
      reason: "no funds",
    });
  });
});

describe("a refund", () => {
  test("names the capture that it undoes", async () => {
    answer = () => Response.json({ status: "refunded", reference: "r1" });
    expect(await provider().refund(refund, signal)).toEqual({
      status: "refunded",
      reference: "r1",
    });
    const { idempotencyKey: key, ...body } = refund;
    expect(seen).toEqual([{ method: "POST", path: "/refunds", key, body }]);
  });
  test("may find nothing to refund", async () => {
    answer = () => Response.json({ status: "nothing_to_refund", reference: "r1" });
    const result = await provider().refund(refund, signal);
    expect(result.status).toBe("nothing_to_refund");
  });
});

describe("the provider is unavailable", () => {
  const answers: Readonly<Record<string, () => Response>> = {
    "when it fails": () => new Response("no", { status: 500 }),
    "when it is overloaded": () => new Response("no", { status: 503 }),
    "when it refuses the request": () => new Response("no", { status: 400 }),
    "when it answers no JSON": () => new Response("<html>"),
    "when it answers another JSON": () => Response.json({ status: "captured" }),
    "when it redirects": () => Response.redirect("/elsewhere", 307),
    "when its answer is longer than an answer can be": () =>
      new Response(`{"status":"captured","reference":"c1"${" ".repeat(100_000)}}`),
  };
  for (const [name, respond] of Object.entries(answers)) {
    test(name, async () => {
      answer = respond;
      const attempt = provider().capture(capture, signal);
      expect(attempt).rejects.toMatchObject({ code: "PROVIDER_UNAVAILABLE", retry: "later" });
      expect(seen).toHaveLength(1);
    });
  }

  test("when it does not answer in time", async () => {
    const never = Promise.withResolvers<Response>();
    answer = () => never.promise;
    const attempt = provider(50).capture(capture, signal);
    expect(attempt).rejects.toMatchObject({ code: "PROVIDER_UNAVAILABLE" });
    expect(attempt).rejects.toThrow("no answer within 50 ms");
    never.resolve(new Response());
  });

  test("when it begins to answer and does not end in time", async () => {
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{"status":')),
    });
    answer = () => new Response(body);
    const attempt = provider(100).capture(capture, signal);
    expect(attempt).rejects.toThrow("no answer within 100 ms");
  });

  test("when nobody listens", async () => {
    const closed = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const baseUrl = `http://127.0.0.1:${closed.port}`;
    await closed.stop(true);
    const gateway = createHttpProvider(environment, { baseUrl, timeoutMs: 20_000 });
    const attempt = gateway.refund(refund, signal);
    expect(attempt).rejects.toMatchObject({ code: "PROVIDER_UNAVAILABLE" });
  });
});

test("closing ends a call under way, and lets no other begin", async () => {
  const never = Promise.withResolvers<Response>();
  const arrived = Promise.withResolvers<void>();
  answer = () => {
    arrived.resolve();
    return never.promise;
  };
  const closing = new AbortController();
  const gateway = provider();
  const attempt = gateway.capture(capture, closing.signal);
  await arrived.promise;
  closing.abort();
  expect(attempt).rejects.toMatchObject({ code: "CLOSED" });
  expect(gateway.capture(capture, closing.signal)).rejects.toMatchObject({ code: "CLOSED" });
  expect(seen).toHaveLength(1);
  never.resolve(new Response());
});
