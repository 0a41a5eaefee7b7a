/**
 * The timers of one incarnation, by key.
 *
 * A timer that has fired stays in the table until its tick is handled, so a key has at most one
 * tick under way and cancelling withdraws it. Refuses more than a fixed number of keys.
 */

import { assert } from "../errors.ts";
import type { Environment, Timer } from "../environment.ts";

import { TIMERS_PER_ACTOR_MAX } from "./actor-limits.ts";

export class ActorTimers<Message> {
  private readonly environment: Environment;
  private readonly fire: (key: string, message: Message) => void;
  private readonly withdraw: (key: string) => void;
  private readonly timers = new Map<string, Timer>();

  /** `fire` puts a tick into the system lane, `withdraw` takes it out again if it is there. */
  constructor(
    environment: Environment,
    fire: (key: string, message: Message) => void,
    withdraw: (key: string) => void,
  ) {
    this.environment = environment;
    this.fire = fire;
    this.withdraw = withdraw;
  }

  start(key: string, delayMs: number, message: Message): void {
    this.cancel(key);
    assert(this.timers.size < TIMERS_PER_ACTOR_MAX, `over ${TIMERS_PER_ACTOR_MAX} timers`);
    const timer = this.environment.startTimer(delayMs, () => this.fire(key, message));
    this.timers.set(key, timer);
  }

  cancel(key: string): boolean {
    const timer = this.timers.get(key);
    if (timer === undefined) return false;
    timer.cancel();
    this.timers.delete(key);
    this.withdraw(key);
    return true;
  }

  /** Its tick is about to be handled. */
  ticked(key: string): void {
    this.timers.delete(key);
  }

  cancelAll(): void {
    for (const timer of this.timers.values()) timer.cancel();
    this.timers.clear();
  }
}
