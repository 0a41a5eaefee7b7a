/**
 * A configuration file, TOML or JSON, taken apart into settings.
 *
 * Refuses what is not TOML or JSON, a key that is not a setting or a group of settings, and a
 * group where a value belongs. Values are not converted: a number in quotes is not a number.
 */

import { readFileSync } from "node:fs";

import { describeError, ShopError } from "../../runtime/errors.ts";
import { didYouMean } from "./nearest-name.ts";
import type { Setting } from "./setting-names.ts";
import { SETTINGS } from "./setting-names.ts";

export interface FileEntry {
  readonly setting: Setting;
  readonly value: unknown;
}

export interface FileContent {
  readonly entries: readonly FileEntry[];
  /** One line for each key that is not a setting. */
  readonly problems: readonly string[];
}

const settingAt = new Map(SETTINGS.map((setting) => [setting.path, setting]));
const groups = new Set(
  SETTINGS.flatMap(({ steps }) => steps.slice(0, -1).map((_, at) => joined(steps, at + 1))),
);

/** The text at `path`; `undefined` when there is no such file. Throws `BAD_CONFIGURATION`. */
export function readTextFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new ShopError(
      "BAD_CONFIGURATION",
      `cannot read ${path}: ${describeError(error)}`,
      "never",
      {
        cause: error,
      },
    );
  }
}

/** The settings in `text`. Throws `BAD_CONFIGURATION` when it cannot be parsed at all. */
export function parseConfigFile(path: string, text: string): FileContent {
  const entries: FileEntry[] = [];
  const problems: string[] = [];
  collect(parse(path, text), "");
  return { entries, problems };

  function collect(table: object, prefix: string): void {
    for (const [name, value] of Object.entries(table)) {
      const at = prefix === "" ? name : `${prefix}.${name}`;
      const setting = settingAt.get(at);
      if (setting !== undefined) entries.push({ setting, value });
      else if (!groups.has(at)) problems.push(`${at} (file ${path}) is not a setting${near(at)}`);
      else if (isTable(value)) collect(value, at);
      else problems.push(`${at} (file ${path}) is a group of settings; write ${at}.<name>`);
    }
  }
}

function parse(path: string, text: string): object {
  const language = path.endsWith(".json") ? "JSON" : "TOML";
  let value: unknown;
  try {
    value = language === "JSON" ? JSON.parse(text) : Bun.TOML.parse(text);
  } catch (error) {
    const why = `${path} is not ${language}: ${describeError(error)}`;
    throw new ShopError("BAD_CONFIGURATION", why, "never", { cause: error });
  }
  if (isTable(value)) return value;
  throw new ShopError("BAD_CONFIGURATION", `${path} holds no settings, but a value`, "never");
}

function isTable(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function near(path: string): string {
  return didYouMean(path, [...settingAt.keys(), ...groups]);
}

function joined(steps: readonly string[], count: number): string {
  return steps.slice(0, count).join(".");
}
