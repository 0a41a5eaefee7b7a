/**
 * The router of one shard: decides where frames go, and says when too many wait to get there.
 *
 * A unit of work is rewritten before it is committed, so that a fan-out happens with the state it
 * tells of, all of it or nothing; a unit that only goes to its own local topics stays the same
 * object. Frames for other brokers wait in their outbox; while one of those holds more than its
 * bound, `admission` refuses new work. Redriven frames go to the one topic they were buried in.
 */

import type { Outgoing } from "../brokers/broker.ts";
import type { UnitOfWork } from "../stores/unit-of-work.ts";
import type { Copy, Decision, RouteSource, RouteTable } from "./route-table.ts";
import type { RouteView } from "./route-view.ts";

import { frameHeader, frameType } from "../../runtime/frames/frame.ts";
import { REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { OUTBOX_PREFIX } from "./route-refusals.ts";
import { LOCAL } from "./route-row.ts";
import { decisionOf, UNMATCHED } from "./route-table.ts";
import { BytesView } from "./route-view.ts";
import { outgoingOf, unmatchedOutgoing } from "./routed-frame.ts";

/** Why new work is refused. */
export type Admission = "open" | { readonly reason: string };

/** What stands in front of one broker, as far as this shard knows. */
export interface OutboxLevel {
  readonly broker: string;
  depth(): number;
  /** Frames that a committed unit has added. */
  appended(frames: number): void;
}

/** Frames for other brokers, by broker. */
export type Remote = Map<string, number>;

export interface RoutedUnit {
  readonly unit: UnitOfWork;
  /** Frames for other brokers, by broker; absent: none. */
  readonly remote: Remote | undefined;
}

export interface RouterOptions {
  readonly table: RouteTable;
  /** Frames that may wait for one broker, in this shard. */
  readonly outboxFramesMax: number;
}

export class Router {
  readonly table: RouteTable;
  readonly #local: RouteSource;
  readonly #outboxFramesMax: number;
  readonly #fallback: Decision;
  readonly #outboxes = new Map<string, OutboxLevel>();
  /** Most copies that the table can make of one frame. */
  readonly #copiesMax: number;

  constructor({ table, outboxFramesMax }: RouterOptions) {
    this.table = table;
    this.#local = table.source(LOCAL);
    this.#outboxFramesMax = outboxFramesMax;
    this.#fallback = fallbackOf(table);
    this.#copiesMax = copiesMaxOf(table);
  }

  /** Where any frame of `topic` and `type` goes; `undefined`: it has to be looked at. */
  decideBy(source: RouteSource, topic: string, type: number): Decision | undefined {
    const { rows, fixed } = source.lane(topic).candidates(type);
    if (fixed !== undefined && fixed.copies.length > 0) return fixed;
    return rows.length === 0 ? this.#fallback : undefined;
  }

  /** Where a frame of `source` goes: by its rows, or where everything else goes; or nowhere. */
  decide(source: RouteSource, view: RouteView): Decision {
    const decision = source.decide(view);
    return decision.copies.length === 0 ? this.#fallback : decision;
  }

  /** `unit` with its frames where the table sends them; the same object when nothing changes. */
  routeUnit(unit: UnitOfWork): RoutedUnit {
    const { outgoing, timersStarted } = unit;
    const remote: Remote = new Map();
    const routed = this.#routeAll(outgoing, remote);
    let timers: UnitOfWork["timersStarted"] = timersStarted;
    for (const { outgoing: own } of timersStarted) {
      if (this.#routeOne(own, undefined) === undefined) continue;
      timers = timersStarted.flatMap((timer) => {
        const copies = this.#routeOne(timer.outgoing, remote);
        // One timer holds one frame; the copies of a fan-out fall due together under ids beside it.
        return (
          copies?.map((copy, at) => ({
            ...timer,
            id: at === 0 ? timer.id : copyId(timer.id, at),
            outgoing: copy,
          })) ?? [timer]
        );
      });
      break;
    }
    const cancelled = this.#cancelled(unit);
    const isSame =
      routed === outgoing && timers === timersStarted && cancelled === unit.timersCancelled;
    return {
      unit: isSame
        ? unit
        : { ...unit, outgoing: routed, timersStarted: timers, timersCancelled: cancelled },
      remote: remote.size === 0 ? undefined : remote,
    };
  }

  /** To be told of a routed unit once it is committed. */
  committed(remote: Readonly<Remote>): void {
    for (const [broker, frames] of remote) this.#outboxes.get(broker)?.appended(frames);
  }

  /** From now on the outbox in front of `level.broker` is measured by `level`. */
  watch(level: OutboxLevel): void {
    this.#outboxes.set(level.broker, level);
  }

  admission(): Admission {
    for (const level of this.#outboxes.values()) {
      const depth = level.depth();
      if (depth <= this.#outboxFramesMax) continue;
      const most = `at most ${this.#outboxFramesMax}`;
      return { reason: `${depth} frames wait for broker ${level.broker}, ${most}` };
    }
    return "open";
  }

  #routeAll(outgoing: readonly Outgoing[], remote: Remote): readonly Outgoing[] {
    let routed: Outgoing[] | undefined;
    for (const [at, own] of outgoing.entries()) {
      const copies = this.#routeOne(own, remote);
      if (copies !== undefined && routed === undefined) routed = outgoing.slice(0, at);
      routed?.push(...(copies ?? [own]));
    }
    return routed ?? outgoing;
  }

  /** The copies of a frame; `undefined` when it goes just where it says. */
  #routeOne(own: Outgoing, remote: Remote | undefined): Outgoing[] | undefined {
    const { topic, frame } = own;
    const lane = this.#local.lane(topic);
    const { rows, fixed } = lane.candidates(frameType(frame));
    let decision = fixed;
    if (decision === undefined || decision.copies.length === 0) {
      decision = rows.length === 0 ? this.#fallback : this.#look(own);
    }
    if (isWhereItSays(decision, topic)) return undefined;
    if (topic.startsWith(OUTBOX_PREFIX)) return undefined;
    if (frameHeader(frame, REDRIVEN_HEADER) !== undefined) return undefined;
    if (decision.copies.length === 0) return [unmatchedOutgoing(own)];
    return decision.copies.map((copy) => {
      if (remote !== undefined) countRemote(remote, copy);
      return outgoingOf(copy, frame);
    });
  }

  #look({ topic, frame }: Outgoing): Decision {
    return this.decide(this.#local, new BytesView(topic, frame));
  }

  /** A timer may have been started as several; cancelling one that never was does nothing. */
  #cancelled({ timersCancelled }: UnitOfWork): readonly string[] {
    const copiesMax = this.#copiesMax;
    if (copiesMax <= 1 || timersCancelled.length === 0) return timersCancelled;
    return timersCancelled.flatMap((id) => [
      id,
      ...Array.from({ length: copiesMax - 1 }, (_, at) => copyId(id, at + 1)),
    ]);
  }
}

