/**
 * JSON as an API should take it: what two readers could understand differently is refused.
 *
 * Refuses nesting beyond a bound (before anything is built), a member name that occurs twice or
 * reaches for a prototype, text that is not Unicode, and a number that changes when it is read.
 * One pass over the text, one over the value; member names are never decoded twice: an object
 * that lost a member to its namesake has fewer members than its text has colons.
 */

/** A reason, fit for the client. */
export interface JsonRefusal {
  readonly refused: string;
}

export type JsonResult = { readonly value: unknown } | JsonRefusal;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const DOT = 0x2e;
const LOWER_E = 0x65;
const UPPER_E = 0x45;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const PLUS = 0x2b;
const MINUS = 0x2d;

/** A decimal of this many significant digits survives a double (IEEE 754 binary64). */
const DIGITS_EXACT = 15;
const FORBIDDEN: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Reads `text`; objects and arrays may nest `depthMax` deep. */
export function parseStrictJson(text: string, depthMax: number): JsonResult {
  const colons = scanText(text, depthMax);
  if (typeof colons === "string") return { refused: colons };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return { refused: "not well-formed JSON" };
    throw error;
  }
  const members = countMembers(value);
  if (typeof members === "string") return { refused: members };
  if (members !== colons) return { refused: "a member name occurs twice in one object" };
  if (text.includes("\\u") && !isWellFormed(value)) {
    return { refused: "a string holds half of a surrogate pair" };
  }
  return { value };
}

/** Colons between names and values, or why `text` is refused; the grammar is left to the parser. */
function scanText(text: string, depthMax: number): number | string {
  let depth = 0;
  let colons = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
      if (at < 0) return "not well-formed JSON";
    } else if (code === COLON) colons++;
    else if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      if (++depth > depthMax) return `nested deeper than ${depthMax}`;
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) depth--;
    else if (code === DOT || code === LOWER_E || code === UPPER_E) {
      const end = endOfNumber(text, at);
      if (!isExact(text.slice(startOfNumber(text, at), end))) {
        return "a number has more digits than can be kept";
      }
      at = end - 1;
    }
  }
  return colons;
}

/** Index of the closing quote; -1 when there is none. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end >= 0) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return -1;
}

function startOfNumber(text: string, at: number): number {
  let start = at;
  while (start > 0 && isNumberCode(text.charCodeAt(start - 1))) start--;
  return start;
}

function endOfNumber(text: string, at: number): number {
  let end = at + 1;
  while (end < text.length && isNumberCode(text.charCodeAt(end))) end++;
  return end;
}

function isNumberCode(code: number): boolean {
  if (code >= 0x30 && code <= 0x39) return true;
  if (code === DOT || code === LOWER_E || code === UPPER_E) return true;
  return code === PLUS || code === MINUS;
}

/** False when reading the literal would change its value; what is no number is left to parse. */
function isExact(literal: string): boolean {
  if (literal.length <= DIGITS_EXACT && !/[eE]/.test(literal)) return true;
  const parts = /^-?([0-9]+)(?:\.([0-9]+))?(?:[eE][+-]?[0-9]+)?$/.exec(literal);
  if (parts === null) return true;
  const digits = `${parts[1] ?? ""}${parts[2] ?? ""}`.replace(/^0+/, "").replace(/0+$/, "");
  const value = Number(literal);
  if (digits === "") return true;
  return digits.length <= DIGITS_EXACT && value !== 0 && Number.isFinite(value);
}

/** Members in all objects of `value`, or why it is refused. Depth is bounded by the scan. */
function countMembers(value: unknown): number | string {
  if (typeof value !== "object" || value === null) return 0;
  let members = 0;
  if (Array.isArray(value)) {
    for (const item of value) {
      const inner = countMembers(item);
      if (typeof inner === "string") return inner;
      members += inner;
    }
    return members;
  }
  const fields = value as Readonly<Record<string, unknown>>; // what is left of JSON is objects
  for (const name in fields) {
    if (FORBIDDEN.has(name)) return `the member name ${name} is refused`;
    const inner = countMembers(fields[name]);
    if (typeof inner === "string") return inner;
    members += inner + 1;
  }
  return members;
}

function isWellFormed(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  if (Array.isArray(value)) return value.every((item) => isWellFormed(item));
  return Object.entries(value).every(([name, item]) => name.isWellFormed() && isWellFormed(item));
}
