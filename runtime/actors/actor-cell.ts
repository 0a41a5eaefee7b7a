/**
 * The place where an actor lives: its reference, its mailbox, and one incarnation after another.
 *
 *     suspended ──start──► starting ──► running ──► stopping ──► suspended ──close──► closed
 *     (messages wait)        │ setup failed            ▲ handler failed, stop, exit
 *                            └─────────────────────────┘
 *
 * One handler runs at a time; while a returned promise is pending the cell is not `ready` and
 * messages wait. What follows an end (restart, close, passivate) is its owner's to decide. Nothing
 * here throws to a sender, and a killed incarnation changes nothing any more.
 */

import { assert, ShopError } from "../errors.ts";
import type { Exit } from "../supervision/child.ts";

import type {
  ActorRef,
  AskOptions,
  Behavior,
  Recipient,
  SingleBehavior,
  TellResult,
} from "./actor.ts";
import { abnormalExit, ActorFailure, causeOfExit, describeHandling } from "./actor-failure.ts";
import type { CellHost, CellOptions, CellOwner, ChildCell, Phase } from "./cell-port.ts";
import type { Watchable, Watcher } from "./death-watch.ts";
import type { Runnable } from "./dispatcher.ts";
import { Incarnation } from "./actor-incarnation.ts";
import { Mailbox } from "./mailbox.ts";
import type { Signal } from "./mailbox.ts";
import type { RingQueue } from "./ring-queue.ts";

const SHUTDOWN: Exit = { kind: "shutdown" };

export class ActorCell<Message> implements ActorRef<Message>, Runnable, Watchable, ChildCell {
  readonly path: string;
  readonly host: CellHost;
  readonly mailbox: Mailbox<Message>;
  phase: Phase = "suspended";
  private readonly owner: CellOwner;
  private readonly setup: CellOptions<Message>["setup"];
  private readonly user: RingQueue<Message>;
  private current: Incarnation<Message> | undefined;
  private incarnations = 0;
  /** Running, and no promise of a handler is pending. */
  private ready = false;
  /** Ready, with nothing to do: the next message has to wake it. */
  private idle = false;
  private queued = false;
  /** Something comes before the next user message, or the incarnation is over. */
  private interrupted = false;
  private exitRequested = false;
  /** Not started yet or about to be started again: watchers wait. */
  private expected = true;
  private whenStarted: ((failure: ActorFailure | undefined) => void) | undefined;
  private watchers: Set<Watcher> | undefined;

  constructor(options: CellOptions<Message>) {
    this.path = options.path;
    this.host = options.host;
    this.owner = options.owner;
    this.setup = options.setup;
    this.mailbox = new Mailbox(options.mailbox);
    this.user = this.mailbox.user;
  }

  tell(message: Message): TellResult {
    if (this.user.push(message)) {
      if (this.idle) this.wake();
      return "accepted";
    }
    return this.mailbox.refuse(message, this.path, this.host.undelivered);
  }

  ask<Reply>(
    makeMessage: (replyTo: Recipient<Reply>) => Message,
    options: AskOptions,
  ): Promise<Reply> {
    return this.host.asks.ask(this, makeMessage, options.deadlineMs);
  }

  /** No incarnation lives here now. */
  get isVacant(): boolean {
    return this.current === undefined;
  }

  /** Puts `signal` before every user message. Without an incarnation there is nobody to tell. */
  signal(signal: Signal<Message>): void {
    if (this.current === undefined) return;
    this.mailbox.signal(signal);
    this.interrupt();
  }

  /** Looks again at what has to be handled before the next user message. */
  interrupt(): void {
    this.interrupted = this.mailbox.isInterrupted;
    if (this.interrupted && this.idle) this.wake();
  }

  addWatcher(watcher: Watcher): boolean {
    if (this.phase === "closed" || (this.phase === "suspended" && !this.expected)) return false;
    this.watchers ??= new Set();
    this.watchers.add(watcher);
    return true;
  }

  removeWatcher(watcher: Watcher): void {
    this.watchers?.delete(watcher);
  }

  /** Begins an incarnation; setup runs in a turn of its own. Only when suspended. */
  start(whenStarted: (failure: ActorFailure | undefined) => void): void {
    assert(this.phase === "suspended", `${this.path} is ${this.phase} and cannot start`);
    this.phase = "starting";
    this.expected = true;
    this.whenStarted = whenStarted;
    this.current = new Incarnation(this, ++this.incarnations);
    this.enqueue();
  }

