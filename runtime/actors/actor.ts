/**
 * The words of the actor core: definitions, behaviours, references, contexts.
 *
 * An actor is defined by a setup function that makes its behaviour; state lives in what setup
 * closes over, so a restart starts from nothing. What cannot be said here is refused on purpose:
 * there is no way to wait for room in a mailbox (waiting is for the edges: pause the broker, answer
 * 503), none to reach into an actor, and no ask without a deadline.
 */

import { assert } from "../errors.ts";
import type { Environment } from "../environment.ts";

/**
 * What a full mailbox does with one more message. `reject`: hands it back (`full`). `dropNewest`:
 * drops it. `dropOldest`: drops the one that waited longest. Every message that does not get
 * through is a counted dead letter.
 */
export type OverflowPolicy = "reject" | "dropNewest" | "dropOldest";

/**
 * `accepted`: the message is in the mailbox and the sender's part is done. `full`: handed back by
 * `reject`. `dropped`: given up by `dropNewest`. `stopped`: nobody will ever handle it.
 */
export type TellResult = "accepted" | "full" | "dropped" | "stopped";

/** Anything that takes messages: an actor, or one who waits for an answer. */
export interface Recipient<Message> {
  readonly path: string;
  /** Never runs a handler in the caller's stack, never throws. */
  tell(message: Message): TellResult;
}

export interface AskOptions {
  /** How long the answer may take, in ms from now. There is no default on purpose. */
  readonly deadlineMs: number;
}

/** Names an actor for as long as it lives, through every restart. Compared by identity. */
export interface ActorRef<Message> extends Recipient<Message> {
  /**
   * Sends what `makeMessage` returns and resolves with what is told to `replyTo`.
   * Rejects with `ASK_TIMEOUT` naming the path, `MAILBOX_FULL`, `CLOSED` (the actor has ended or
   * its system closes) or `SATURATED` (too many asks are pending). A late answer is a dead letter.
   */
  ask<Reply>(
    makeMessage: (replyTo: Recipient<Reply>) => Message,
    options: AskOptions,
  ): Promise<Reply>;
}

export interface MailboxOptions {
  readonly capacity?: number;
  readonly overflow?: OverflowPolicy;
  readonly stashCapacity?: number;
}

export interface SpawnOptions {
  /** Unique among living siblings; absent: the definition's type and a number. */
  readonly name?: string;
  /** Overrides what the definition says. */
  readonly mailbox?: MailboxOptions;
}

/**
 * What one incarnation may do besides handling messages. Its methods must be called from the
 * actor's own handlers; once the incarnation has ended they do nothing.
 */
export interface ActorContext<Message> {
  readonly self: ActorRef<Message>;
  readonly environment: Environment;
  /** 1 for the first incarnation. */
  readonly incarnation: number;
  /**
   * Delivers `message` once, `delayMs` (>= 0) from now, before any waiting user message. The same
   * key replaces. A tick of an earlier incarnation, or after a cancel or a stop, never arrives.
   */
  startTimer(key: string, delayMs: number, message: Message): void;
  /** False when no such timer is running. */
  cancelTimer(key: string): boolean;
  /** Sets `message` aside; `full` makes it a dead letter. */
  stash(message: Message): "accepted" | "full";
  /** Handles everything set aside next, oldest first, before the mailbox. */
  unstashAll(): void;
  /** One call of `onTerminated` when `ref` has ended, at once if it already has. */
  watch(ref: ActorRef<never>): void;
  unwatch(ref: ActorRef<never>): void;
  /** A child ends with this incarnation. Its failure ends it and is reported by the system. */
  spawn<ChildMessage, Init>(
    definition: ActorDefinition<ChildMessage, Init>,
    init: Init,
    options?: SpawnOptions,
  ): ActorRef<ChildMessage>;
  stopChild(ref: ActorRef<never>): void;
  /** Ends this actor after the current handler; a normal exit. */
  stop(): void;
}

/** Hooks of one incarnation. Each runs at most once; a failing one is reported, then ignored. */
export interface LifecycleHooks<Message> {
  /** Absent: the end of a watched actor is this actor's failure (a death pact). */
  onTerminated?(ref: ActorRef<never>, context: ActorContext<Message>): void | Promise<void>;
  /** It failed and another incarnation is to follow. Its children have ended. */
  beforeRestart?(error: unknown, context: ActorContext<Message>): void | Promise<void>;
  /** It ends for any other reason. Its children have ended. */
  onStop?(context: ActorContext<Message>): void | Promise<void>;
}

/** Takes one message at a time. The next one waits until a returned promise is settled. */
export interface SingleBehavior<Message> extends LifecycleHooks<Message> {
  receive(message: Message, context: ActorContext<Message>): void | Promise<void>;
}

/** Takes up to `batchMax` waiting messages at a time, at least one, in order. */
export interface BatchBehavior<Message> extends LifecycleHooks<Message> {
  readonly batchMax: number;
  receiveBatch(messages: readonly Message[], context: ActorContext<Message>): void | Promise<void>;
}

export type Behavior<Message> = SingleBehavior<Message> | BatchBehavior<Message>;

export interface ActorDefinition<Message, Init> {
  /** What kind of actor this is; names those that are not named. */
  readonly type: string;
  readonly mailbox?: MailboxOptions;
  /**
   * Starts one incarnation; messages wait until it is done. Throwing or rejecting means that the
   * incarnation did not start; then no hook runs.
   */
  setup(init: Init, context: ActorContext<Message>): Behavior<Message> | Promise<Behavior<Message>>;
}

const NAME = /^[\w.:@-]{1,200}$/;

/** Checks a definition once, so that spawning need not. Throws `InvariantError`. */
export function defineActor<Message, Init = void>(
  definition: ActorDefinition<Message, Init>,
): ActorDefinition<Message, Init> {
  checkName(definition.type);
  return Object.freeze({ ...definition });
}

/** Names become parts of paths: letters, digits and `_ . : @ -`, at most 200 of them. */
export function checkName(name: string): void {
  assert(NAME.test(name), `${JSON.stringify(name)} cannot be part of an actor's path`);
}
