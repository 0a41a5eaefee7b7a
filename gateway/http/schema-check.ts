/**
 * A compiled schema that answers with problems instead of exceptions.
 *
 * Names every place that does not fit, up to a bound, by JSON pointer, and says what was expected
 * there; never what was found.
 */

import type { Static, TSchema } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";

import type { ProblemPart } from "./problem.ts";
import { bodyPointer, Problem } from "./problem.ts";

const PARTS_MAX = 20;

export type BodyCheck<Schema extends TSchema> = (
  value: unknown,
) => { readonly body: Static<Schema> } | Problem;

/** Compiles `schema` once; the check itself allocates only what it returns. */
export function compileBodyCheck<Schema extends TSchema>(schema: Schema): BodyCheck<Schema> {
  const compiled = TypeCompiler.Compile(schema);
  return (value) => {
    if (compiled.Check(value)) return { body: value };
    const parts = new Map<string, ProblemPart>();
    for (const { path, message } of compiled.Errors(value)) {
      const pointer = bodyPointer(path);
      // The first error at a place says most; the others follow from it.
      if (!parts.has(pointer)) parts.set(pointer, { pointer, detail: message });
      if (parts.size >= PARTS_MAX) break;
    }
    return invalidRequest([...parts.values()]);
  };
}

/** 422 for `errors`. */
export function invalidRequest(errors: readonly ProblemPart[]): Problem {
  const count = errors.length === 1 ? "one place does" : `${errors.length} places do`;
  return new Problem("invalid_request", `${count} not fit the schema; see errors`, { errors });
}
