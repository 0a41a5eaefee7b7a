/**
 * The actor in front of one broker: gathers frames that are ready into batches, high lane first.
 *
 * One batch is under way at a time; what comes meanwhile waits for the next. A frame of the high
 * lane that comes late still leaves before those of the normal lane that came early, of which each
 * batch keeps a share, so that they never starve. It holds no more than its mailbox was made for.
 */

import type { ActorDefinition } from "../../runtime/actors/actor.ts";
import type { Outcome, Retry } from "../delivery/outcome.ts";
import type { Passage, PassHandler } from "./passage.ts";
import type { Priority } from "./route-row.ts";

import { defineActor } from "../../runtime/actors/actor.ts";
import { ShopError } from "../../runtime/errors.ts";
import { outcomeOfFailure } from "../delivery/outcome.ts";

/** One in so many frames of a full batch is left to the normal lane. */
const NORMAL_SHARE = 4;

export interface EgressJob {
  readonly passage: Passage;
  readonly lane: Priority;
  readonly answer: (outcome: Outcome) => void;
}

export type EgressMessage = EgressJob | "published";

export interface EgressInit {
  readonly handle: PassHandler;
  /** Frames of one publication. */
  readonly batchMax: number;
  /** The actor has ended; everything it held was given back. */
  readonly ended: () => void;
}

export const egressActor: ActorDefinition<EgressMessage, EgressInit> = defineActor<
  EgressMessage,
  EgressInit
>({
  type: "egress",
  setup({ handle, batchMax, ended }, { self }) {
    const lanes: Record<Priority, EgressJob[]> = { high: [], normal: [] };
    let isPublishing = false;

    function publishNext(): void {
      if (isPublishing) return;
      const batch = takeBatch(lanes, batchMax);
      if (batch.length === 0) return;
      isPublishing = true;
      // `publish` answers every failure and cannot reject.
      void publish(batch, handle).then(() => void self.tell("published"));
    }

    return {
      batchMax,
      receiveBatch(messages) {
        for (const message of messages) {
          if (message === "published") isPublishing = false;
          else lanes[message.lane].push(message);
        }
        publishNext();
      },
      onStop() {
        for (const job of [...lanes.high, ...lanes.normal]) job.answer(givenBack());
        ended();
      },
    };
  },
});

/** What a frame is told that the actor does not take. */
export function givenBack(): Retry {
  const error = new ShopError("SATURATED", "the egress takes no more frames", "later");
  return { kind: "retry", error, blameless: true };
}

async function publish(batch: readonly EgressJob[], handle: PassHandler): Promise<void> {
  let outcomes: readonly Outcome[];
  try {
    outcomes = await handle(batch.map(({ passage }) => passage));
  } catch (error) {
    outcomes = batch.map(() => outcomeOfFailure(error));
  }
  for (const [at, job] of batch.entries()) job.answer(outcomes[at] ?? givenBack());
}

function takeBatch(lanes: Record<Priority, EgressJob[]>, batchMax: number): readonly EgressJob[] {
  const kept = Math.min(lanes.normal.length, Math.ceil(batchMax / NORMAL_SHARE));
  const high = lanes.high.splice(0, batchMax - kept);
  return [...high, ...lanes.normal.splice(0, batchMax - high.length)];
}