function copiesMaxOf({ rows }: RouteTable): number {
  const last = rows.filter(({ also }) => !also).map(({ to }) => to.length);
  const before = rows.filter(({ also }) => also).reduce((sum, { to }) => sum + to.length, 0);
  return before + Math.max(0, ...last);
}

export function countRemote(remote: Remote, { to }: Copy): void {
  if (to.broker !== LOCAL) remote.set(to.broker, (remote.get(to.broker) ?? 0) + 1);
}

function copyId(timerId: string, at: number): string {
  return `${timerId}#${at}`;
}

function isWhereItSays({ copies }: Decision, topic: string): boolean {
  const [copy] = copies;
  if (copy === undefined || copies.length > 1) return false;
  const { to, row } = copy;
  if (to.topic !== topic || to.broker !== LOCAL) return false;
  return row.policy.ttlMs === undefined && row.policy.priority === undefined;
}

function fallbackOf({ unmatched }: RouteTable): Decision {
  if (unmatched === undefined) return UNMATCHED;
  return decisionOf([
    {
      index: -1,
      name: "unmatched",
      isBuiltIn: true,
      scope: "",
      from: undefined,
      topics: undefined,
      types: undefined,
      conditions: [],
      also: false,
      to: [unmatched],
      policy: {},
    },
  ]);
}
