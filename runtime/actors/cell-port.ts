/**
 * What an actor's cell asks of its surroundings: its system below, its owner beside it.
 *
 * The cell knows how an incarnation lives and ends; the owner knows why it exists and what comes
 * next. Nothing of this is for users of actors.
 */

import type { Environment } from "../environment.ts";
import type { Exit } from "../supervision/child.ts";

import type {
  ActorContext,
  ActorDefinition,
  ActorRef,
  Behavior,
  MailboxOptions,
  SpawnOptions,
} from "./actor.ts";
import type { ActorFailure } from "./actor-failure.ts";
import type { AskTable } from "./ask-table.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { UndeliveredLog } from "./undelivered.ts";

/** What a parent does to a child. */
export interface ChildCell {
  requestStop(): void;
  kill(): void;
}

/** Where a child's end is told. */
export interface Parent {
  readonly path: string;
  adoptChild(child: ChildCell): void;
  childEnded(child: ChildCell): void;
}

export type Phase = "suspended" | "starting" | "running" | "stopping" | "closed";

/** What a cell needs of its system. */
export interface CellHost {
  readonly environment: Environment;
  readonly dispatcher: Dispatcher;
  readonly asks: AskTable;
  readonly undelivered: UndeliveredLog;
  report(failure: ActorFailure): void;
  spawnUnder<Message, Init>(
    parent: Parent,
    definition: ActorDefinition<Message, Init>,
    init: Init,
    options: SpawnOptions,
  ): ActorRef<Message>;
}

/** Decides what a failure and an end lead to. Its methods must not throw. */
export interface CellOwner {
  /** True: another incarnation is expected to follow this exit. */
  restartsAfter(exit: Exit): boolean;
  /** A handler failed, or a hook did (then without messages). Called before `ended`. */
  failed(failure: ActorFailure): void;
  /** An incarnation that had started is over; the cell is suspended. */
  ended(exit: Exit): void;
  /** The mailbox has run empty and nothing is being handled. */
  drained?(): void;
}

export interface CellOptions<Message> {
  readonly path: string;
  readonly host: CellHost;
  readonly owner: CellOwner;
  readonly mailbox: MailboxOptions;
  readonly setup: (
    context: ActorContext<Message>,
  ) => Behavior<Message> | Promise<Behavior<Message>>;
}
