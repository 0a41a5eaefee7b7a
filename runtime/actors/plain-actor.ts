/**
 * The owner of an actor that nobody restarts: its first end is its last.
 *
 * When it fails, the failure is reported and what it had in hand is counted; when it ends, what
 * still waits is counted too and its parent is told. It never starts a second incarnation.
 */

import type { Exit } from "../supervision/child.ts";

import type { ActorContext, ActorDefinition, ActorRef, SpawnOptions } from "./actor.ts";
import { ActorCell } from "./actor-cell.ts";
import type { ActorFailure } from "./actor-failure.ts";
import type { CellOwner, Parent } from "./cell-port.ts";
import type { SystemCore, SystemEntry } from "./system-core.ts";

/** Makes and starts an actor under `parent`. Throws as `SystemCore.pathFor` and `enter` do. */
export function spawnActor<Message, Init>(
  core: SystemCore,
  parent: Parent,
  definition: ActorDefinition<Message, Init>,
  init: Init,
  options: SpawnOptions,
): ActorRef<Message> {
  const path = core.pathFor(parent.path, definition.type, options.name);
  const actor = new PlainActor<Message>(core, parent, path, (owner) => {
    const mailbox = { ...definition.mailbox, ...options.mailbox };
    const setup = (context: ActorContext<Message>) => definition.setup(init, context);
    return new ActorCell<Message>({ path, host: core, owner, mailbox, setup });
  });
  actor.start();
  return actor.cell;
}

class PlainActor<Message> implements CellOwner, SystemEntry {
  readonly path: string;
  readonly cell: ActorCell<Message>;
  private readonly core: SystemCore;
  private readonly parent: Parent;

  constructor(
    core: SystemCore,
    parent: Parent,
    path: string,
    makeCell: (owner: CellOwner) => ActorCell<Message>,
  ) {
    this.core = core;
    this.parent = parent;
    this.path = path;
    this.cell = makeCell(this);
  }

  start(): void {
    this.core.enter(this);
    this.parent.adoptChild(this.cell);
    this.cell.start((failure) => {
      if (failure === undefined) return;
      this.core.report(failure);
      this.bury();
    });
  }

  restartsAfter(_exit: Exit): boolean {
    return false;
  }

  failed(failure: ActorFailure): void {
    this.core.report(failure);
    for (const message of failure.messages) {
      this.core.undelivered.record("failed", this.path, message);
    }
  }

  ended(_exit: Exit): void {
    this.bury();
  }

  shutDown(): void {
    this.cell.requestStop();
  }

  kill(): void {
    this.cell.kill();
  }

  private bury(): void {
    for (const message of this.cell.close()) {
      this.core.undelivered.record("stopped", this.path, message);
    }
    this.core.forget(this);
    this.parent.childEnded(this.cell);
  }
}
