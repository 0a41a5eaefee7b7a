/**
 * One entity of a region: its key, its cell, and its place in the order of idleness.
 *
 * `IdleList` holds the entities that have nothing to do, the one idle for longest first, which is
 * the least recently used order. It refuses nothing and allocates nothing: entities are its nodes.
 */

import type { Exit } from "../supervision/child.ts";

import type { ActorFailure } from "./actor-failure.ts";
import type { ActorCell } from "./actor-cell.ts";
import type { Keyed } from "./key-table.ts";
import type { CellOwner } from "./cell-port.ts";

/** What a region does when something happens to one of its entities. */
export interface EntityKeeper<Message> {
  entityFailed(entity: Entity<Message>, failure: ActorFailure): void;
  entityEnded(entity: Entity<Message>): void;
  entityDrained(entity: Entity<Message>): void;
}

export class Entity<Message> implements CellOwner, Keyed<Entity<Message>> {
  readonly key: string;
  nextOfBucket: Entity<Message> | undefined;
  /** Asked to passivate; its place among the residents is promised to another. */
  leaving = false;
  idleSinceMs = 0;
  isIdle = false;
  idleBefore: Entity<Message> | undefined;
  idleAfter: Entity<Message> | undefined;
  readonly cell: ActorCell<Message>;
  private readonly keeper: EntityKeeper<Message>;

  constructor(
    key: string,
    keeper: EntityKeeper<Message>,
    makeCell: (owner: CellOwner) => ActorCell<Message>,
  ) {
    this.key = key;
    this.keeper = keeper;
    this.cell = makeCell(this);
  }

  restartsAfter(exit: Exit): boolean {
    return exit.kind === "abnormal";
  }

  failed(failure: ActorFailure): void {
    this.keeper.entityFailed(this, failure);
  }

  ended(_exit: Exit): void {
    this.keeper.entityEnded(this);
  }

  drained(): void {
    this.keeper.entityDrained(this);
  }
}

export class IdleList<Message> {
  length = 0;
  private first: Entity<Message> | undefined;
  private last: Entity<Message> | undefined;

  /** The one idle for longest. */
  get oldest(): Entity<Message> | undefined {
    return this.first;
  }

  /** Makes `entity` the most recently idle one. */
  append(entity: Entity<Message>, nowMs: number): void {
    this.remove(entity);
    entity.isIdle = true;
    entity.idleSinceMs = nowMs;
    entity.idleBefore = this.last;
    if (this.last === undefined) this.first = entity;
    else this.last.idleAfter = entity;
    this.last = entity;
    this.length++;
  }

  /** Idempotent. */
  remove(entity: Entity<Message>): void {
    if (!entity.isIdle) return;
    if (entity.idleBefore === undefined) this.first = entity.idleAfter;
    else entity.idleBefore.idleAfter = entity.idleAfter;
    if (entity.idleAfter === undefined) this.last = entity.idleBefore;
    else entity.idleAfter.idleBefore = entity.idleBefore;
    entity.idleBefore = entity.idleAfter = undefined;
    entity.isIdle = false;
    this.length--;
  }
}
