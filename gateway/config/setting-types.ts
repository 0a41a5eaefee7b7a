/**
 * What settings are made of: bounded numbers, names, texts and groups, each with its default.
 *
 * Refuses, by its types, a setting without bounds, default or meaning.
 */

import type { TSchema } from "@sinclair/typebox";

import { Type } from "@sinclair/typebox";

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const SECOND_MS = 1000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;
export const YEAR_MS = 365 * DAY_MS;

export function integer(minimum: number, maximum: number, initial: number, description: string) {
  return Type.Integer({ minimum, maximum, default: initial, description });
}

export function rate(description: string) {
  return Type.Number({ minimum: 0, maximum: 1, default: 0, description });
}

export function text(initial: string, description: string) {
  return Type.String({ minLength: 1, maxLength: 1024, default: initial, description });
}

export function oneOf<const Names extends readonly string[]>(
  names: Names,
  initial: Names[number],
  description: string,
) {
  return Type.Union(
    names.map((name: Names[number]) => Type.Literal(name)),
    { default: initial, description },
  );
}

export function group<const Settings extends Record<string, TSchema>>(settings: Settings) {
  return Type.Object(settings, { additionalProperties: false });
}

/** A value that nothing may change. */
export type Frozen<Value> = Value extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : Value extends object
    ? { readonly [Name in keyof Value]: Frozen<Value[Name]> }
    : Value;
