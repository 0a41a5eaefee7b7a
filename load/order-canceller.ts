/**
 * Cancels some of the orders of a run, each through another process than the one that created it.
 *
 * A cancellation is sent until it is answered, or until its deadline; a process that breaks off may
 * have sent it on, and cancelling twice is cancelling once. What was answered is evidence: a 200 or
 * a refusal is a promise about the order's end, a 202 that it will be carried out.
 */

import { describeError } from "../runtime/errors.ts";
import type { HttpResponse } from "./http-response.ts";
import type { SpreadClient } from "./spread-client.ts";

/**
 * `cancelled`: 200. `accepted`: 202, with the place to look. `refused`: 409, it is too late.
 * `unknown`: 404. `unanswered`: none of these until the deadline.
 */
export type CancelOutcome = "cancelled" | "accepted" | "refused" | "unknown" | "unanswered";

export interface CancelRecord {
  readonly orderId: string;
  readonly outcome: CancelOutcome;
  /** Of an answer that is none of the known ones, or of a 202 without its place. */
  readonly detail: string;
  /** From the first try to the answer. */
  readonly tookMs: number;
}

export interface OrderCanceller {
  /** To be told of each acknowledged order and who acknowledged it; cancels every n-th. */
  acknowledged(orderId: string, by: string): void;
  /** Resolves when each cancellation has its outcome. */
  finish(): Promise<readonly CancelRecord[]>;
}

export interface OrderCancellerOptions {
  readonly spread: () => Pick<SpreadClient, "requestElsewhere">;
  /** 0: none. */
  readonly every: number;
  readonly deadlineMs: number;
}

const RETRY_MS = 250;
const OUTCOMES: ReadonlyMap<number, CancelOutcome> = new Map([
  [200, "cancelled"],
  [202, "accepted"],
  [409, "refused"],
  [404, "unknown"],
]);

export function createOrderCanceller(options: OrderCancellerOptions): OrderCanceller {
  const { spread, every, deadlineMs } = options;
  const seen = new Set<string>();
  const open: Promise<CancelRecord>[] = [];

  async function cancel(orderId: string, by: string): Promise<CancelRecord> {
    const startMs = performance.now();
    const path = `/v1/orders/${orderId}/cancel`;
    const since = (): number => Math.round(performance.now() - startMs);
    let detail = "";
    do {
      try {
        const answer = await spread().requestElsewhere({ method: "POST", path }, by);
        const outcome = OUTCOMES.get(answer.status);
        detail = faultOf(orderId, answer, outcome);
        if (outcome !== undefined) return { orderId, outcome, detail, tookMs: since() };
      } catch (error) {
        detail = describeError(error);
      }
      await Bun.sleep(RETRY_MS);
    } while (since() < deadlineMs);
    return { orderId, outcome: "unanswered", detail, tookMs: since() };
  }

  return {
    acknowledged(orderId, by) {
      if (seen.has(orderId)) return;
      seen.add(orderId);
      if (every > 0 && seen.size % every === 0) open.push(cancel(orderId, by));
    },
    finish: async () => await Promise.all(open),
  };
}

function faultOf(
  orderId: string,
  { status, headers, body }: HttpResponse,
  outcome: CancelOutcome | undefined,
): string {
  if (outcome === undefined) return `${status} ${body.slice(0, 200)}`;
  const place = `/v1/orders/${orderId}`;
  if (outcome !== "accepted" || headers.get("location") === place) return "";
  return `202 with location ${String(headers.get("location"))}`;
}
