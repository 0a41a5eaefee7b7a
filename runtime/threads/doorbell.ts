/**
 * Wakes a thread that sleeps in its event loop because its rings were empty, or full.
 *
 * Each thread listens on one BroadcastChannel, named after the instance and its own index; that
 * works between any two threads of a process, which a MessagePort does not. A bell says only who
 * rang, so that no more has to be cloned: what happened is in the rings. It is not remembered: a
 * thread that has no doorbell yet misses it, so it must make its doorbell before it parks an end
 * of a ring. Bells are coalesced by that parked flag, not here. A doorbell keeps no process alive.
 */

import { assert } from "../errors.ts";

export interface Doorbell {
  /** Wakes thread `other`, this one included. Nothing happens after `close`. */
  ring(other: number): void;
  /** Stops listening and ringing. Idempotent. */
  close(): void;
}

/**
 * `instance` is the same for all threads that may ring one another and different from any other
 * group's in the process; `me` is this thread's index among them. `onRing` gets the index of the
 * thread that rang, in a turn of the event loop of its own.
 */
export function createDoorbell(
  instance: string,
  me: number,
  onRing: (from: number) => void,
): Doorbell {
  assert(instance !== "" && Number.isSafeInteger(me) && me >= 0, "a doorbell needs a name");
  const bells = new Map<number, BroadcastChannel>();
  const own = openChannel(instance, me);
  let isClosed = false;
  own.addEventListener("message", ({ data }) => {
    if (typeof data === "number") onRing(data);
  });

  function bellOf(other: number): BroadcastChannel {
    // Without a listener of its own, such a channel hears nothing of what others post on it.
    const bell = bells.get(other) ?? openChannel(instance, other);
    bells.set(other, bell);
    return bell;
  }

  return {
    ring(other) {
      if (!isClosed) bellOf(other).postMessage(me);
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      own.close();
      for (const bell of bells.values()) bell.close();
      bells.clear();
    },
  };
}

function openChannel(instance: string, thread: number): BroadcastChannel {
  const channel = new BroadcastChannel(`${instance}:${thread}`);
  channel.unref();
  return channel;
}
