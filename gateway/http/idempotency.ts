/**
 * The `Idempotency-Key` header and the fingerprint of the body it came with.
 *
 * Two bodies that differ only in white space or the order of members have one fingerprint.
 * Refuses a key that is empty, longer than 255 characters, or not visible ASCII.
 */

import { Problem } from "./problem.ts";

export const IDEMPOTENCY_HEADER = "idempotency-key";
export const IDEMPOTENCY_KEY_CHARS_MAX = 255;

const VISIBLE_ASCII = /^[\x21-\x7e]{1,255}$/;

/** The key, `undefined` when the caller sent none. */
export function idempotencyKeyOf(request: Request): string | undefined | Problem {
  const key = request.headers.get(IDEMPOTENCY_HEADER);
  if (key === null) return undefined;
  if (VISIBLE_ASCII.test(key)) return key;
  const detail = `must be 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters`;
  return new Problem("malformed_request", `the Idempotency-Key ${detail}`, {
    errors: [{ header: "Idempotency-Key", detail }],
  });
}

/** SHA-256, in hex, of the body in canonical form. `body` must come from JSON. */
export function fingerprint(body: unknown): string {
  return new Bun.CryptoHasher("sha256").update(canonicalJson(body)).digest("hex");
}

/** JSON with sorted members and no white space (RFC 8785, for values that came from JSON). */
export function canonicalJson(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(",")}]`;
  const members = Object.entries(value)
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, item]) => `${JSON.stringify(name)}:${canonicalJson(item)}`);
  return `{${members.join(",")}}`;
}
