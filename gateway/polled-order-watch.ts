/**
 * Tells those who watch an order that its timeline may have grown, wherever that happened.
 *
 * Orders change in other processes too, so their rows are asked: all that are watched in one
 * question, a few times a second, and only while somebody watches. A question that fails is asked
 * again. It refuses to tell of a change that the rows do not show.
 */

import { isShopError } from "../runtime/errors.ts";
import type { Store } from "../actors/stores/unit-of-work.ts";
import type { Environment, Timer } from "../runtime/environment.ts";
import type { OrderEvents } from "./http/gateway-ports.ts";

const LOOK_MS = 200;

interface Watch {
  readonly orderId: string;
  readonly listener: () => void;
  /** Version of the row when it was last looked at; absent: not yet. */
  seen: number | undefined;
}

export function pollOrders(reads: Pick<Store, "load">, environment: Environment): OrderEvents {
  const watches = new Set<Watch>();
  let timer: Timer | undefined;
  let isLooking = false;

  async function look(): Promise<void> {
    isLooking = true;
    const asked = [...watches];
    const keys = [...new Set(asked.map(({ orderId }) => orderId))];
    try {
      const rows = await reads.load("orders", keys);
      const versions = new Map(keys.map((key, at) => [key, rows[at]?.version ?? 0]));
      for (const watch of asked) {
        const version = versions.get(watch.orderId);
        if (version === watch.seen || !watches.has(watch)) continue;
        watch.seen = version;
        // Also the first time: it may have grown between the caller's own look and this one.
        watch.listener();
      }
    } catch (error) {
      // The server is away, which health says; the next look may find it.
      if (!isShopError(error)) throw error;
    } finally {
      isLooking = false;
      schedule();
    }
  }

  function schedule(): void {
    if (watches.size === 0 || isLooking) return;
    timer ??= environment.startTimer(LOOK_MS, () => {
      timer = undefined;
      void look();
    });
  }

  return {
    onOrder(orderId, listener) {
      const watch: Watch = { orderId, listener, seen: undefined };
      watches.add(watch);
      schedule();
      return () => {
        watches.delete(watch);
        if (watches.size > 0) return;
        timer?.cancel();
        timer = undefined;
      };
    },
  };
}
