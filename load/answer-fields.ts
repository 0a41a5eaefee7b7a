/**
 * Answers of the shop, read strictly.
 *
 * A field that is missing or of another type is a `BAD_MESSAGE`, never a default, because the judge
 * must see what the shop says and not what it should have said.
 */

import { ShopError } from "../runtime/errors.ts";
import type { HttpPool, HttpRequest } from "./http-pool.ts";
import type { HttpResponse } from "./http-response.ts";

export type Fields = Readonly<Record<string, unknown>>;

const DETAIL_CHARS_MAX = 200;

/** The answer to `request`; one with another status than `statuses` is a `BAD_MESSAGE`. */
export async function ask(
  pool: Pick<HttpPool, "request">,
  request: HttpRequest,
  statuses: readonly number[],
): Promise<HttpResponse> {
  const response = await pool.request(request);
  if (statuses.includes(response.status)) return response;
  const what = `${request.method} ${request.path}: ${response.status} ${detailOf(response)}`;
  const retry = response.status >= 500 ? "later" : "never";
  throw new ShopError("BAD_MESSAGE", what, retry);
}

export function parse(response: HttpResponse): unknown {
  try {
    return JSON.parse(response.body);
  } catch (error) {
    throw new ShopError("BAD_MESSAGE", `not JSON: ${detailOf(response)}`, "never", {
      cause: error,
    });
  }
}

export function detailOf(response: HttpResponse): string {
  return response.body.slice(0, DETAIL_CHARS_MAX);
}

export function fields(value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ShopError("BAD_MESSAGE", `an object was expected, got ${typeof value}`, "never");
  }
  // Checked above: a plain JSON object, whose fields are unknown.
  return value as Fields;
}

export function text(from: Fields, name: string): string {
  const value = from[name];
  if (typeof value === "string") return value;
  throw new ShopError("BAD_MESSAGE", `${name} is ${typeof value}, not text`, "never");
}

export function number(from: Fields, name: string): number {
  const value = from[name];
  if (typeof value === "number") return value;
  throw new ShopError("BAD_MESSAGE", `${name} is ${typeof value}, not a number`, "never");
}

export function flag(from: Fields, name: string): boolean {
  const value = from[name];
  if (typeof value === "boolean") return value;
  throw new ShopError("BAD_MESSAGE", `${name} is ${typeof value}, not true or false`, "never");
}

export function list(from: Fields, name: string): readonly unknown[] {
  const value: unknown = from[name];
  if (Array.isArray(value)) return value;
  throw new ShopError("BAD_MESSAGE", `${name} is ${typeof value}, not a list`, "never");
}

/** What `read` makes of a field that may be absent. */
export function optional<Value>(
  from: Fields,
  name: string,
  read: (from: Fields, name: string) => Value,
): Value | undefined {
  return from[name] === undefined ? undefined : read(from, name);
}
