/**
 * Command lines of the load scripts: every flag declared with its default, bounds and meaning.
 *
 * Refuses unknown flags and values out of bounds, naming flag, value and what is allowed.
 */

import { parseArgs } from "node:util";

import { describeError, ShopError } from "../runtime/errors.ts";

export type FlagSpec =
  | {
      readonly kind: "number";
      readonly initial: number;
      readonly low: number;
      readonly high: number;
      readonly help: string;
    }
  | { readonly kind: "text"; readonly initial: string; readonly help: string }
  | {
      readonly kind: "choice";
      readonly initial: string;
      readonly of: readonly string[];
      readonly help: string;
    };

type ValueOf<Spec> = Spec extends { readonly kind: "number" }
  ? number
  : Spec extends { readonly kind: "choice"; readonly of: readonly (infer Word)[] }
    ? Word
    : string;

export type Flags<Specs> = { readonly [Name in keyof Specs]: ValueOf<Specs[Name]> };

/** Throws `BAD_CONFIGURATION`. Names are as written on the command line, without dashes. */
export function parseFlags<const Specs extends Readonly<Record<string, FlagSpec>>>(
  specs: Specs,
  argv: readonly string[],
): Flags<Specs> {
  const options = Object.fromEntries(
    Object.keys(specs).map((name) => [name, { type: "string" } as const]),
  );
  const given = parseOrRefuse(argv, options, specs);
  const values = Object.entries(specs).map(([name, spec]) => {
    const text = given[name];
    return [name, text === undefined ? spec.initial : valueOf(name, spec, text)] as const;
  });
  // Built from `specs` name by name, each value of its spec's kind.
  return Object.fromEntries(values) as Flags<Specs>;
}

/** One line per flag. */
export function describeFlags(specs: Readonly<Record<string, FlagSpec>>): string {
  const lines = Object.entries(specs).map(([name, spec]) => {
    const fallback = spec.initial === "" ? "" : ` (${spec.initial})`;
    return `  --${name.padEnd(18)} ${spec.help}${fallback}`;
  });
  return lines.join("\n");
}

function parseOrRefuse(
  argv: readonly string[],
  options: Record<string, { type: "string" }>,
  specs: Readonly<Record<string, FlagSpec>>,
): Partial<Record<string, string>> {
  try {
    return { ...parseArgs({ args: [...argv], options, strict: true }).values };
  } catch (error) {
    const text = `${describeError(error)}\nflags:\n${describeFlags(specs)}`;
    throw new ShopError("BAD_CONFIGURATION", text, "never", { cause: error });
  }
}

function valueOf(name: string, spec: FlagSpec, text: string): string | number {
  if (spec.kind === "text") return text;
  if (spec.kind === "choice") {
    if (spec.of.includes(text)) return text;
    throw refused(name, text, spec.of.join(", "));
  }
  const value = Number(text);
  if (text.trim() !== "" && value >= spec.low && value <= spec.high) return value;
  throw refused(name, text, `${spec.low} to ${spec.high}`);
}

function refused(name: string, text: string, allowed: string): ShopError {
  const message = `--${name} ${text} is refused; allowed: ${allowed}`;
  return new ShopError("BAD_CONFIGURATION", message, "never");
}
