/**
 * Which product answers, and whether it is recent enough.
 *
 * Needed are index templates that are composed (Elasticsearch 7.10) or what was forked from that
 * (OpenSearch 1.0). Refuses what is neither of the two, naming what was found.
 */

import { unusable } from "./elastic-failure.ts";

export interface SearchServer {
  readonly product: "elasticsearch" | "opensearch";
  readonly version: string;
}

const NEEDED = "needed is Elasticsearch 7.10 or OpenSearch 1.0, or later";

/** From the answer to `GET /`. Throws `SERVER_UNUSABLE`. */
export function serverOf(greeting: unknown, hosts: string): SearchServer {
  const { number, distribution } = versionIn(greeting);
  const parts = /^(\d+)\.(\d+)/.exec(number);
  if (parts === null) {
    throw unusable(`the server at ${hosts} is neither Elasticsearch nor OpenSearch; ${NEEDED}`);
  }
  const [major, minor] = [Number(parts[1]), Number(parts[2])];
  if (distribution === "opensearch") return { product: "opensearch", version: number };
  if (major > 7 || (major === 7 && minor >= 10)) {
    return { product: "elasticsearch", version: number };
  }
  throw unusable(`the server at ${hosts} is Elasticsearch ${number}, ${NEEDED}`);
}

function versionIn(greeting: unknown): { readonly number: string; readonly distribution: string } {
  const nothing = { number: "", distribution: "" };
  if (typeof greeting !== "object" || greeting === null || !("version" in greeting)) return nothing;
  const { version } = greeting;
  if (typeof version !== "object" || version === null) return nothing;
  const found: { readonly number?: unknown; readonly distribution?: unknown } = version;
  return {
    number: typeof found.number === "string" ? found.number : "",
    distribution: typeof found.distribution === "string" ? found.distribution : "",
  };
}
