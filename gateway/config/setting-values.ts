/**
 * One setting's value: from the text of a flag or variable, checked, and described.
 *
 * Text is read strictly: a number is digits, a boolean is one of four words, a list is split at
 * commas, a table or a list of tables is JSON. What does not read as the setting's type stays text
 * and is then refused by the check, so that every refusal says the same thing: what was given,
 * where, and what is allowed.
 */

import type { TSchema, TString } from "@sinclair/typebox";
import { KindGuard } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import type { Setting } from "./setting-names.ts";

const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?$/;
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["on", true],
  ["false", false],
  ["off", false],
]);

/** What `text` says as a value of `schema`; the text itself when it cannot be read as one. */
export function readText(schema: TSchema, text: string): unknown {
  if (KindGuard.IsBoolean(schema)) return BOOLEANS.get(text) ?? text;
  if (isStructured(schema)) return readJson(text);
  if (KindGuard.IsArray(schema)) {
    return text.split(",").map((item) => readText(schema.items, item.trim()));
  }
  if (KindGuard.IsUnion(schema)) {
    if (schema.anyOf.some((option) => KindGuard.IsLiteral(option) && option.const === text)) {
      return text;
    }
    if (schema.anyOf.some((option) => isStructured(option))) return readJson(text);
    const numeric = schema.anyOf.find((option) => isNumeric(option));
    return numeric === undefined ? text : readText(numeric, text);
  }
  return isNumeric(schema) && NUMBER.test(text) ? Number(text) : text;
}

/** True when `value` is one the setting allows. */
export function allows(setting: Setting, value: unknown): boolean {
  return Value.Check(setting.schema, value);
}

/** What a value may be, in words: `a whole number from 0 to 65535`. */
export function describeAllowed(schema: TSchema): string {
  if (KindGuard.IsBoolean(schema)) return "true, false, on or off";
  if (KindGuard.IsLiteral(schema)) return String(schema.const);
  if (KindGuard.IsInteger(schema)) return `a whole number ${describeRange(schema)}`;
  if (KindGuard.IsNumber(schema)) return `a number ${describeRange(schema)}`;
  if (KindGuard.IsObject(schema)) return `a table of ${Object.keys(schema.properties).join(", ")}`;
  if (KindGuard.IsArray(schema) && isStructured(schema)) {
    return `a list of which each is ${describeAllowed(schema.items)}`;
  }
  if (KindGuard.IsArray(schema)) {
    return `a list without repeats of ${describeAllowed(schema.items)}`;
  }
  if (KindGuard.IsUnion(schema)) {
    const options = schema.anyOf.map((option) => describeAllowed(option));
    return `${options.slice(0, -1).join(", ")} or ${options.at(-1)}`;
  }
  return KindGuard.IsString(schema) ? describeText(schema) : "a value";
}

/** Where inside a table or a list of tables the fault is; empty for a plain value. */
export function describeFault(setting: Setting, value: unknown): string {
  if (typeof value !== "object") return "";
  const first = Value.Errors(setting.schema, value).First();
  return first === undefined || first.path === "" ? "" : `; at ${first.path}: ${first.message}`;
}

/** The value as printed: a setting marked as secret, and what an address carries, is left out. */
export function printValue(schema: TSchema, value: unknown): string {
  if (schema["secret"] === true && value !== "") return '"***"';
  if (typeof value !== "string") return JSON.stringify(value);
  return JSON.stringify(value.replace(/^([a-z]+:\/\/)[^/?#]*@/i, "$1***@"));
}

/** Tables and lists of tables, which text can only give as JSON. */
function isStructured(schema: TSchema): boolean {
  return (
    KindGuard.IsObject(schema) || (KindGuard.IsArray(schema) && KindGuard.IsObject(schema.items))
  );
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isNumeric(schema: TSchema): boolean {
  return KindGuard.IsInteger(schema) || KindGuard.IsNumber(schema);
}

/** The only pattern among the settings is that of an address. */
function describeText({ pattern, minLength = 0, maxLength }: TString): string {
  if (pattern?.startsWith("^(https?:") === true) return "an http or https address, or empty";
  if (pattern !== undefined) {
    const isAllowedEmpty = minLength === 0 && new RegExp(pattern).test("");
    return `a text that matches ${pattern}${isAllowedEmpty ? ", or empty" : ""}`;
  }
  if (minLength === 0) return "a text, which may be empty";
  return minLength === maxLength ? `a text of ${minLength} characters` : "a text that is not empty";
}

function describeRange(schema: { readonly minimum?: number; readonly maximum?: number }): string {
  return `from ${schema.minimum ?? "-∞"} to ${schema.maximum ?? "∞"}`;
}
