/**
 * What this machine has of what the servers need, and where the rest would be put.
 *
 * Looks at files only, so that asking is cheap and synchronous. Downloads nothing.
 */

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import type { Need } from "./recipe.ts";

export const DEBIAN_PROGRAMS = {
  java: { kind: "program", paths: ["java"], debian: "default-jdk-headless" },
  maven: { kind: "program", paths: ["mvn"], debian: "maven" },
  go: { kind: "program", paths: ["go"], debian: "golang-go" },
} as const satisfies Readonly<Record<string, Need>>;

/** Where downloaded servers are kept, for all projects and runs of this user. */
export function cacheDirectory(
  env: Readonly<Record<string, string | undefined>> = Bun.env,
): string {
  const own = env["SHOPSTREAM_SERVICES"];
  if (own !== undefined && own !== "") return own;
  const cache = env["XDG_CACHE_HOME"];
  const base = cache !== undefined && cache !== "" ? cache : join(homedir(), ".cache");
  return join(base, "shopstream", "services");
}

/** Where `services up` keeps the data of its servers, and what it started. */
export function dataDirectory(env: Readonly<Record<string, string | undefined>> = Bun.env): string {
  const own = env["SHOPSTREAM_SERVICES_DATA"];
  if (own !== undefined && own !== "") return own;
  // PostgreSQL's own account must be able to get there, and root's home is closed to it.
  if (process.getuid?.() === 0) return "/var/lib/shopstream/services";
  const state = env["XDG_STATE_HOME"];
  const base = state !== undefined && state !== "" ? state : join(homedir(), ".local", "state");
  return join(base, "shopstream", "services");
}

/** Why the need is not met, or `undefined` when it is. */
export function whyUnmet(need: Need): string | undefined {
  if (need.kind === "program") {
    if (findProgram(need) !== undefined) return undefined;
    return `${need.paths[0] ?? "?"} is not installed (Debian: ${need.debian})`;
  }
  const folder = join(cacheDirectory(), need.folder);
  return existsSync(folder) ? undefined : `${need.folder} is not in ${cacheDirectory()}`;
}

function findProgram(need: Need & { readonly kind: "program" }): string | undefined {
  for (const path of need.paths) {
    if (!path.startsWith("/")) {
      const found = Bun.which(path);
      if (found !== null) return found;
    } else if (existsSync(path)) return path;
  }
  return undefined;
}
