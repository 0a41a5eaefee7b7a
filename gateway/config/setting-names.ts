/**
 * Every setting with its three names: in a file, in the environment, and as a flag.
 *
 * `payment.declineRate` in a file is `SHOPSTREAM_PAYMENT_DECLINE_RATE` in the environment (a double
 * underscore between groups is accepted too) and `--payment-decline-rate` as a flag (a dot or
 * camel case is accepted too). Two settings that would share a name are refused at import.
 */

import type { TSchema } from "@sinclair/typebox";
import { KindGuard } from "@sinclair/typebox";

import { assert } from "../../runtime/errors.ts";
import { ConfigSchema } from "./config-schema.ts";

export const ENVIRONMENT_PREFIX = "SHOPSTREAM_";

export interface Setting {
  /** Dotted path, as in a file: `payment.declineRate`. */
  readonly path: string;
  readonly steps: readonly string[];
  /** `SHOPSTREAM_PAYMENT_DECLINE_RATE`. */
  readonly environmentName: string;
  /** `--payment-decline-rate`. */
  readonly flag: string;
  readonly schema: TSchema;
}

export const SETTINGS: readonly Setting[] = collect(ConfigSchema, []);

const byWords = new Map(SETTINGS.map((setting) => [wordsOf(setting.path), setting]));
assert(byWords.size === SETTINGS.length, "two settings share a name");

/** The setting that `SHOPSTREAM_…` names, if any. */
export function settingOfEnvironment(name: string): Setting | undefined {
  if (!name.startsWith(ENVIRONMENT_PREFIX)) return undefined;
  const words = name.slice(ENVIRONMENT_PREFIX.length).toLowerCase().replaceAll(/_+/g, "-");
  return name === name.toUpperCase() ? byWords.get(words) : undefined;
}

/** The setting that a flag (`--…`, without its value) names, if any. */
export function settingOfFlag(flag: string): Setting | undefined {
  return flag.startsWith("--") ? byWords.get(wordsOf(flag.slice(2))) : undefined;
}

function collect(schema: TSchema, steps: readonly string[]): Setting[] {
  if (KindGuard.IsObject(schema)) {
    return Object.entries(schema.properties).flatMap(([name, inner]) =>
      collect(inner, [...steps, name]),
    );
  }
  const path = steps.join(".");
  const words = wordsOf(path);
  return [
    {
      path,
      steps,
      environmentName: ENVIRONMENT_PREFIX + words.replaceAll("-", "_").toUpperCase(),
      flag: `--${words}`,
      schema,
    },
  ];
}

/** `payment.declineRate` → `payment-decline-rate`. */
function wordsOf(path: string): string {
  return path
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1-$2")
    .replaceAll(".", "-")
    .toLowerCase();
}
