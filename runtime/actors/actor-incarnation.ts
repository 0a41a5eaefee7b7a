/**
 * One life of an actor: its behaviour, and what it holds while it lives.
 *
 * This is the context that handlers see. Timers, watches and children belong to the incarnation
 * and end with it; the mailbox and the reference belong to the cell and stay. A context that has
 * ended refuses to act: code of a killed incarnation that is still running can start nothing.
 */

import { assert, InvariantError } from "../errors.ts";
import type { Environment } from "../environment.ts";

import type { ActorContext, ActorDefinition, ActorRef, Behavior, SpawnOptions } from "./actor.ts";
import { BATCH_MAX, CHILDREN_PER_ACTOR_MAX } from "./actor-limits.ts";
import { ActorTimers } from "./actor-timers.ts";
import type { ActorCell } from "./actor-cell.ts";
import type { ChildCell, Parent } from "./cell-port.ts";
import { WatchTable } from "./death-watch.ts";

export class Incarnation<Message> implements ActorContext<Message>, Parent {
  readonly self: ActorRef<Message>;
  readonly environment: Environment;
  readonly incarnation: number;
  /** Set once setup has made it. */
  behavior: Behavior<Message> | undefined;
  /** 0: its behaviour takes one message at a time. */
  batchMax = 0;
  /** What a pending handler is handling: `inHandOne` when `inHand` is undefined. */
  inHand: readonly Message[] | undefined = [];
  inHandOne: Message | undefined;
  /** Reactions to the promise of a handler, made when the first one returns a promise. */
  handled: (() => void) | undefined;
  rejected: ((error: unknown) => void) | undefined;
  private readonly cell: ActorCell<Message>;
  private active = true;
  private timers: ActorTimers<Message> | undefined;
  private watches: WatchTable | undefined;
  private children: Set<ChildCell> | undefined;
  private whenChildless: (() => void) | undefined;

  constructor(cell: ActorCell<Message>, incarnation: number) {
    this.cell = cell;
    this.self = cell;
    this.environment = cell.host.environment;
    this.incarnation = incarnation;
  }

  get path(): string {
    return this.cell.path;
  }

  adopt(behavior: Behavior<Message>): void {
    if ("receiveBatch" in behavior) {
      const { batchMax } = behavior;
      const valid = Number.isInteger(batchMax) && batchMax >= 1 && batchMax <= BATCH_MAX;
      assert(valid, `batchMax must be 1..${BATCH_MAX}, got ${batchMax}`);
      this.batchMax = batchMax;
    }
    this.behavior = behavior;
  }

  /** Calls the handler. `messages` has one message unless the behaviour takes batches. */
  handle(messages: readonly Message[]): unknown {
    const { behavior } = this;
    assert(behavior !== undefined, `${this.path} got a message before its setup was done`);
    if ("receiveBatch" in behavior) return behavior.receiveBatch(messages, this);
    return behavior.receive(messages[0] as Message, this); // never empty
  }

  takeInHand(): readonly Message[] {
    const inHand = this.inHand ?? [this.inHandOne as Message]; // set together
    this.inHand = [];
    this.inHandOne = undefined;
    return inHand;
  }

  startTimer(key: string, delayMs: number, message: Message): void {
    if (!this.active) return;
    const { mailbox } = this.cell;
    this.timers ??= new ActorTimers<Message>(
      this.environment,
      (firedKey, tick) => this.cell.signal({ kind: "tick", key: firedKey, message: tick }),
      (staleKey) => mailbox.withdraw((signal) => signal.kind === "tick" && signal.key === staleKey),
    );
    this.timers.start(key, delayMs, message);
  }

  cancelTimer(key: string): boolean {
    return this.timers?.cancel(key) ?? false;
  }

  ticked(key: string): void {
    this.timers?.ticked(key);
  }

  stash(message: Message): "accepted" | "full" {
    if (this.active && this.cell.mailbox.stash(message)) return "accepted";
    this.cell.host.undelivered.record("stash_full", this.cell.path, message);
    return "full";
  }

  unstashAll(): void {
    if (!this.active) return;
    this.cell.mailbox.unstashAll();
    this.cell.interrupt();
  }

  watch(ref: ActorRef<never>): void {
    if (!this.active) return;
    const { mailbox } = this.cell;
    this.watches ??= new WatchTable(
      (target) => this.cell.signal({ kind: "terminated", ref: target }),
      (target) =>
        mailbox.withdraw((signal) => signal.kind === "terminated" && signal.ref === target),
    );
    this.watches.watch(ref);
  }

  unwatch(ref: ActorRef<never>): void {
    this.watches?.unwatch(ref);
  }

  handleTerminated(ref: ActorRef<never>): unknown {
    this.watches?.noticed(ref);
    if (this.behavior?.onTerminated === undefined) {
      throw new InvariantError(`death pact: ${ref.path} has ended and nobody handles it`);
    }
    return this.behavior.onTerminated(ref, this);
  }

  spawn<ChildMessage, Init>(
    definition: ActorDefinition<ChildMessage, Init>,
    init: Init,
    options: SpawnOptions = {},
  ): ActorRef<ChildMessage> {
    assert(this.active, `${this.path} has ended and cannot have children`);
    return this.cell.host.spawnUnder(this, definition, init, options);
  }

  adoptChild(child: ChildCell): void {
    this.children ??= new Set();
    assert(this.children.size < CHILDREN_PER_ACTOR_MAX, `${this.path} has too many children`);
    this.children.add(child);
  }

  childEnded(child: ChildCell): void {
    if (this.children?.delete(child) !== true || this.children.size > 0) return;
    const whenChildless = this.whenChildless;
    this.whenChildless = undefined;
    whenChildless?.();
  }

  stopChild(ref: ActorRef<never>): void {
    for (const child of this.children ?? []) {
      if (Object.is(child, ref)) child.requestStop();
    }
  }

  stop(): void {
    if (this.active) this.cell.requestExit({ kind: "normal" });
  }

  /** Ends timers and watches; from now on the context does nothing. Idempotent. */
  deactivate(): void {
    this.active = false;
    this.timers?.cancelAll();
    this.watches?.clear();
  }

  /** Asks all children to end, youngest first, and calls `done` when they have. */
  stopChildren(done: () => void): void {
    const children = [...(this.children ?? [])];
    if (children.length === 0) return done();
    this.whenChildless = done;
    for (const child of children.toReversed()) child.requestStop();
  }

  killChildren(): void {
    this.whenChildless = undefined;
    for (const child of [...(this.children ?? [])].toReversed()) child.kill();
  }
}
