/**
 * The query of a URL, read strictly.
 *
 * Refuses a parameter that is not known, given twice or empty; the caller checks the values.
 */

import type { Problem } from "./problem.ts";
import { invalidRequest } from "./schema-check.ts";

/** The given ones of `names`. */
export function readQuery<const Name extends string>(
  request: Request,
  names: readonly Name[],
): ReadonlyMap<Name, string> | Problem {
  const found = new Map<Name, string>();
  const start = request.url.indexOf("?");
  if (start < 0) return found;
  for (const [name, value] of new URLSearchParams(request.url.slice(start))) {
    const known = names.find((candidate) => candidate === name);
    if (known === undefined) {
      const others = names.length === 0 ? "none is taken here" : `known are ${names.join(", ")}`;
      const detail = `is not known; ${others}`;
      return invalidRequest([{ parameter: name, detail }]);
    }
    if (found.has(known)) return invalidRequest([{ parameter: name, detail: "is given twice" }]);
    if (value === "") return invalidRequest([{ parameter: name, detail: "is empty" }]);
    found.set(known, value);
  }
  return found;
}
