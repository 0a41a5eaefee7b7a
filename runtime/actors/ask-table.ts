/**
 * Questions that wait for an answer, each with a deadline, in a table of bounded size.
 *
 * Asks with the same deadline expire in the order they were made, so each distinct deadline has
 * one list and one timer: an ask costs no timer of its own, and an answered one leaves at once.
 * Answers that come late or twice are counted as undelivered, never passed on.
 */

import { assert, ShopError } from "../errors.ts";
import type { Environment, Timer } from "../environment.ts";

import type { Recipient, TellResult } from "./actor.ts";
import { ASK_TIMERS_IDLE_MAX } from "./actor-limits.ts";
import type { UndeliveredLog } from "./undelivered.ts";

/** Asks of one deadline, oldest first, as a doubly linked list. */
interface Line {
  readonly deadlineMs: number;
  first: PendingAsk | undefined;
  last: PendingAsk | undefined;
  timer: Timer | undefined;
}

export class AskTable {
  private readonly environment: Environment;
  private readonly undelivered: UndeliveredLog;
  private readonly pendingMax: number;
  private readonly lines = new Map<number, Line>();
  private pendingCount = 0;
  private closed = false;

  constructor(environment: Environment, undelivered: UndeliveredLog, pendingMax: number) {
    this.environment = environment;
    this.undelivered = undelivered;
    this.pendingMax = pendingMax;
  }

  get pending(): number {
    return this.pendingCount;
  }

  /** Distinct deadlines that hold memory or a timer now. */
  get deadlines(): number {
    return this.lines.size;
  }

  /** See `ActorRef.ask`. */
  ask<Message, Reply>(
    target: Recipient<Message>,
    makeMessage: (replyTo: Recipient<Reply>) => Message,
    deadlineMs: number,
  ): Promise<Reply> {
    assert(deadlineMs > 0, `an ask's deadline must be > 0 ms, got ${deadlineMs}`);
    return new Promise<Reply>((resolve, reject) => {
      if (this.closed) return reject(closedError(target.path));
      if (this.pendingCount >= this.pendingMax) return reject(saturatedError(this.pendingMax));
      // A reply is only ever the `Reply` that the typed `replyTo` below lets through.
      const pending = new PendingAsk(
        this,
        target.path,
        resolve as (reply: unknown) => void,
        reject,
      );
      const message = makeMessage(pending);
      this.add(pending, deadlineMs);
      const result = target.tell(message);
      if (result !== "accepted") pending.refuse(refusalError(target.path, result));
    });
  }

  /** Rejects every pending ask with `CLOSED` and refuses new ones. Idempotent. */
  close(): void {
    this.closed = true;
    for (const line of this.lines.values()) {
      line.timer?.cancel();
      while (line.first !== undefined) line.first.refuse(closedError(line.first.path));
    }
    this.lines.clear();
  }

  /** Called by a pending ask that is settled: takes it out of its line. */
  remove(pending: PendingAsk): void {
    const line = pending.line;
    if (line === undefined) return;
    if (pending.before === undefined) line.first = pending.after;
    else pending.before.after = pending.after;
    if (pending.after === undefined) line.last = pending.before;
    else pending.after.before = pending.before;
    pending.line = pending.before = pending.after = undefined;
    this.pendingCount--;
    if (line.first === undefined && this.lines.size > ASK_TIMERS_IDLE_MAX) this.drop(line);
  }

  late(path: string, reply: unknown): void {
    this.undelivered.record("late_reply", path, reply);
  }

  private add(pending: PendingAsk, deadlineMs: number): void {
    let line = this.lines.get(deadlineMs);
    if (line === undefined) {
      line = { deadlineMs, first: undefined, last: undefined, timer: undefined };
      this.lines.set(deadlineMs, line);
    }
    pending.line = line;
    pending.dueMs = this.environment.monotonicMs() + deadlineMs;
    pending.before = line.last;
    if (line.last === undefined) line.first = pending;
    else line.last.after = pending;
    line.last = pending;
    this.pendingCount++;
    if (line.timer === undefined) this.arm(line, deadlineMs);
  }

  private arm(line: Line, delayMs: number): void {
    line.timer = this.environment.startTimer(delayMs, () => this.expire(line));
  }

  private expire(line: Line): void {
    line.timer = undefined;
    const nowMs = this.environment.monotonicMs();
    let first = line.first;
    while (first !== undefined && first.dueMs <= nowMs) {
      first.refuse(timeoutError(first.path, line.deadlineMs));
      first = line.first;
    }
    if (first === undefined) this.drop(line);
    else this.arm(line, first.dueMs - nowMs);
  }

  private drop(line: Line): void {
    line.timer?.cancel();
    line.timer = undefined;
    if (this.lines.get(line.deadlineMs) === line) this.lines.delete(line.deadlineMs);
  }
}

/** What a message carries as `replyTo`. */
class PendingAsk implements Recipient<unknown> {
  readonly path: string;
  line: Line | undefined;
  before: PendingAsk | undefined;
  after: PendingAsk | undefined;
  dueMs = 0;
  private readonly table: AskTable;
  private readonly resolve: (reply: unknown) => void;
  private readonly reject: (error: ShopError) => void;
  private settled = false;

  constructor(
    table: AskTable,
    path: string,
    resolve: (reply: unknown) => void,
    reject: (error: ShopError) => void,
  ) {
    this.table = table;
    this.path = path;
    this.resolve = resolve;
    this.reject = reject;
  }

  tell(reply: unknown): TellResult {
    if (this.settled) {
      this.table.late(this.path, reply);
      return "stopped";
    }
    this.settled = true;
    this.table.remove(this);
    this.resolve(reply);
    return "accepted";
  }

  refuse(error: ShopError): void {
    if (this.settled) return;
    this.settled = true;
    this.table.remove(this);
    this.reject(error);
  }
}

function timeoutError(path: string, deadlineMs: number): ShopError {
  return new ShopError("ASK_TIMEOUT", `${path} did not answer within ${deadlineMs} ms`, "later");
}

function closedError(path: string): ShopError {
  return new ShopError("CLOSED", `${path} was asked in a system that is closed`, "never");
}

function saturatedError(pendingMax: number): ShopError {
  return new ShopError("SATURATED", `${pendingMax} asks are pending already`, "later");
}

function refusalError(path: string, result: TellResult): ShopError {
  if (result === "stopped") return new ShopError("CLOSED", `${path} has ended`, "never");
  return new ShopError("MAILBOX_FULL", `the mailbox of ${path} is full`, "later");
}
