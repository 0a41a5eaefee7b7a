/**
 * From the body of `POST /v1/events` to the command that a shard takes.
 *
 * An event without a time gets that of its arrival. A batch under an idempotency key has a name
 * made of the key, so that it comes to the same shard again; refused is a time that is on no
 * calendar.
 */

import type { Static } from "@sinclair/typebox";

import type { CommandOf } from "../../actors/contracts/messages.ts";
import type { NewEventsSchema } from "./analytics-schemas.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { Problem, ProblemPart } from "./problem.ts";

import { behaviorColumns } from "../../actors/analytics/behavior-columns.ts";
import { fingerprint } from "./idempotency.ts";
import { instantMs } from "./instant-text.ts";
import { invalidRequest } from "./schema-check.ts";

const KEY_HEX_CHARS = 40;
const PARTS_MAX = 20;
const NO_TIME = "is a time before 1970, after 9999, or on no calendar";

/** The command for `events`, which fit their schema. */
export function recordBehaviorCommand(
  events: Static<typeof NewEventsSchema>,
  environment: Pick<Environment, "nowMs" | "newId">,
  idempotencyKey: string | undefined,
): CommandOf<"behavior.record"> | Problem {
  const errors: ProblemPart[] = [];
  const nowMs = environment.nowMs();
  const timed = events.map(({ at, ...event }, index) => {
    const atMs = at === undefined ? nowMs : instantMs(at);
    if (atMs === undefined && errors.length < PARTS_MAX) {
      errors.push({ pointer: `#/${index}/at`, detail: NO_TIME });
    }
    return { ...event, atMs: atMs ?? nowMs };
  });
  if (errors.length > 0) return invalidRequest(errors);
  const columns = behaviorColumns(timed);
  if (idempotencyKey === undefined) {
    return { type: "behavior.record", batchId: environment.newId(), ...columns };
  }
  const batchId = `key-${fingerprint(idempotencyKey).slice(0, KEY_HEX_CHARS)}`;
  return { type: "behavior.record", batchId, ...columns, fingerprint: fingerprint(events) };
}
