/**
 * Tells those who watch an order that its timeline may have grown.
 *
 * One timer looks at the shared words of the watched orders and only runs while somebody watches;
 * nothing is read from the store here.
 */

import type { Environment, Timer } from "../runtime/environment.ts";
import type { OrderEvents } from "./http/gateway-ports.ts";

import { readChange } from "../actors/change-page.ts";

const LOOK_MS = 50;

interface Watch {
  readonly orderId: string;
  readonly listener: () => void;
  seen: number;
}

export function watchOrders(memory: SharedArrayBuffer, environment: Environment): OrderEvents {
  const changes = new Int32Array(memory);
  const watches = new Set<Watch>();
  let timer: Timer | undefined;

  function look(): void {
    timer = undefined;
    for (const watch of watches) {
      const found = readChange(changes, watch.orderId);
      if (found === watch.seen) continue;
      watch.seen = found;
      watch.listener();
    }
    schedule();
  }

  function schedule(): void {
    if (watches.size > 0) timer ??= environment.startTimer(LOOK_MS, look);
  }

  return {
    onOrder(orderId, listener) {
      const watch: Watch = { orderId, listener, seen: readChange(changes, orderId) };
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
