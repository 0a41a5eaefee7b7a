/**
 * Versions as entity tags (RFC 9110, sections 8.8.3 and 13.1): version 7 is `"7"`.
 *
 * Refuses a header that is not a list of entity tags. A weak tag, or one that is not a version,
 * is well formed but matches nothing.
 */

export type TagCondition =
  | { readonly kind: "absent" }
  | { readonly kind: "any" }
  | { readonly kind: "versions"; readonly versions: readonly number[] }
  | { readonly kind: "malformed" };

const TAG = String.raw`(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"`;
const LIST = new RegExp(String.raw`^${TAG}(?:\s*,\s*${TAG}){0,63}$`);
const STRONG_VERSION = /^"([1-9][0-9]{0,15})"$/;

export function entityTag(version: number): string {
  return `"${version}"`;
}

/** What `If-Match` or `If-None-Match` asks for; strong comparison. */
export function parseCondition(header: string | null): TagCondition {
  if (header === null) return { kind: "absent" };
  const text = header.trim();
  if (text === "*") return { kind: "any" };
  if (!LIST.test(text)) return { kind: "malformed" };
  const versions = (text.match(new RegExp(TAG, "g")) ?? [])
    .map((tag) => STRONG_VERSION.exec(tag)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number);
  return { kind: "versions", versions };
}
