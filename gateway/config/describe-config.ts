/**
 * The configuration as text: each value with its origin, and the help that lists every setting.
 *
 * Both are made from the schema, so they cannot name a setting that does not exist or miss one.
 * Secrets are never printed.
 */

import type { LoadedConfig } from "./load-config.ts";
import type { Setting } from "./setting-names.ts";
import { SETTINGS } from "./setting-names.ts";
import { describeAllowed, printValue } from "./setting-values.ts";

/** One line for each setting: `payment.timeoutMs = 2000    (environment SHOPSTREAM_…)`. */
export function describeConfig(loaded: LoadedConfig): string {
  const lines = SETTINGS.map((setting) => ({
    assignment: `${setting.path} = ${printValue(setting.schema, valueAt(loaded.config, setting))}`,
    origin: loaded.origins.get(setting.path) ?? "default",
  }));
  const width = Math.max(...lines.map(({ assignment }) => assignment.length));
  return lines
    .map(({ assignment, origin }) => `${assignment.padEnd(width)}  (${origin})`)
    .join("\n");
}

/** Every setting with its flag, variable, default and what is allowed. */
export function configHelp(): string {
  const blocks = SETTINGS.map(({ path, flag, environmentName, schema }) =>
    [
      `${flag}  (${path}, ${environmentName})`,
      `    ${schema.description ?? ""}`,
      `    default ${printValue(schema, schema["default"])}; ${describeAllowed(schema)}`,
    ].join("\n"),
  );
  return [
    "Settings, each from: default < file (shopstream.toml or --config <path>) < environment < flag",
    "",
    ...blocks,
  ].join("\n");
}

function valueAt(config: object, setting: Setting): unknown {
  return setting.steps.reduce<unknown>(
    (value, step) =>
      typeof value === "object" && value !== null ? Reflect.get(value, step) : undefined,
    config,
  );
}
