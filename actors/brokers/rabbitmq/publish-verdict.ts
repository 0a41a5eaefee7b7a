/**
 * What became of a batch: a function from what the server said of each frame to one answer.
 *
 * A batch is stored only when all of it is. It is refused as not stored only when that is certain
 * of every frame; anything between is `INDETERMINATE`, and whoever published sends it again under
 * the same message ids.
 */

import { ShopError } from "../../../runtime/errors.ts";

export interface BatchCount {
  /** Frames of the batch. */
  readonly frames: number;
  /** Confirmed by the server. */
  readonly stored: number;
  /** Taken by no queue. */
  readonly unrouted: number;
  /** Declined by the server: a queue is full, or cannot write. */
  readonly declined: number;
  /** Sent, and never answered. */
  readonly unsure: number;
  /** Never sent. */
  readonly unsent: number;
  /** Why some were not sent or not answered. */
  readonly cause: "blocked" | "closed" | "down" | "late" | "unfit";
}

/** Undefined: all is stored. */
export function publishVerdict(count: BatchCount): ShopError | undefined {
  const { frames, stored, unrouted, declined, unsure, unsent } = count;
  if (stored === frames) return undefined;
  if (stored > 0 || unsure > 0) {
    const known = `${stored} of ${frames} frames are confirmed, ${unsure} without an answer`;
    return new ShopError("INDETERMINATE", `rabbitmq: ${known} (${reasonOf(count)})`, "later");
  }
  if (unrouted > 0) {
    const text = `rabbitmq: ${unrouted} of ${frames} frames found no queue: no group reads it`;
    return new ShopError("UNKNOWN_TOPIC", `${text}; name its groups in rabbitmq.groups`, "never");
  }
  if (declined > 0) {
    const text = `rabbitmq: the server declines ${declined} of ${frames} frames: a queue is full`;
    return new ShopError("STORAGE_FULL", text, "later");
  }
  return unsentError(unsent, count);
}

function unsentError(unsent: number, count: BatchCount): ShopError {
  const text = `rabbitmq: ${unsent} frames were not sent: ${reasonOf(count)}`;
  switch (count.cause) {
    case "blocked":
      return new ShopError("STORAGE_FULL", text, "later");
    case "closed":
      return new ShopError("CLOSED", text, "never");
    case "unfit":
      return new ShopError("BAD_MESSAGE", text, "never");
    case "down":
    case "late":
      return new ShopError("STORAGE_FAULT", text, "later");
  }
}

function reasonOf({ cause }: BatchCount): string {
  switch (cause) {
    case "blocked":
      return "the server is short of disk or memory and takes nothing";
    case "closed":
      return "the broker is closed";
    case "down":
      return "the connection is lost";
    case "late":
      return "publishTimeoutMs has passed";
    case "unfit":
      return "a name or a header is larger than the protocol can say";
  }
}
