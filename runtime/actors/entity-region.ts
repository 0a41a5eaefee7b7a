/**
 * Actors addressed by key: started by their first message, passivated when idle, never too many.
 *
 *     tell(key) ──► resident ──► handles, then idle ──► passivated (idleMs, or room is needed)
 *              └──► waiting for room: as many as residents are on their way out
 *              └──► `saturated`: every resident is busy; the caller keeps the message
 *
 * Each key has at most one incarnation. Messages that arrive while it is being hydrated, stopped or
 * thrown away wait for the next one in order. A message whose handler fails is given to `failed`
 * and is not handled again from here. The cap on residents is hard: there is no room over it.
 */

import { assert, ShopError } from "../errors.ts";
import type { Timer } from "../environment.ts";

import type { ActorContext, Behavior } from "./actor.ts";
import { checkName } from "./actor.ts";
import { ActorCell } from "./actor-cell.ts";
import type { ActorFailure } from "./actor-failure.ts";
import {
  ACTORS_MAX,
  ENTITY_MAILBOX_CAPACITY_DEFAULT,
  STOP_DEADLINE_MS_DEFAULT,
} from "./actor-limits.ts";
import type { ActorSystem } from "./actor-system.ts";
import { Entity, IdleList } from "./entity.ts";
import type { EntityKeeper } from "./entity.ts";
import { KeyTable } from "./key-table.ts";
import { RingQueue } from "./ring-queue.ts";
import type { SystemCore, SystemEntry } from "./system-core.ts";

/**
 * `saturated`: no room for another resident; try again when one has become idle. `full`: this
 * key's mailbox is. `stopped`: the region is. Only `accepted` takes the message from the caller.
 */
export type RegionTellResult = "accepted" | "full" | "saturated" | "stopped";

export interface EntityRegionOptions<Message> {
  /** Part of every entity's path, and of the region's. */
  readonly type: string;
  /** Starts an incarnation; may load state first, while messages wait. Its failure is the first
   * waiting message's failure. */
  readonly create: (
    key: string,
    context: ActorContext<Message>,
  ) => Behavior<Message> | Promise<Behavior<Message>>;
  /**
   * `message` will not be handled: its handler failed with `error`, hydration did, or the region
   * gave up on it while stopping (`CLOSED`; `INDETERMINATE` if a handler still had it). Called once
   * per message. Must not throw.
   */
  readonly failed: (message: Message, error: unknown) => void;
  /** An entity with nothing to do for this long is passivated, in ms. */
  readonly idleMs: number;
  /** Most entities in memory at once: hydrating, working, idle and stopping ones together. */
  readonly residentMax: number;
  readonly mailboxCapacity?: number;
}

export interface EntityRegionStats {
  readonly resident: number;
  readonly idle: number;
  readonly waiting: number;
  readonly started: number;
  readonly passivated: number;
  readonly failures: number;
  readonly refusedFull: number;
  readonly refusedSaturated: number;
}

export interface EntityRegion<Message> {
  tell(key: string, message: Message): RegionTellResult;
  stats(): EntityRegionStats;
  /**
   * Refuses new messages, lets every entity handle what it has and passivate, and resolves with
   * how many entities had to be abandoned at the deadline. Idempotent.
   */
  stop(deadlineMs?: number): Promise<number>;
}

export function createEntityRegion<Message>(
  system: ActorSystem,
  options: EntityRegionOptions<Message>,
): EntityRegion<Message> {
  const region = new Region<Message>(system.core, options);
  system.core.enter(region);
  return region;
}

class Region<Message> implements EntityRegion<Message>, EntityKeeper<Message>, SystemEntry {
  readonly path: string;
  private readonly core: SystemCore;
  private readonly options: EntityRegionOptions<Message>;
  private readonly entities = new KeyTable<Entity<Message>>();
  private readonly idle = new IdleList<Message>();
  /** Entities with messages and no place: at most one per resident on its way out, or failed. */
  private readonly line: RingQueue<Entity<Message>>;
  private resident = 0;
  private leaving = 0;
  private started = 0;
  private passivated = 0;
  private failures = 0;
  private refusedFull = 0;
  private refusedSaturated = 0;
  private idleTimer: Timer | undefined;
  private stopping: Promise<number> | undefined;
  private abandoned = 0;
  private abandoning = false;
  private settleStop: ((abandoned: number) => void) | undefined;
  private stopTimer: Timer | undefined;

  constructor(core: SystemCore, options: EntityRegionOptions<Message>) {
    checkName(options.type);
    const { residentMax, idleMs } = options;
    assert(residentMax >= 1 && residentMax <= ACTORS_MAX / 2, `bad residentMax: ${residentMax}`);
    assert(idleMs >= 0, `idleMs must be >= 0, got ${idleMs}`);
    this.core = core;
    this.options = options;
    this.path = core.pathFor(core.path, options.type, options.type);
    this.line = new RingQueue(2 * residentMax);
  }

  tell(key: string, message: Message): RegionTellResult {
    if (this.stopping !== undefined) return "stopped";
    const entity = this.entities.get(key) ?? this.admit(key);
    if (entity === undefined) {
      this.refusedSaturated++;
      return "saturated";
    }
    if (entity.cell.mailbox.isFull) {
      this.refusedFull++;
      return "full";
    }
    this.idle.remove(entity);
    entity.cell.tell(message);
    return "accepted";
  }

  stats(): EntityRegionStats {
    return {
      resident: this.resident,
      idle: this.idle.length,
      waiting: this.line.length,
      started: this.started,
      passivated: this.passivated,
      failures: this.failures,
      refusedFull: this.refusedFull,
      refusedSaturated: this.refusedSaturated,
    };
  }

