/**
 * The actors of one thread: their names, their dispatcher, their pending asks, their dead letters.
 *
 * An actor that is spawned here ends when it fails, and the failure is reported; who wants it
 * restarted makes it a supervisor's child with `actorChild`. A system refuses two living actors of
 * one path, and everything once it is stopped.
 */

import type { Environment } from "../environment.ts";

import type { ActorDefinition, ActorRef, SpawnOptions } from "./actor.ts";
import type { ActorFailure } from "./actor-failure.ts";
import {
  ASKS_PENDING_MAX_DEFAULT,
  MESSAGES_PER_TURN_DEFAULT,
  STOP_DEADLINE_MS_DEFAULT,
} from "./actor-limits.ts";
import { AskTable } from "./ask-table.ts";
import { Dispatcher } from "./dispatcher.ts";
import { SystemCore } from "./system-core.ts";
import { UndeliveredLog } from "./undelivered.ts";
import type { Undelivered, UndeliveredCounts } from "./undelivered.ts";

export interface ActorSystemOptions {
  /** First part of every path. */
  readonly name: string;
  /** Told every failure: of actors without a supervisor, of hooks, of killed handlers. */
  readonly onFailure: (failure: ActorFailure) => void;
  /** Told every message that was not delivered or not handled to its end. Must not throw. */
  readonly onDeadLetter?: (undelivered: Undelivered) => void;
  readonly messagesPerTurn?: number;
  readonly asksPendingMax?: number;
}

export interface ActorSystemStats {
  /** Actors and regions, supervised ones between two incarnations included; entities not. */
  readonly actors: number;
  readonly asksPending: number;
  readonly deadLetters: UndeliveredCounts;
}

export interface ActorSystem {
  readonly environment: Environment;
  /** Starts an actor that nobody restarts. Its setup runs later, never in the caller's stack. */
  spawn<Message, Init>(
    definition: ActorDefinition<Message, Init>,
    init: Init,
    options?: SpawnOptions,
  ): ActorRef<Message>;
  /** Ends an actor after its current handler; resolves when it has ended. Idempotent. */
  stopActor(ref: ActorRef<never>): Promise<void>;
  stats(): ActorSystemStats;
  /**
   * Ends every actor, youngest first, and kills those that have not ended after `deadlineMs`.
   * Rejects pending asks with `CLOSED`. Stop supervisors and regions first: they would restart.
   */
  stop(deadlineMs?: number): Promise<void>;
  /** For the other files of this folder. */
  readonly core: SystemCore;
}

/** `environment` supplies all time. A name per system makes paths clear across threads. */
export function createActorSystem(
  environment: Environment,
  options: ActorSystemOptions,
): ActorSystem {
  const undelivered = new UndeliveredLog(options.onDeadLetter);
  const asksPendingMax = options.asksPendingMax ?? ASKS_PENDING_MAX_DEFAULT;
  const messagesPerTurn = options.messagesPerTurn ?? MESSAGES_PER_TURN_DEFAULT;
  const asks = new AskTable(environment, undelivered, asksPendingMax);
  const core = new SystemCore({
    name: options.name,
    environment,
    dispatcher: new Dispatcher(environment, messagesPerTurn),
    asks,
    undelivered,
    onFailure: options.onFailure,
  });
  return {
    environment,
    core,
    spawn: (definition, init, spawnOptions = {}) =>
      core.spawnUnder(core, definition, init, spawnOptions),
    stopActor: (ref) => core.shutDownEntry(ref.path),
    stats: () => ({
      actors: core.entryCount,
      asksPending: asks.pending,
      deadLetters: undelivered.counts(),
    }),
    stop: (deadlineMs = STOP_DEADLINE_MS_DEFAULT) => core.shutDownAll(deadlineMs),
  };
}
