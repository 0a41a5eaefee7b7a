/**
 * A frame on its way to where a route sends it: as it is, or with what the next hop must know.
 *
 * To a topic of the local broker it goes untouched, unless the route changes its deadline or lane.
 * To any other broker it goes by way of that broker's outbox, a local topic, with its final topic
 * and the route's name as headers, which the egress takes off again. The message keeps its id
 * everywhere: who gets it twice, by a fan-out or a repeated publication, can tell.
 */

import type { Frame, FrameInput } from "../../runtime/frames/frame-header.ts";
import type { Outgoing } from "../brokers/broker.ts";
import type { Copy } from "./route-table.ts";

import { assert } from "../../runtime/errors.ts";
import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { OUTBOX_PREFIX } from "./route-refusals.ts";
import { LOCAL } from "./route-row.ts";
import { PRIORITY_HEADER } from "./route-view.ts";

const TOPIC_HEADER = "routetopic";
const ROW_HEADER = "route";
/** No broker is called so: its outbox holds what no row matched. */
const NOWHERE = "unmatched";

/** Where frames of the shop's own units wait that no row matches; they are buried from there. */
export const UNMATCHED_TOPIC = OUTBOX_PREFIX + NOWHERE;

/** The local topic in which frames for `broker` wait. */
export function outboxTopic(broker: string): string {
  assert(broker !== LOCAL && broker !== NOWHERE, `${broker} has no outbox`);
  return OUTBOX_PREFIX + broker;
}

/** Local topics that the router needs, given the brokers that are not local. */
export function outboxTopics(brokers: readonly string[]): readonly string[] {
  return [...brokers.map(outboxTopic), UNMATCHED_TOPIC];
}

/**
 * What to append to the local log for `copy`. `frame`: `bytes` decoded, where that is at hand;
 * `slot`: the right one, where that of `bytes` may be another broker's. Throws as `encodeFrame`.
 */
export function outgoingOf(copy: Copy, bytes: Uint8Array, frame?: Frame, slot?: number): Outgoing {
  const { row, to } = copy;
  const { ttlMs, priority } = row.policy;
  const isLocal = to.broker === LOCAL;
  const isMoved = slot !== undefined && frame !== undefined && frame.slot !== slot;
  if (isLocal && ttlMs === undefined && priority === undefined && !isMoved) {
    return { topic: to.topic, frame: bytes };
  }
  const whole = frame ?? decodeFrame(bytes);
  return {
    topic: isLocal ? to.topic : outboxTopic(to.broker),
    frame: encodeFrame({
      ...fieldsOf(whole),
      slot: slot ?? whole.slot,
      deadlineMs: deadlineOf(whole, ttlMs),
      headers: {
        ...whole.headers,
        ...(priority === undefined ? {} : { [PRIORITY_HEADER]: priority }),
        ...(isLocal ? {} : { [TOPIC_HEADER]: to.topic, [ROW_HEADER]: row.name }),
      },
    }),
  };
}

/** A frame that no row matches, on its way to the dead letters. */
export function unmatchedOutgoing({ topic, frame: bytes }: Outgoing): Outgoing {
  const frame = decodeFrame(bytes);
  const headers = { ...frame.headers, [TOPIC_HEADER]: topic };
  return { topic: UNMATCHED_TOPIC, frame: encodeFrame({ ...fieldsOf(frame), headers }) };
}

/** The final topic that a frame in an outbox names; `undefined` when it was not routed there. */
export function finalTopicOf({ headers }: Pick<Frame, "headers">): string | undefined {
  return Object.hasOwn(headers, TOPIC_HEADER) ? headers[TOPIC_HEADER] : undefined;
}

/** The row that routed a frame in an outbox. */
export function rowNameOf({ headers }: Pick<Frame, "headers">): string | undefined {
  return Object.hasOwn(headers, ROW_HEADER) ? headers[ROW_HEADER] : undefined;
}

/**
 * The frame as it leaves the outbox, without what was written for the way there: nor that it was
 * put back into it, which says nothing of the topic it goes to.
 */
export function unwrapped(frame: Frame): Uint8Array {
  const {
    [TOPIC_HEADER]: _topic,
    [ROW_HEADER]: _row,
    [REDRIVEN_HEADER]: _origin,
    ...headers
  } = frame.headers;
  return encodeFrame({ ...fieldsOf(frame), headers });
}

/** By name, since not every frame has them as properties of its own. */
function fieldsOf(frame: Frame): Omit<Required<FrameInput>, "headers"> {
  const { type, slot, key, payload, id, timeMs, attempt, flags, deadlineMs, traceId, spanId } =
    frame;
  return { type, slot, key, payload, id, timeMs, attempt, flags, deadlineMs, traceId, spanId };
}

/** The nearer of the frame's own deadline and the end of its time-to-live; 0: none. */
export function deadlineOf(
  { timeMs, deadlineMs }: Pick<Frame, "timeMs" | "deadlineMs">,
  ttlMs: number | undefined,
): number {
  if (ttlMs === undefined) return deadlineMs;
  return deadlineMs === 0 ? timeMs + ttlMs : Math.min(deadlineMs, timeMs + ttlMs);
}
