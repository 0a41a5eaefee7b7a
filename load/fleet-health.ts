/**
 * Which processes of a fleet are not well once a fault is over, by what `/health` of each says.
 *
 * All must be well at the same look, within a bound. A process that does not answer is not well; it
 * ends nothing.
 */

import type { ServerProcess } from "./shop-process.ts";

import { describeError } from "../runtime/errors.ts";

/** Of a `Fleet`, what is looked at. */
export interface Living {
  living(): readonly string[];
  process(name: string): Pick<ServerProcess, "url">;
}

/** Health remembers for fifteen seconds what failed during the fault. */
const HEALTH_DUE_MS = 20_000;
const POLL_MS = 200;
const ANSWER_MS = 3_000;

/** What is wrong, by process. `dueMs`: how long there may be something; absent: twenty seconds. */
export async function readUnwell(
  fleet: Living,
  dueMs = HEALTH_DUE_MS,
): Promise<ReadonlyMap<string, string>> {
  const endMs = performance.now() + dueMs;
  for (;;) {
    const unwell = new Map<string, string>();
    for (const name of fleet.living()) {
      const problem = await illnessOf(fleet, name);
      if (problem !== undefined) unwell.set(name, problem);
    }
    if (unwell.size === 0 || performance.now() >= endMs) return unwell;
    await Bun.sleep(POLL_MS);
  }
}

/** By its own word, or for want of one; `undefined`: it is well. */
async function illnessOf(fleet: Living, name: string): Promise<string | undefined> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    // On a connection of its own: one that has been idle may be closed just then.
    const once = { keepalive: false, signal };
    const response = await fetch(`${fleet.process(name).url}/health`, once);
    const text = await response.text();
    return response.ok ? undefined : text;
  } catch (error) {
    return describeError(error);
  }
}
