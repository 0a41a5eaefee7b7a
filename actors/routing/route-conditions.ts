/**
 * The part of a row that must look at each frame: key, headers, priority, payload.
 *
 * What only depends on broker, topic and type is decided once, when the table is compiled, and is
 * not looked at here. Conditions are compared as text too, so that a row that an earlier one makes
 * unreachable can be refused.
 */

import type { PayloadTest, RouteMatch } from "./route-row.ts";
import type { RouteView } from "./route-view.ts";

import { priorityOf, valueAt } from "./route-view.ts";

export interface Condition {
  /** The same for conditions that say the same. */
  readonly text: string;
  readonly keyPrefix?: string;
  readonly holds: (view: RouteView) => boolean;
}

/** Cheap ones first: the payload is decoded only when everything else has held. */
export function conditionsOf(match: RouteMatch): readonly Condition[] {
  const conditions: Condition[] = [];
  const { keyPrefix, headers = {}, priority, payload = [] } = match;
  if (keyPrefix !== undefined) {
    const holds = (view: RouteView): boolean => view.key.startsWith(keyPrefix);
    conditions.push({ text: `key ${keyPrefix}`, keyPrefix, holds });
  }
  if (priority !== undefined) {
    const holds = (view: RouteView): boolean => priorityOf(view) === priority;
    conditions.push({ text: `priority ${priority}`, holds });
  }
  for (const [name, value] of Object.entries(headers)) {
    const holds = (view: RouteView): boolean => view.header(name) === value;
    conditions.push({ text: `header ${JSON.stringify([name, value])}`, holds });
  }
  for (const test of payload) {
    const steps = test.path.split(".");
    const passes = comparison(test);
    const holds = (view: RouteView): boolean => passes(valueAt(view.payload(), steps));
    conditions.push({ text: `payload ${JSON.stringify(test)}`, holds });
  }
  return conditions;
}

/** True when every frame that meets all of `later` meets all of `earlier` too. */
export function covers(earlier: readonly Condition[], later: readonly Condition[]): boolean {
  return earlier.every((condition) =>
    later.some(({ text, keyPrefix }) =>
      condition.keyPrefix === undefined
        ? condition.text === text
        : keyPrefix?.startsWith(condition.keyPrefix) === true,
    ),
  );
}

function comparison(test: PayloadTest): (value: unknown) => boolean {
  if ("eq" in test) return (value) => value === test.eq;
  if ("in" in test) {
    const allowed = new Set<unknown>(test.in);
    return (value) => allowed.has(value);
  }
  if ("gte" in test) return (value) => typeof value === "number" && value >= test.gte;
  return (value) => typeof value === "number" && value <= test.lte;
}
