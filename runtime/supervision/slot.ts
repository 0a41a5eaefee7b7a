/**
 * What a supervisor remembers of one child between its lives, and who has it in hand.
 *
 * At most one repair (a decision being carried out) owns a child at a time; a later decision takes
 * the child over, and the earlier one finds that it is no longer its business. A repair that owns
 * nothing any more does not wait any longer either.
 */

import type { Environment } from "../environment.ts";
import type { ChildSpec } from "./child.ts";
import type { ChildState } from "./decide.ts";
import type { Incarnation } from "./incarnation.ts";

/** `restarting`: it ended and will be started again, or is being started again now. */
export type ChildPhase = "starting" | "running" | "restarting" | "stopped";

export interface Slot extends ChildState {
  readonly spec: ChildSpec;
  /** Added after the supervisor had started. */
  readonly dynamic: boolean;
  alive: boolean;
  series: number;
  startedAtMs: number | undefined;
  phase: ChildPhase;
  /** How often it was started again. */
  restarts: number;
  /** `undefined` exactly when not `alive`. */
  incarnation: Incarnation | undefined;
  repair: Repair | undefined;
}

export interface Repair {
  readonly members: Set<Slot>;
  /** Ends the wait before the restart, if one is under way. */
  wake: () => void;
}

export function createSlot(spec: ChildSpec, dynamic: boolean): Slot {
  return {
    id: spec.id,
    restart: spec.restart,
    spec,
    dynamic,
    alive: false,
    series: 0,
    startedAtMs: undefined,
    phase: "starting",
    restarts: 0,
    incarnation: undefined,
    repair: undefined,
  };
}

/** A new repair that owns `slots`, whoever owned them before. */
export function createRepair(slots: Iterable<Slot>): Repair {
  const repair: Repair = { members: new Set(), wake: () => undefined };
  for (const slot of slots) {
    releaseSlot(slot);
    slot.repair = repair;
    repair.members.add(slot);
  }
  return repair;
}

/** Takes the child out of the hands of its repair, if it is in one. */
export function releaseSlot(slot: Slot): void {
  const repair = slot.repair;
  if (repair === undefined) return;
  slot.repair = undefined;
  repair.members.delete(slot);
  if (repair.members.size === 0) repair.wake();
}

/** Resolves after `afterMs`, in a later turn even when that is 0, or when `repair` owns nothing. */
export function pauseRepair(
  repair: Repair,
  afterMs: number,
  environment: Environment,
): Promise<void> {
  return new Promise((resolve) => {
    if (afterMs === 0) {
      environment.defer(resolve);
      return;
    }
    const timer = environment.startTimer(afterMs, resolve);
    repair.wake = () => {
      timer.cancel();
      resolve();
    };
  });
}
