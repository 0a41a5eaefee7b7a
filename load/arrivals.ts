/**
 * When orders are sent: closed (rounds that wait for each other) or open (a fixed rate).
 *
 * In the open model an order is due at its own moment whether or not the shop keeps up, and its
 * latency counts from that moment: a stalled server cannot make the generator wait and so hide
 * the stall (coordinated omission). Orders in flight are bounded; what is due beyond the bound
 * waits here, and its clock runs.
 */

/** Sends order `index`, which was due at `intendedMs` (of `performance.now()`). Never rejects. */
export type Submit = (index: number, intendedMs: number) => Promise<void>;

export interface OpenArrivals {
  /** No order is sent after this; resolves when those in flight have their outcome. */
  stop(): Promise<void>;
  /** Resolves when every order of the schedule has its outcome. */
  readonly done: Promise<void>;
}

export interface OpenOptions {
  readonly ratePerSecond: number;
  /** Length of the schedule; absent: until stopped. */
  readonly durationMs?: number;
  readonly inFlightMax: number;
}

const TICK_MS = 1;

/** `rounds` times `batch` orders at once, each round starting when the one before has ended. */
export async function runClosed(rounds: number, batch: number, submit: Submit): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    const sent = Array.from({ length: batch }, (_, n) => submit(round * batch + n, startMs));
    await Promise.all(sent);
  }
}

export function startOpen(options: OpenOptions, submit: Submit): OpenArrivals {
  const startMs = performance.now();
  const gapMs = 1_000 / options.ratePerSecond;
  const endMs = options.durationMs === undefined ? Infinity : startMs + options.durationMs;
  const finished = Promise.withResolvers<void>();
  let stopped = false;
  let sent = 0;
  let inFlight = 0;

  function intendedMs(index: number): number {
    return startMs + index * gapMs;
  }

  function settleIfDone(): void {
    const scheduleEnded = stopped || intendedMs(sent) >= endMs;
    if (scheduleEnded && inFlight === 0) finished.resolve();
  }

  function sendDue(): void {
    const nowMs = Math.min(performance.now(), endMs - gapMs / 2);
    while (!stopped && inFlight < options.inFlightMax && intendedMs(sent) <= nowMs) {
      inFlight++;
      const index = sent++;
      void submit(index, intendedMs(index)).finally(() => {
        // `submit` never rejects, see its type.
        inFlight--;
        settleIfDone();
      });
    }
    if (!stopped && intendedMs(sent) < endMs) setTimeout(sendDue, TICK_MS);
    else settleIfDone();
  }

  sendDue();
  return {
    done: finished.promise,
    stop() {
      stopped = true;
      settleIfDone();
      return finished.promise;
    },
  };
}