  stop(deadlineMs = STOP_DEADLINE_MS_DEFAULT): Promise<number> {
    if (this.stopping !== undefined) return this.stopping;
    this.stopping = new Promise((resolve) => {
      this.settleStop = resolve;
    });
    while (this.passivateOldest());
    if (this.entities.itemCount === 0) this.finish();
    else this.stopTimer = this.core.environment.startTimer(deadlineMs, () => this.abandonAll());
    return this.stopping;
  }

  shutDown(): void {
    // Resolved by `finish`; nothing rejects it.
    void this.stop();
  }

  kill(): void {
    this.shutDown();
    this.abandonAll();
  }

  entityFailed(entity: Entity<Message>, failure: ActorFailure): void {
    this.failures++;
    if (failure.messages.length === 0) this.core.report(failure);
    for (const message of failure.messages) {
      // A failure carries the messages that its own cell took out of its mailbox.
      this.options.failed(message as Message, failure.cause);
    }
    this.idle.remove(entity);
  }

  entityEnded(entity: Entity<Message>): void {
    this.resident--;
    if (entity.leaving) {
      entity.leaving = false;
      this.leaving--;
    }
    this.idle.remove(entity);
    if (this.abandoning) return;
    if (entity.cell.mailbox.size > 0) this.queue(entity);
    else this.forget(entity);
    this.makeRoom();
  }

  entityDrained(entity: Entity<Message>): void {
    if (entity.leaving || entity.cell.mailbox.size > 0) return;
    this.idle.append(entity, this.core.environment.monotonicMs());
    if (this.stopping !== undefined) this.passivate(entity);
    else if (this.line.length > this.leaving) this.passivateOldest();
    else if (this.idleTimer === undefined) this.watchIdle(this.options.idleMs);
  }

  /** A new entity with a place, or with one that is promised to it; undefined when saturated. */
  private admit(key: string): Entity<Message> | undefined {
    const direct = this.resident < this.options.residentMax && this.line.length === 0;
    const promised = direct || this.line.length < this.leaving || this.passivateOldest();
    if (!promised) return undefined;
    const entity = this.makeEntity(key);
    this.entities.add(entity);
    if (direct) this.start(entity);
    else this.queue(entity);
    return entity;
  }

  private makeEntity(key: string): Entity<Message> {
    const { create, mailboxCapacity = ENTITY_MAILBOX_CAPACITY_DEFAULT } = this.options;
    return new Entity<Message>(
      key,
      this,
      (owner) =>
        new ActorCell<Message>({
          path: `${this.path}/${key}`,
          host: this.core,
          owner,
          mailbox: { capacity: mailboxCapacity },
          setup: (context) => create(key, context),
        }),
    );
  }

  private start(entity: Entity<Message>): void {
    this.resident++;
    this.started++;
    entity.cell.start((failure) => {
      if (failure !== undefined) this.hydrationFailed(entity, failure);
    });
  }

  /** Costs one message, so that a key that cannot be hydrated does not try for ever. */
  private hydrationFailed(entity: Entity<Message>, failure: ActorFailure): void {
    this.failures++;
    const { mailbox } = entity.cell;
    if (mailbox.size > 0) this.options.failed(mailbox.next(), failure.cause);
    this.entityEnded(entity);
  }

  private queue(entity: Entity<Message>): void {
    assert(this.line.push(entity), `${this.path}: more entities wait than can be promised a place`);
  }

  /** Gives free places to those who wait, and asks idle ones to leave for the rest. */
  private makeRoom(): void {
    while (this.line.length > 0 && this.resident < this.options.residentMax) {
      this.start(this.line.shift());
    }
    while (this.line.length > this.leaving && this.passivateOldest());
  }

  private passivateOldest(): boolean {
    const { oldest } = this.idle;
    if (oldest === undefined) return false;
    this.passivate(oldest);
    return true;
  }

  private passivate(entity: Entity<Message>): void {
    this.idle.remove(entity);
    if (entity.leaving) return;
    entity.leaving = true;
    this.leaving++;
    this.passivated++;
    entity.cell.requestStop();
  }

  private forget(entity: Entity<Message>): void {
    entity.cell.close();
    this.entities.remove(entity);
    if (this.stopping !== undefined && this.entities.itemCount === 0) this.finish();
  }

  private watchIdle(delayMs: number): void {
    this.idleTimer = this.core.environment.startTimer(delayMs, () => {
      this.idleTimer = undefined;
      const nowMs = this.core.environment.monotonicMs();
      const { idleMs } = this.options;
      for (let next = this.idle.oldest; next !== undefined; next = this.idle.oldest) {
        const leftMs = next.idleSinceMs + idleMs - nowMs;
        if (leftMs > 0) return this.watchIdle(leftMs);
        this.passivate(next);
      }
    });
  }

  /** Kills what lives and gives back what waits. */
  private abandonAll(): void {
    this.abandoning = true;
    const closed = new ShopError("CLOSED", `${this.path} was stopped`, "later");
    this.line.take(this.line.length);
    for (const entity of this.entities.values()) {
      this.abandoned++;
      entity.cell.kill();
      for (const message of entity.cell.close()) this.options.failed(message, closed);
    }
    this.entities.clear();
    this.finish();
  }

  private finish(): void {
    this.stopTimer?.cancel();
    this.idleTimer?.cancel();
    this.core.forget(this);
    this.settleStop?.(this.abandoned);
  }
}
