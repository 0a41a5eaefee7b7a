/**
 * Puts dead letters back on the topic they came from, to be handled anew.
 *
 * The frame keeps its message id, so redriving twice, or being killed half-way and starting over,
 * has no second effect: groups that had handled it find their inbox mark. Its attempts start at 1
 * and the header `redriven` names the dead letter. It joins the end of its partition: later frames
 * of its key have gone on without it. Bytes that are not a frame are refused; they cannot be
 * routed.
 */

import type { Broker, DeadLetter, Outgoing } from "../brokers/broker.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";

export const REDRIVEN_HEADER = "redriven";

/** Publishes `letters` again, all or none. Throws `BAD_FRAME`, or as `publish` does. */
export async function redrive(
  broker: Pick<Broker, "publish">,
  letters: readonly DeadLetter[],
): Promise<void> {
  await broker.publish(letters.map(toOutgoing));
}

function toOutgoing(letter: DeadLetter): Outgoing {
  const { group, topic, partition, sequence } = letter;
  const { deadlineMs: _passed, ...frame } = decodeFrame(letter.bytes);
  const origin = `${group}/${topic}/${partition}/${sequence}`;
  const headers = { ...frame.headers, [REDRIVEN_HEADER]: origin };
  return { topic, frame: encodeFrame({ ...frame, attempt: 0, headers }) };
}
