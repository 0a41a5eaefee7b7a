/**
 * Requests of the tests, and what is true of every answer.
 *
 * Each answer is checked for its correlation id, and each error for being a complete problem, so
 * that no test has to remember it.
 */

import { expect } from "bun:test";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import type { HttpApp } from "../http-app.ts";
import { createHttpApp } from "../http-app.ts";
import type { GatewayDeps } from "../gateway-ports.ts";
import { MemoryShop } from "./memory-shop.ts";

export const ORIGIN = "http://shop.test";

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The parsed body; `undefined` when it is not JSON. */
  readonly json: unknown;
}

export type Send = (method: string, path: string, options?: RequestOptions) => Promise<Reply>;

export interface RequestOptions {
  /** Sent as JSON unless it is text or bytes. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A body that is accepted. */
export const NEW_ORDER = {
  customerId: "c-1",
  items: [{ productId: "sku-1", quantity: 2, price: 10 }],
};

/** A gateway on a shop in memory, under a clock that the test owns. */
export function openShop(limits: Partial<GatewayDeps["limits"]> = {}) {
  const environment = createVirtualEnvironment();
  const shop = new MemoryShop(environment, limits);
  const app = createHttpApp(shop.deps);
  return { environment, shop, app, send: sender((request) => app.handle(request), ORIGIN) };
}

/** Sends through `fetcher` and checks what must hold for every answer. */
export function sender(fetcher: HttpApp["handle"], origin: string): Send {
  return async (method, path, options = {}) => {
    const response = await fetcher(makeRequest(origin, method, path, options));
    const text = await response.text();
    const type = response.headers.get("content-type") ?? "";
    const json: unknown = /\bjson\b/.test(type) && text !== "" ? JSON.parse(text) : undefined;
    const reply = { status: response.status, headers: response.headers, text, json };
    expect(response.headers.get("x-correlation-id")).toMatch(/^[A-Za-z0-9._:-]+$/);
    if (response.status >= 400 && method !== "HEAD" && path !== "/health") checkProblem(reply);
    return reply;
  };
}

export function makeRequest(
  origin: string,
  method: string,
  path: string,
  { body, headers = {} }: RequestOptions,
): Request {
  const isRaw = typeof body === "string" || body instanceof Uint8Array;
  return new Request(origin + path, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: isRaw ? body : JSON.stringify(body) }),
  });
}

function checkProblem({ status, headers, json, text }: Reply): void {
  expect(headers.get("content-type")).toBe("application/problem+json");
  expect(json).toMatchObject({
    type: expect.stringMatching(/^urn:shopstream:problem:[a-z-]+$/),
    title: expect.any(String),
    status,
    detail: expect.any(String),
    instance: expect.stringMatching(/^\//),
    correlationId: headers.get("x-correlation-id"),
  });
  expect(text).not.toMatch(/secret|node_modules|\bat .*:\d+|\.ts\b/);
  if (status === 503) expect(headers.get("retry-after")).toBe("1");
  if (status === 405) expect(headers.get("allow")).toContain("OPTIONS");
}
