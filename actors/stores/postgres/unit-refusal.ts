/**
 * Why a unit is not even sent: what PostgreSQL could not store as given, or nobody could publish.
 *
 * A unit that passes can only fail for what the database holds, so it cannot spoil the batch it
 * travels in. The rules are those of the embedded journal, and those of PostgreSQL's texts.
 */

import type { Outgoing } from "../../brokers/broker.ts";
import type { UnitOfWork } from "../unit-of-work.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { frameSlot } from "../../../runtime/frames/frame.ts";
import { FRAME_HEADER_BYTES } from "../../../runtime/frames/frame-header.ts";
import { checkState } from "../journal/unit-check.ts";
import { rowName } from "./batch-plan.ts";

export function unitRefusal(
  unit: UnitOfWork,
  topics: ReadonlySet<string>,
  slots: number,
): ShopError | undefined {
  const problem = checkState({ unit, acks: [] }) ?? twiceWritten(unit) ?? unstorableText(unit);
  if (problem !== undefined) return new ShopError("BAD_MESSAGE", problem, "never");
  for (const outgoing of unit.outgoing) {
    const refusal = frameRefusal(outgoing, topics, slots);
    if (refusal !== undefined) return refusal;
  }
  for (const { outgoing } of unit.timersStarted) {
    const refusal = frameRefusal(outgoing, topics, slots);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function frameRefusal(
  { topic, frame }: Outgoing,
  topics: ReadonlySet<string>,
  slots: number,
): ShopError | undefined {
  if (!topics.has(topic)) return new ShopError("UNKNOWN_TOPIC", `no topic ${topic}`, "never");
  if (frame.length < FRAME_HEADER_BYTES) {
    return new ShopError("BAD_FRAME", `no slot in a frame of ${frame.length} bytes`, "never");
  }
  const slot = frameSlot(frame);
  if (slot < slots) return undefined;
  return new ShopError("BAD_FRAME", `slot ${slot} of ${slots} in a frame for ${topic}`, "never");
}

function twiceWritten({ rows }: UnitOfWork): string | undefined {
  if (rows.length < 2) return undefined;
  const names = new Set(rows.map(({ table, key }) => rowName(table, key)));
  return names.size === rows.length ? undefined : "a unit writes one row twice";
}

/** PostgreSQL stores every text but one with a NUL in it. */
function unstorableText({ inbox, rows, timeline, timersStarted }: UnitOfWork): string | undefined {
  const bad =
    inbox.find(({ group }) => !isText(group))?.group ??
    rows.find(({ key, columns }) => !isText(`${key}${columns?.customerId}${columns?.status}`))
      ?.key ??
    timeline.find(({ orderId, type }) => !isText(`${orderId}${type}`))?.orderId ??
    timersStarted.find(({ id }) => !isText(id))?.id;
  return bad === undefined ? undefined : `a text of ${JSON.stringify(bad)} cannot be stored`;
}

function isText(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed();
}