  /** Asks the incarnation to end after the current handler. Idempotent; no-op without one. */
  requestStop(): void {
    this.requestExit(SHUTDOWN);
  }

  requestExit(exit: Exit): void {
    if (this.exitRequested || this.current === undefined || this.phase === "stopping") return;
    this.exitRequested = true;
    this.signal({ kind: "stop", exit });
  }

  /**
   * Ends the incarnation at once, its children too, without hooks. What it had in hand is reported
   * as a failure, because its outcome is unknown. No-op without an incarnation.
   */
  kill(): void {
    const { current } = this;
    if (current === undefined) return;
    const inHand = this.phase === "running" && !this.ready ? current.takeInHand() : [];
    this.expected = this.owner.restartsAfter(SHUTDOWN);
    current.deactivate();
    current.killChildren();
    if (inHand.length > 0) {
      const cause = new ShopError("INDETERMINATE", `${this.path} was killed`, "later");
      this.owner.failed(this.failure(current, describeHandling(inHand), inHand, cause));
    }
    this.leave(current, SHUTDOWN);
  }

  /** Ends the cell for good and gives back the messages that waited. Not while it lives. */
  close(): Message[] {
    assert(this.current === undefined, `${this.path} still lives and cannot be closed`);
    this.phase = "closed";
    this.user.close();
    this.tellWatchers();
    return this.mailbox.takeAll();
  }

  /** Takes messages again after `close`, for an incarnation to come. */
  reopen(): void {
    if (this.phase !== "closed") return;
    this.phase = "suspended";
    this.expected = true;
    this.user.reopen();
  }

  /** One turn. Only the dispatcher calls it. */
  run(messagesMax: number): void {
    this.queued = false;
    if (this.phase === "starting" && this.current !== undefined) return this.setUp(this.current);
    let left = messagesMax;
    while (this.ready && this.current !== undefined) {
      if (!this.interrupted && this.user.length === 0) return this.rest();
      if (left <= 0) return this.enqueue();
      if (this.interrupted) left -= this.attend(this.current);
      else if (this.current.batchMax > 0) left -= this.handleBatch(this.current);
      else left -= this.handleMessages(this.current, left);
    }
  }

  private wake(): void {
    this.idle = false;
    this.enqueue();
  }

  private enqueue(): void {
    if (this.queued) return;
    this.queued = true;
    this.host.dispatcher.enqueue(this);
  }

  private rest(): void {
    this.idle = true;
    this.owner.drained?.();
  }

  /** After a handler's promise or setup: the next turn, or rest. */
  private resume(): void {
    this.ready = true;
    this.interrupted = this.mailbox.isInterrupted;
    if (this.interrupted || this.user.length > 0) this.enqueue();
    else this.rest();
  }

  private setUp(current: Incarnation<Message>): void {
    const failed = (error: unknown): void => {
      if (this.current !== current) return;
      this.end(current, abnormalExit(this.failure(current, "setup", [], error)));
    };
    const adopt = (behavior: Behavior<Message>): void => {
      if (this.current === current) this.begin(current, behavior, failed);
    };
    let made: Behavior<Message> | Promise<Behavior<Message>>;
    try {
      made = this.setup(current);
    } catch (error) {
      return failed(error);
    }
    // Both reactions handle everything, so this promise cannot reject.
    if (made instanceof Promise) void made.then(adopt, failed);
    else adopt(made);
  }

  private begin(
    current: Incarnation<Message>,
    behavior: Behavior<Message>,
    failed: (error: unknown) => void,
  ): void {
    try {
      current.adopt(behavior);
    } catch (error) {
      return failed(error);
    }
    this.phase = "running";
    this.settleStart(undefined);
    if (this.current === current) this.resume();
  }

  private settleStart(failure: ActorFailure | undefined): void {
    const { whenStarted } = this;
    this.whenStarted = undefined;
    whenStarted?.(failure);
  }

  private handleMessages(current: Incarnation<Message>, messagesMax: number): number {
    const { user } = this;
    const behavior = current.behavior as SingleBehavior<Message>; // batchMax is 0
    let message: Message | undefined;
    let handled = 0;
    try {
      do {
        message = user.shift();
        handled++;
        const pending = behavior.receive(message, current);
        if (pending !== undefined && this.waitFor(current, pending, message, undefined)) break;
      } while (handled < messagesMax && user.length > 0 && !this.interrupted);
    } catch (error) {
      this.fail(current, [message], error);
    }
    return handled;
  }

  private handleBatch(current: Incarnation<Message>): number {
    const messages = this.user.take(current.batchMax);
    this.deliver(current, messages);
    return messages.length;
  }

