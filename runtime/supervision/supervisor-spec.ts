/**
 * Refuses a specification that a supervisor could not keep, before anything is started.
 *
 * Every refusal is a `BAD_CONFIGURATION` that names the field and what is allowed. Unlike OTP,
 * unknown keys are refused: a misspelt `shutdown` would otherwise be a silent default.
 */

import { ShopError } from "../errors.ts";

import type { ChildSpec, SupervisorSpec } from "./child.ts";

/** The longest time that a timer can hold: 2³¹ − 1 ms, a little under 25 days. */
export const DURATION_MS_MAX = 2_147_483_647;
export const INTENSITY_MAX = 10_000;
/** Children of one supervisor, static and dynamic together. */
export const CHILDREN_MAX = 1_000_000;

type Fields = Readonly<Record<string, unknown>>;

const SUPERVISOR_KEYS = ["id", "strategy", "intensity", "periodMs", "backoff", "children"];
const CHILD_KEYS = ["id", "restart", "shutdown", "start"];
const BACKOFF_KEYS = ["minMs", "maxMs", "jitter", "resetAfterMs"];
const STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"];
const RESTART_TYPES = ["permanent", "transient", "temporary"];

/** Throws `BAD_CONFIGURATION`, naming the first field that does not fit. */
export function checkSupervisorSpec(spec: SupervisorSpec): void {
  const fields = readFields("supervisor", spec, SUPERVISOR_KEYS);
  checkId("supervisor", fields["id"]);
  const where = `supervisor ${String(fields["id"])}`;
  checkOneOf(`${where}: strategy`, fields["strategy"], STRATEGIES);
  checkWhole(`${where}: intensity`, fields["intensity"], 0, INTENSITY_MAX);
  checkNumber(`${where}: periodMs`, fields["periodMs"], Number.MIN_VALUE, DURATION_MS_MAX);
  if (fields["backoff"] !== undefined) checkBackoff(`${where}: backoff`, fields["backoff"]);
  checkChildren(where, fields["children"]);
}

/** Throws `BAD_CONFIGURATION`, naming the first field of a child that does not fit. */
export function checkChildSpec(where: string, spec: ChildSpec): void {
  checkChild(where, spec);
}

function checkChildren(where: string, children: unknown): void {
  if (!Array.isArray(children) || children.length > CHILDREN_MAX) {
    refuse(`${where}: children`, children, `an array of at most ${CHILDREN_MAX}`);
  }
  const ids = new Set<unknown>();
  for (const child of children) {
    const id = checkChild(where, child);
    if (ids.has(id)) refuse(`${where}: children: id`, id, "unique among its siblings");
    ids.add(id);
  }
}

/** Returns the child's id. */
function checkChild(where: string, child: unknown): unknown {
  const fields = readFields(`${where}: child`, child, CHILD_KEYS);
  checkId(`${where}: child`, fields["id"]);
  const name = `${where}: child ${String(fields["id"])}`;
  checkOneOf(`${name}: restart`, fields["restart"], RESTART_TYPES);
  if (fields["shutdown"] !== "brutal") {
    checkNumber(`${name}: shutdown`, fields["shutdown"], 0, DURATION_MS_MAX);
  }
  if (typeof fields["start"] !== "function")
    refuse(`${name}: start`, fields["start"], "a function");
  return fields["id"];
}

function checkBackoff(where: string, backoff: unknown): void {
  const fields = readFields(where, backoff, BACKOFF_KEYS);
  // Half of the longest timer, because jitter may double the delay.
  const delayMsMax = DURATION_MS_MAX / 2;
  const minMs = checkNumber(`${where}: minMs`, fields["minMs"], Number.MIN_VALUE, delayMsMax);
  checkNumber(`${where}: maxMs`, fields["maxMs"], minMs, delayMsMax);
  checkNumber(`${where}: jitter`, fields["jitter"], 0, 1);
  checkNumber(`${where}: resetAfterMs`, fields["resetAfterMs"], 0, DURATION_MS_MAX);
}

function readFields(where: string, value: unknown, allowed: readonly string[]): Fields {
  if (typeof value !== "object" || value === null) refuse(where, value, "an object");
  for (const key of Object.keys(value)) {
    if (!allowed.includes(key)) refuse(`${where}: ${key}`, "unknown key", allowed.join(", "));
  }
  return Object.fromEntries(Object.entries(value));
}

function checkId(where: string, id: unknown): void {
  if (typeof id !== "string" || id === "") refuse(`${where}: id`, id, "a text that is not empty");
}

function checkOneOf(where: string, value: unknown, allowed: readonly string[]): void {
  if (typeof value !== "string" || !allowed.includes(value)) {
    refuse(where, value, `one of ${allowed.join(", ")}`);
  }
}

function checkWhole(where: string, value: unknown, least: number, most: number): void {
  if (!Number.isInteger(checkNumber(where, value, least, most))) {
    refuse(where, value, "a whole number");
  }
}

function checkNumber(where: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && value >= least && value <= most) return value;
  const range = least === Number.MIN_VALUE ? `above 0` : `at least ${least}`;
  return refuse(where, value, `a number ${range} and at most ${most}`);
}

function refuse(where: string, value: unknown, allowed: string): never {
  const shown = typeof value === "string" ? value : (JSON.stringify(value) ?? typeof value);
  throw new ShopError("BAD_CONFIGURATION", `${where}: ${shown} is not ${allowed}`, "never");
}
