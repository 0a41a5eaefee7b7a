/**
 * Who is told when an actor ends.
 *
 * A watch is one entry on both sides and leads to exactly one notice, whether it began before or
 * after the end; giving it up before the notice is handled silences it. What cannot be watched
 * (the asker of a question, an actor of another thread) is refused.
 */

import { assert } from "../errors.ts";

import type { ActorRef } from "./actor.ts";
import { WATCHES_PER_ACTOR_MAX } from "./actor-limits.ts";

export interface Watcher {
  targetEnded(target: ActorRef<never>): void;
}

export interface Watchable extends ActorRef<never> {
  /** False when it has ended: then the watcher will not be called. */
  addWatcher(watcher: Watcher): boolean;
  removeWatcher(watcher: Watcher): void;
}

/** What one incarnation watches. */
export class WatchTable implements Watcher {
  private readonly notify: (target: ActorRef<never>) => void;
  private readonly withdraw: (target: ActorRef<never>) => void;
  private readonly targets = new Set<ActorRef<never>>();

  /** `notify` puts a notice into the system lane, `withdraw` takes it out if it is there. */
  constructor(
    notify: (target: ActorRef<never>) => void,
    withdraw: (target: ActorRef<never>) => void,
  ) {
    this.notify = notify;
    this.withdraw = withdraw;
  }

  watch(ref: ActorRef<never>): void {
    assert(isWatchable(ref), `${ref.path} cannot be watched`);
    if (this.targets.has(ref)) return;
    assert(this.targets.size < WATCHES_PER_ACTOR_MAX, `over ${WATCHES_PER_ACTOR_MAX} watches`);
    this.targets.add(ref);
    if (!ref.addWatcher(this)) this.notify(ref);
  }

  unwatch(ref: ActorRef<never>): void {
    if (!this.targets.delete(ref)) return;
    if (isWatchable(ref)) ref.removeWatcher(this);
    this.withdraw(ref);
  }

  targetEnded(target: ActorRef<never>): void {
    this.notify(target);
  }

  /** Its notice is about to be handled. */
  noticed(target: ActorRef<never>): void {
    this.targets.delete(target);
  }

  clear(): void {
    for (const target of this.targets) {
      if (isWatchable(target)) target.removeWatcher(this);
    }
    this.targets.clear();
  }
}

function isWatchable(ref: ActorRef<never>): ref is Watchable {
  return "addWatcher" in ref && "removeWatcher" in ref;
}
