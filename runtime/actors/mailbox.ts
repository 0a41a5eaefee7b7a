/**
 * The two lanes of an actor: signals of the system first, then the messages of its users.
 *
 * The user lane is bounded by its capacity and an explicit policy; the system lane by what can be
 * in it: one stop, one tick per timer, one notice per watch. There is no policy that waits: a
 * sender inside the process must not be stopped by a slow receiver.
 */

import { assert } from "../errors.ts";
import type { Exit } from "../supervision/child.ts";

import type { ActorRef, MailboxOptions, OverflowPolicy, TellResult } from "./actor.ts";
import {
  MAILBOX_CAPACITY_DEFAULT,
  MAILBOX_CAPACITY_MAX,
  STASH_CAPACITY_DEFAULT,
  TIMERS_PER_ACTOR_MAX,
  WATCHES_PER_ACTOR_MAX,
} from "./actor-limits.ts";
import { RingQueue } from "./ring-queue.ts";
import { Stash } from "./stash.ts";
import type { UndeliveredLog } from "./undelivered.ts";

const SIGNALS_MAX = TIMERS_PER_ACTOR_MAX + WATCHES_PER_ACTOR_MAX + 1;

export type Signal<Message> =
  | { readonly kind: "stop"; readonly exit: Exit }
  | { readonly kind: "tick"; readonly key: string; readonly message: Message }
  | { readonly kind: "terminated"; readonly ref: ActorRef<never> };

export class Mailbox<Message> {
  /** The user lane. Cells push to it directly: nothing may stand between `tell` and its slot. */
  readonly user: RingQueue<Message>;
  private readonly overflow: OverflowPolicy;
  private readonly stashCapacity: number;
  private readonly signals: Signal<Message>[] = [];
  private stashed: Stash<Message> | undefined;

  constructor(options: MailboxOptions) {
    const capacity = options.capacity ?? MAILBOX_CAPACITY_DEFAULT;
    assert(capacity <= MAILBOX_CAPACITY_MAX, `mailbox capacity ${capacity} is over the maximum`);
    this.user = new RingQueue(capacity);
    this.overflow = options.overflow ?? "reject";
    this.stashCapacity = options.stashCapacity ?? STASH_CAPACITY_DEFAULT;
  }

  /** User messages waiting, set aside or to be replayed. */
  get size(): number {
    return this.user.length + (this.stashed?.size ?? 0);
  }

  get isFull(): boolean {
    return this.user.length >= this.user.capacity;
  }

  get replaySize(): number {
    return this.stashed?.replaySize ?? 0;
  }

  /** True when something has to be handled before the next user message. */
  get isInterrupted(): boolean {
    return this.signals.length > 0 || this.replaySize > 0;
  }

  /** Applies the policy to a message that `user.push` refused: full, or closed. */
  refuse(message: Message, path: string, undelivered: UndeliveredLog): TellResult {
    if (this.user.isClosed) {
      undelivered.record("stopped", path, message);
      return "stopped";
    }
    switch (this.overflow) {
      case "reject":
        undelivered.record("mailbox_full", path, message);
        return "full";
      case "dropNewest":
        undelivered.record("dropped_newest", path, message);
        return "dropped";
      case "dropOldest": {
        const oldest = this.user.shift();
        this.user.push(message);
        undelivered.record("dropped_oldest", path, oldest);
        return "accepted";
      }
    }
  }

  signal(signal: Signal<Message>): void {
    assert(this.signals.length < SIGNALS_MAX, "an actor's system lane is over its bound");
    this.signals.push(signal);
  }

  nextSignal(): Signal<Message> | undefined {
    return this.signals.shift();
  }

  /** Takes back signals that lost their meaning: a cancelled timer, a watch given up. */
  withdraw(isStale: (signal: Signal<Message>) => boolean): void {
    const kept = this.signals.filter((signal) => !isStale(signal));
    this.signals.splice(0, this.signals.length, ...kept);
  }

  clearSignals(): void {
    this.signals.length = 0;
  }

  stash(message: Message): boolean {
    this.stashed ??= new Stash(this.stashCapacity);
    return this.stashed.hold(message);
  }

  unstashAll(): void {
    this.stashed?.release();
  }

  /** The next message to replay, or the oldest waiting one. Only when there is one. */
  next(): Message {
    const stash = this.stashed;
    return stash !== undefined && stash.replaySize > 0 ? stash.next() : this.user.shift();
  }

  /** Empties the user lane and the stash, oldest first. */
  takeAll(): Message[] {
    return [...(this.stashed?.takeAll() ?? []), ...this.user.take(this.user.length)];
  }
}
