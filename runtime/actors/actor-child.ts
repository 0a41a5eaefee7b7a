/**
 * Makes an actor a supervisor's child, with one reference through all its incarnations.
 *
 * Messages sent while the child waits for its restart wait too, up to the mailbox's capacity, and
 * the next incarnation handles them in order; the message it died of is not among them. When its
 * restart type says that no restart follows, they are dead letters and `tell` answers `stopped`.
 *
 * Whoever watches the reference is told when no restart is to follow, or when the supervisor stops
 * the child: also in a group restart, because the child cannot know what its supervisor intends.
 */

import { InvariantError, ShopError } from "../errors.ts";
import type { ChildSpec, Exit, RestartType, RunningChild } from "../supervision/child.ts";

import type { ActorContext, ActorDefinition, ActorRef, MailboxOptions } from "./actor.ts";
import { ActorCell } from "./actor-cell.ts";
import type { ActorFailure } from "./actor-failure.ts";
import type { ActorSystem } from "./actor-system.ts";
import type { CellOwner } from "./cell-port.ts";
import type { SystemCore, SystemEntry } from "./system-core.ts";

export interface ActorChildOptions {
  /** Id among the supervisor's children and, under the system's name, the actor's path. */
  readonly id: string;
  readonly restart: RestartType;
  /** How long `stop` may take before `kill`, in ms; `brutal`: kill at once. */
  readonly shutdown: number | "brutal";
  readonly mailbox?: MailboxOptions;
}

export interface ActorChild<Message> {
  readonly spec: ChildSpec;
  /** Takes messages from now on, before the first start too. */
  readonly ref: ActorRef<Message>;
}

export function actorChild<Message, Init>(
  system: ActorSystem,
  definition: ActorDefinition<Message, Init>,
  init: Init,
  options: ActorChildOptions,
): ActorChild<Message> {
  const { core } = system;
  const path = core.pathFor(core.path, definition.type, options.id);
  const actor = new SupervisedActor<Message>(core, path, options.restart, (owner) => {
    const mailbox = { ...definition.mailbox, ...options.mailbox };
    const setup = (context: ActorContext<Message>) => definition.setup(init, context);
    return new ActorCell<Message>({ path, host: core, owner, mailbox, setup });
  });
  core.enter(actor);
  const { id, restart, shutdown } = options;
  return {
    ref: actor.cell,
    spec: { id, restart, shutdown, start: (onExit) => actor.start(onExit) },
  };
}

/** One started incarnation, as its supervisor holds it. */
interface Run {
  readonly onExit: (exit: Exit) => void;
  /** Set when the supervisor asked for the end: then `onExit` is not called. */
  stopped: Promise<void> | undefined;
  settleStop: (() => void) | undefined;
}

class SupervisedActor<Message> implements CellOwner, SystemEntry {
  readonly path: string;
  readonly cell: ActorCell<Message>;
  private readonly core: SystemCore;
  private readonly restart: RestartType;
  private run: Run | undefined;
  private shuttingDown = false;

  constructor(
    core: SystemCore,
    path: string,
    restart: RestartType,
    makeCell: (owner: CellOwner) => ActorCell<Message>,
  ) {
    this.core = core;
    this.path = path;
    this.restart = restart;
    this.cell = makeCell(this);
  }

  start(onExit: (exit: Exit) => void): Promise<RunningChild> {
    const { cell } = this;
    if (this.shuttingDown || this.core.closing) {
      return Promise.reject(new ShopError("CLOSED", `${this.path} is closed`, "never"));
    }
    if (cell.phase === "running" || cell.phase === "stopping") {
      return Promise.reject(new InvariantError(`${this.path} is still ${cell.phase}`));
    }
    // A supervisor that gave up on a hanging start has no other way to end it.
    cell.kill();
    cell.reopen();
    return new Promise((resolve, reject) => {
      const run: Run = { onExit, stopped: undefined, settleStop: undefined };
      cell.start((failure) => {
        if (failure === undefined) {
          this.run = run;
          resolve({ stop: () => this.stop(run), kill: () => this.killRun(run) });
          return;
        }
        this.core.report(failure);
        if (this.shuttingDown) this.bury();
        reject(failure);
      });
    });
  }

  restartsAfter(exit: Exit): boolean {
    if (this.shuttingDown || this.run?.stopped !== undefined) return false;
    if (this.restart === "permanent") return true;
    return this.restart === "transient" && exit.kind === "abnormal";
  }

  failed(failure: ActorFailure): void {
    this.core.report(failure);
    for (const message of failure.messages) {
      this.core.undelivered.record("failed", this.path, message);
    }
  }

  ended(exit: Exit): void {
    const { run } = this;
    const asked = run?.stopped !== undefined;
    const kept = asked ? this.restart !== "temporary" : this.restartsAfter(exit);
    this.run = undefined;
    if (this.shuttingDown) this.bury();
    else if (!kept) this.close();
    if (asked) run?.settleStop?.();
    else run?.onExit(exit);
  }

  shutDown(): void {
    this.shuttingDown = true;
    if (this.cell.isVacant) this.bury();
    else this.cell.requestStop();
  }

  kill(): void {
    this.shuttingDown = true;
    if (this.cell.isVacant) this.bury();
    else this.cell.kill();
  }

  private stop(run: Run): Promise<void> {
    if (run.stopped !== undefined) return run.stopped;
    if (this.run !== run) return Promise.resolve();
    run.stopped = new Promise((resolve) => {
      run.settleStop = resolve;
    });
    this.cell.requestStop();
    return run.stopped;
  }

  private killRun(run: Run): void {
    if (this.run !== run) return;
    run.stopped ??= Promise.resolve();
    this.cell.kill();
  }

  private close(): void {
    for (const message of this.cell.close()) {
      this.core.undelivered.record("stopped", this.path, message);
    }
  }

  private bury(): void {
    this.close();
    this.core.forget(this);
  }
}
