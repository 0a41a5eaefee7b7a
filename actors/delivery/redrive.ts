/**
 * Puts dead letters back on the topic they came from, to be handled anew.
 *
 * The frame keeps its message id, so redriving twice, or being killed half-way and starting over,
 * has no second effect. It is for the group that gave up on it: every other group of its topic has
 * handled it, or has a letter of its own, and passes it by; else a message that several groups
 * buried would be buried once more by each of them for each letter put back. Its attempts start at
 * 1 and the header `redriven` names the dead letter. It joins the end of its partition: later
 * frames of its key have gone on without it, and what it may still change is for the version check
 * of its entity to say. Bytes that are not a frame are refused; they cannot be routed.
 */

import type { Broker, DeadLetter, DeliveryRef, Outgoing } from "../brokers/broker.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";

/** Names the dead letter that a frame came back from. */
export const REDRIVEN_HEADER = "redriven";

/** Publishes `letters` again, all or none. Throws `BAD_FRAME`, or as `publish` does. */
export async function redrive(
  broker: Pick<Broker, "publish">,
  letters: readonly DeadLetter[],
): Promise<void> {
  await broker.publish(letters.map(redrivenFrame));
}

/**
 * The frame of `letter` as it goes back: no attempts, no deadline, and where it was buried. Throws
 * `BAD_FRAME`, or `PAYLOAD_TOO_LARGE` when there is no room for the header.
 */
export function redrivenFrame(letter: DeadLetter): Outgoing {
  const { group, topic, partition, sequence } = letter;
  const { deadlineMs: _passed, ...frame } = decodeFrame(letter.bytes);
  const origin = `${group}/${topic}/${partition}/${sequence}`;
  const headers = { ...frame.headers, [REDRIVEN_HEADER]: origin };
  return { topic, frame: encodeFrame({ ...frame, attempt: 0, headers }) };
}

/** True when a frame with header `origin` was put back on its topic for another group. */
export function isForAnother(origin: string, { group, topic }: DeliveryRef): boolean {
  const [buriedBy, from] = origin.split("/");
  return from === topic && buriedBy !== group;
}