  /** Handles one signal, or one message that had been set aside. */
  private attend(current: Incarnation<Message>): number {
    const signal = this.mailbox.nextSignal();
    const replayed = signal === undefined ? [this.mailbox.next()] : undefined;
    this.interrupted = this.mailbox.isInterrupted;
    if (signal === undefined) this.deliver(current, replayed ?? []);
    else if (signal.kind === "stop") this.end(current, signal.exit);
    else if (signal.kind === "tick") {
      current.ticked(signal.key);
      this.deliver(current, [signal.message]);
    } else this.guard(current, [], () => current.handleTerminated(signal.ref));
    return 1;
  }

  private deliver(current: Incarnation<Message>, messages: readonly Message[]): void {
    this.guard(current, messages, () => current.handle(messages));
  }

  /** Runs one handler; what it throws or rejects with is this actor's failure. */
  private guard(
    current: Incarnation<Message>,
    messages: readonly Message[],
    handler: () => unknown,
  ): void {
    try {
      const pending = handler();
      if (pending !== undefined) this.waitFor(current, pending, undefined, messages);
    } catch (error) {
      this.fail(current, messages, error);
    }
  }

  /** False when `pending` is no promise after all: a handler may return any value. */
  private waitFor(
    current: Incarnation<Message>,
    pending: unknown,
    one: Message | undefined,
    many: readonly Message[] | undefined,
  ): boolean {
    if (!(pending instanceof Promise)) return false;
    current.inHandOne = one;
    current.inHand = many;
    if (this.current === current) this.ready = false;
    current.handled ??= () => {
      if (this.current === current) this.resume();
    };
    current.rejected ??= (error) => this.fail(current, current.takeInHand(), error);
    // Both reactions handle everything, so this promise cannot reject.
    void pending.then(current.handled, current.rejected);
    return true;
  }

  private failure(
    current: Incarnation<Message>,
    doing: string,
    messages: readonly unknown[],
    cause: unknown,
  ): ActorFailure {
    return new ActorFailure(this.path, current.incarnation, doing, messages, cause);
  }

  private fail(current: Incarnation<Message>, messages: readonly unknown[], error: unknown): void {
    const failure = this.failure(current, describeHandling(messages), messages, error);
    if (this.current !== current) return this.host.report(failure);
    this.owner.failed(failure);
    if (this.current === current) this.end(current, abnormalExit(failure));
  }

  private end(current: Incarnation<Message>, exit: Exit): void {
    this.phase = "stopping";
    this.ready = false;
    this.idle = false;
    this.expected = this.owner.restartsAfter(exit);
    current.deactivate();
    this.mailbox.unstashAll();
    current.stopChildren(() => this.runEndHook(current, exit));
  }

  private runEndHook(current: Incarnation<Message>, exit: Exit): void {
    const { behavior } = current;
    const restarts = exit.kind === "abnormal" && this.expected;
    const done = (): void => this.leave(current, exit);
    const failed = (error: unknown): void => {
      const doing = restarts ? "beforeRestart" : "onStop";
      this.owner.failed(this.failure(current, doing, [], error));
      done();
    };
    let pending: unknown;
    try {
      if (restarts) pending = behavior?.beforeRestart?.(causeOfExit(exit), current);
      else pending = behavior?.onStop?.(current);
    } catch (error) {
      return failed(error);
    }
    // Both reactions handle everything, so this promise cannot reject.
    if (pending instanceof Promise) void pending.then(done, failed);
    else done();
  }

  /** The incarnation is over: the cell is suspended and its owner decides. */
  private leave(current: Incarnation<Message>, exit: Exit): void {
    if (this.current !== current) return;
    this.current = undefined;
    this.phase = "suspended";
    this.ready = false;
    this.idle = false;
    this.interrupted = true; // ends the loop of a handler that ended its own incarnation
    this.exitRequested = false;
    this.mailbox.clearSignals();
    if (!this.expected) this.tellWatchers();
    if (this.whenStarted === undefined) return this.owner.ended(exit);
    if (exit.kind === "abnormal" && exit.error instanceof ActorFailure) {
      return this.settleStart(exit.error);
    }
    const early = new ShopError("CLOSED", "ended before it had started", "later");
    this.settleStart(this.failure(current, "setup", [], early));
  }

  private tellWatchers(): void {
    const { watchers } = this;
    this.watchers = undefined;
    for (const watcher of watchers ?? []) watcher.targetEnded(this);
  }
}
