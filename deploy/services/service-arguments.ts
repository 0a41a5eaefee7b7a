/**
 * The arguments of `bun run services`, read strictly.
 *
 * An unknown act, name or flag is an error that says what is allowed, and what was perhaps meant.
 */

import { didYouMean } from "../../gateway/config/nearest-name.ts";
import { ShopError } from "../../runtime/errors.ts";
import { SERVICE_NAMES } from "./recipe.ts";

import type { ServiceAct } from "./compose-engine.ts";
import type { ServiceName } from "./recipe.ts";

export interface ServiceArguments {
  readonly act: ServiceAct;
  readonly names: readonly ServiceName[];
  /** Install without asking. */
  readonly yes: boolean;
  /** One JSON document on standard output instead of lines. */
  readonly json: boolean;
}

const ACTS = ["up", "down", "status"] as const satisfies readonly ServiceAct[];
const FLAGS = ["--yes", "--json"];

/** Started when no name is given: OpenSearch only takes the place of Elasticsearch. */
export const DEFAULT_NAMES = SERVICE_NAMES.filter((name) => name !== "opensearch");

export const USAGE = `usage: bun run services up|down|status [names] [--yes] [--json]
names: ${SERVICE_NAMES.join(" ")} (all but opensearch, if none is given)`;

/** Throws `BAD_CONFIGURATION` with what is wrong and what is allowed. */
export function parseServiceArguments(argv: readonly string[]): ServiceArguments {
  const flags = argv.filter((each) => each.startsWith("-"));
  for (const flag of flags) if (!FLAGS.includes(flag)) throw refuse("flag", flag, FLAGS);
  const [word, ...rest] = argv.filter((each) => !each.startsWith("-"));
  const act = ACTS.find((each) => each === word);
  if (act === undefined) throw refuse("command", word ?? "", ACTS);
  const names = rest.map((each) => {
    const name = SERVICE_NAMES.find((known) => known === each);
    if (name === undefined) throw refuse("service", each, SERVICE_NAMES);
    return name;
  });
  return {
    act,
    // What was started by name is listed and stopped without one, too.
    names: names.length > 0 ? [...new Set(names)] : act === "up" ? DEFAULT_NAMES : SERVICE_NAMES,
    yes: flags.includes("--yes"),
    json: flags.includes("--json"),
  };
}

function refuse(kind: string, word: string, allowed: readonly string[]): ShopError {
  const what = word === "" ? `no ${kind}` : `unknown ${kind} "${word}"`;
  const message = `${what}: allowed is ${allowed.join(", ")}${didYouMean(word, allowed)}\n${USAGE}`;
  return new ShopError("BAD_CONFIGURATION", message, "never");
}
