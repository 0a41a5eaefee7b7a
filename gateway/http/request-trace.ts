/**
 * What follows a request through the shop: its correlation id and its W3C trace context.
 *
 * Both are taken from the caller when they are well formed and are otherwise replaced or dropped:
 * a broken tracing header must not cost an order.
 */

import type { Environment } from "../../runtime/environment.ts";

export const CORRELATION_HEADER = "x-correlation-id";

const CORRELATION_ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The caller's correlation id, or a new one. */
export function correlationIdOf(request: Request, environment: Pick<Environment, "newId">): string {
  const given = request.headers.get(CORRELATION_HEADER);
  return given !== null && CORRELATION_ID.test(given) ? given : environment.newId();
}

/** The caller's trace context (https://www.w3.org/TR/trace-context/), if it is a valid one. */
export function traceparentOf(request: Request): string | undefined {
  const given = request.headers.get("traceparent");
  return given !== null && TRACEPARENT.test(given) ? given : undefined;
}
