/**
 * What the actors of one system share, and the list of who lives in it.
 *
 * The list holds whatever has a path of its own: actors, supervised actors, entity regions. It
 * refuses a second one of the same path, and any newcomer once the system is closing. Not for
 * users: they see `ActorSystem`.
 */

import { assert, ShopError } from "../errors.ts";
import type { Environment } from "../environment.ts";

import type { ActorDefinition, ActorRef, SpawnOptions } from "./actor.ts";
import { checkName } from "./actor.ts";
import type { ActorFailure } from "./actor-failure.ts";
import { ACTORS_MAX } from "./actor-limits.ts";
import type { AskTable } from "./ask-table.ts";
import type { CellHost, Parent } from "./cell-port.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { spawnActor } from "./plain-actor.ts";
import type { UndeliveredLog } from "./undelivered.ts";

/** Something with a path. Both methods lead to `forget`, `kill` before it returns. */
export interface SystemEntry {
  readonly path: string;
  /** Ends it for good, in good order. Idempotent. */
  shutDown(): void;
  kill(): void;
}

export interface SystemCoreOptions {
  readonly name: string;
  readonly environment: Environment;
  readonly dispatcher: Dispatcher;
  readonly asks: AskTable;
  readonly undelivered: UndeliveredLog;
  readonly onFailure: (failure: ActorFailure) => void;
}

export class SystemCore implements CellHost, Parent {
  readonly path: string;
  readonly environment: Environment;
  readonly dispatcher: Dispatcher;
  readonly asks: AskTable;
  readonly undelivered: UndeliveredLog;
  private readonly onFailure: (failure: ActorFailure) => void;
  private readonly entries = new Map<string, SystemEntry>();
  private readonly whenGone = new Map<string, (() => void)[]>();
  private names = 0;
  private isClosing = false;
  private whenEmpty: (() => void) | undefined;

  constructor(options: SystemCoreOptions) {
    checkName(options.name);
    this.path = options.name;
    this.environment = options.environment;
    this.dispatcher = options.dispatcher;
    this.asks = options.asks;
    this.undelivered = options.undelivered;
    this.onFailure = options.onFailure;
  }

  get entryCount(): number {
    return this.entries.size;
  }

  get closing(): boolean {
    return this.isClosing;
  }

  report(failure: ActorFailure): void {
    this.onFailure(failure);
  }

  /** The path of a newcomer. Throws `CLOSED` once the system is closing. */
  pathFor(parentPath: string, type: string, name: string | undefined): string {
    if (this.isClosing) throw new ShopError("CLOSED", `${this.path} is closing`, "never");
    if (name === undefined) return `${parentPath}/${type}-${++this.names}`;
    checkName(name);
    return `${parentPath}/${name}`;
  }

  enter(entry: SystemEntry): void {
    assert(!this.entries.has(entry.path), `there is an actor ${entry.path} already`);
    assert(this.entries.size < ACTORS_MAX, `more than ${ACTORS_MAX} actors in one system`);
    this.entries.set(entry.path, entry);
  }

  forget(entry: SystemEntry): void {
    if (this.entries.get(entry.path) !== entry) return;
    this.entries.delete(entry.path);
    for (const gone of this.whenGone.get(entry.path) ?? []) gone();
    this.whenGone.delete(entry.path);
    if (this.entries.size === 0) this.whenEmpty?.();
  }

  spawnUnder<Message, Init>(
    parent: Parent,
    definition: ActorDefinition<Message, Init>,
    init: Init,
    options: SpawnOptions,
  ): ActorRef<Message> {
    return spawnActor(this, parent, definition, init, options);
  }

  // Direct children of the system are kept in `entries` only.
  adoptChild(): void {}
  childEnded(): void {}

  /** Ends the entry for good; resolves when it is gone, at once if it is not there. */
  shutDownEntry(path: string): Promise<void> {
    const entry = this.entries.get(path);
    if (entry === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      this.whenGone.set(path, [...(this.whenGone.get(path) ?? []), resolve]);
      entry.shutDown();
    });
  }

  /** See `ActorSystem.stop`. */
  async shutDownAll(deadlineMs: number): Promise<void> {
    this.isClosing = true;
    this.asks.close();
    if (this.entries.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.environment.startTimer(deadlineMs, () => this.killAll());
      this.whenEmpty = () => {
        timer.cancel();
        resolve();
      };
      for (const entry of this.youngestFirst()) entry.shutDown();
    });
  }

  private killAll(): void {
    for (const entry of this.youngestFirst()) entry.kill();
    assert(this.entries.size === 0, `${this.path}: some actors outlived their kill`);
  }

  private youngestFirst(): SystemEntry[] {
    return [...this.entries.values()].toReversed();
  }
}
