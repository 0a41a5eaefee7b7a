/**
 * The configuration of this process: defaults < file < environment < flags, and where each value
 * came from.
 *
 * Pure but for the given `readFile`. Refuses an unknown name, a bad value, a name given twice and
 * settings that contradict each other: all of them are reported at once, in one
 * `BAD_CONFIGURATION`, each with its origin and what is allowed.
 */

import { isAbsolute, join } from "node:path";

import { Value } from "@sinclair/typebox/value";

import { assert, ShopError } from "../../runtime/errors.ts";
import { contradictoryCluster } from "./cluster-settings.ts";
import { parseConfigFile } from "./config-file.ts";
import type { ShopConfig } from "./config-schema.ts";
import { ConfigSchema } from "./config-schema.ts";
import { didYouMean } from "./nearest-name.ts";
import type { Setting } from "./setting-names.ts";
import {
  ENVIRONMENT_PREFIX,
  SETTINGS,
  settingOfEnvironment,
  settingOfFlag,
} from "./setting-names.ts";
import { contradictoryLinks } from "./router-links.ts";
import { contradictorySystems } from "./systems.ts";
import { allows, describeAllowed, describeFault, printValue, readText } from "./setting-values.ts";

export const DEFAULT_FILE = "shopstream.toml";

const FILE_VARIABLE = "SHOPSTREAM_CONFIG";
const FILE_FLAG = "--config";
/** Read by the tests and by the script for servers, not by the shop. */
const FOREIGN_VARIABLES: ReadonlySet<string> = new Set([
  "SHOPSTREAM_REQUIRE",
  "SHOPSTREAM_SERVICES",
  "SHOPSTREAM_SERVICES_DATA",
  "SHOPSTREAM_SERVICES_ENGINE",
]);

export interface ConfigInput {
  /** What follows the script's name on the command line. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** The text of a file, or `undefined` when there is none; see `readTextFile`. */
  readonly readFile: (path: string) => string | undefined;
}

/** Where a value came from: `default`, `file <path>`, `environment <NAME>` or `flag <--name>`. */
export type Origins = ReadonlyMap<string, string>;

export interface LoadedConfig {
  readonly config: ShopConfig;
  /** By dotted path; every setting is in it. */
  readonly origins: Origins;
}

interface Given {
  readonly setting: Setting;
  readonly value: unknown;
  readonly origin: string;
}

/** Reads, merges and checks. Throws `BAD_CONFIGURATION` with one line for each problem. */
export function loadConfig(input: ConfigInput): LoadedConfig {
  const problems: string[] = [];
  const flags = readFlags(input.argv, problems);
  const variables = readVariables(input.env, problems);
  const file = readFile(input, flags.configPath ?? input.env[FILE_VARIABLE], problems);

  const origins = new Map(SETTINGS.map(({ path }) => [path, "default"]));
  const config = Value.Create(ConfigSchema);
  for (const { setting, value, origin } of [...file, ...variables, ...flags.given]) {
    if (!allows(setting, value)) {
      const allowed = describeAllowed(setting.schema);
      const given = `${setting.path} = ${printValue(setting.schema, value)} (${origin})`;
      problems.push(`${given}: allowed is ${allowed}${describeFault(setting, value)}`);
      continue;
    }
    assign(config, setting.steps, value);
    origins.set(setting.path, origin);
  }
  problems.push(...contradictions(config, origins));
  if (problems.length > 0) {
    throw new ShopError("BAD_CONFIGURATION", problems.join("\n"), "never");
  }
  return { config, origins };
}

function readFlags(argv: readonly string[], problems: string[]) {
  const given = new Map<string, Given>();
  let configPath: string | undefined;
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? "";
    const equals = argument.indexOf("=");
    const flag = equals === -1 ? argument : argument.slice(0, equals);
    const setting = settingOfFlag(flag);
    if (setting === undefined && flag !== FILE_FLAG) {
      problems.push(unknownArgument(argument, flag));
      continue;
    }
    const text = equals === -1 ? argv[++at] : argument.slice(equals + 1);
    const origin = `flag ${flag}`;
    if (text === undefined || (equals === -1 && text.startsWith("--"))) {
      problems.push(`${origin} needs a value${allowedFor(setting)}`);
      if (text !== undefined) at--;
    } else if (setting === undefined) configPath = text;
    else if (given.has(setting.path)) problems.push(`${setting.path} (${origin}) is given twice`);
    else given.set(setting.path, { setting, origin, value: readText(setting.schema, text) });
  }
  return { given: [...given.values()], configPath };
}

function readVariables(env: ConfigInput["env"], problems: string[]): Given[] {
  const given = new Map<string, Given>();
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(ENVIRONMENT_PREFIX) || text === undefined) continue;
    if (FOREIGN_VARIABLES.has(name) || name === FILE_VARIABLE) continue;
    const setting = settingOfEnvironment(name);
    const origin = `environment ${name}`;
    if (setting === undefined) {
      const names = [FILE_VARIABLE, ...SETTINGS.map((known) => known.environmentName)];
      problems.push(`${origin} is not a setting${didYouMean(name, names)}`);
    } else if (given.has(setting.path)) {
      problems.push(`${setting.path} (${origin}) is given twice`);
    } else given.set(setting.path, { setting, origin, value: readText(setting.schema, text) });
  }
  return [...given.values()];
}

/** A file that was asked for must be there; the default one may be absent. */
function readFile(input: ConfigInput, asked: string | undefined, problems: string[]): Given[] {
  const name = asked ?? DEFAULT_FILE;
  const path = isAbsolute(name) ? name : join(input.cwd, name);
  const text = input.readFile(path);
  if (text === undefined) {
    if (asked !== undefined) problems.push(`configuration file ${path} does not exist`);
    return [];
  }
  const content = parseConfigFile(path, text);
  problems.push(...content.problems);
  return content.entries.map((entry) => ({ ...entry, origin: `file ${path}` }));
}

function assign(root: object, steps: readonly string[], value: unknown): void {
  let target = root;
  for (const step of steps.slice(0, -1)) {
    const next: unknown = Reflect.get(target, step);
    assert(typeof next === "object" && next !== null, `no group ${step} in the configuration`);
    target = next;
  }
  Reflect.set(target, steps.at(-1) ?? "", value);
}

function contradictions(config: ShopConfig, origins: Origins): string[] {
  const found: string[] = [];
  const { shards, slots, payment } = config;
  if (shards !== "auto" && shards > slots) {
    const where = `shards from ${origins.get("shards")}, slots from ${origins.get("slots")}`;
    found.push(`shards = ${shards} is more than slots = ${slots} (${where})`);
  }
  if (payment.provider === "http" && payment.url === "") {
    const origin = origins.get("payment.provider");
    found.push(`payment.url is needed because payment.provider is "http" (${origin})`);
  }
  found.push(...contradictorySystems(config), ...contradictoryLinks(config));
  return [...found, ...contradictoryCluster(config.cluster)];
}

function unknownArgument(argument: string, flag: string): string {
  if (!flag.startsWith("--")) return `argument ${argument} is not a flag; flags are --name value`;
  const known = [FILE_FLAG, ...SETTINGS.map((setting) => setting.flag)];
  return `flag ${flag} is not a setting${didYouMean(flag, known)}`;
}

function allowedFor(setting: Setting | undefined): string {
  return setting === undefined ? ": a path" : `: ${describeAllowed(setting.schema)}`;
}
