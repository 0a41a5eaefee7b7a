/**
 * The compiled table: where a frame goes, decided by its header in a few loads.
 *
 * Which rows can match is worked out beforehand for every broker, topic and type, so that a frame
 * is looked at only by rows with conditions of their own, and by none when there are none. Nothing
 * is remembered while it runs: topics and types that no row names share one list each.
 */

import type { Condition } from "./route-conditions.ts";
import type { Destination, Place, RoutePolicy } from "./route-row.ts";
import type { RouteView } from "./route-view.ts";

export interface CompiledRow {
  /** Position in the table. */
  readonly index: number;
  readonly name: string;
  readonly isBuiltIn: boolean;
  /** Brokers, topics and types it is for, as an operator reads them; empty: all. */
  readonly scope: string;
  readonly from: ReadonlySet<string> | undefined;
  readonly topics: ReadonlySet<string> | undefined;
  /** Numbers of the types it matches. */
  readonly types: ReadonlySet<number> | undefined;
  readonly conditions: readonly Condition[];
  readonly also: boolean;
  readonly to: readonly Destination[];
  readonly policy: RoutePolicy;
}

/** One frame to one place, and the row that says so. */
export interface Copy {
  readonly row: CompiledRow;
  readonly to: Destination;
}

/** No copies: no row matched. */
export interface Decision {
  readonly rows: readonly CompiledRow[];
  readonly copies: readonly Copy[];
}

export const UNMATCHED: Decision = { rows: [], copies: [] };

/** What may match frames of one broker, topic and type. */
export interface Candidates {
  readonly rows: readonly CompiledRow[];
  /** The decision, when it depends on nothing else. */
  readonly fixed: Decision | undefined;
}

/** Frames of one topic of one broker. */
export class TopicLane {
  readonly #byType: readonly (Candidates | undefined)[];
  readonly #others: Candidates;

  constructor(byType: ReadonlyMap<number, Candidates>, others: Candidates) {
    const dense: (Candidates | undefined)[] = [];
    for (const [type, candidates] of byType) dense[type] = candidates;
    this.#byType = Array.from(dense, (candidates) => candidates);
    this.#others = others;
  }

  candidates(type: number): Candidates {
    return this.#byType[type] ?? this.#others;
  }

  decide(view: RouteView): Decision {
    const candidates = this.candidates(view.type);
    return candidates.fixed ?? evaluate(candidates.rows, view);
  }
}

/** Frames of one broker. */
export class RouteSource {
  readonly #lanes: ReadonlyMap<string, TopicLane>;
  readonly #others: TopicLane;

  constructor(lanes: ReadonlyMap<string, TopicLane>, others: TopicLane) {
    this.#lanes = lanes;
    this.#others = others;
  }

  lane(topic: string): TopicLane {
    return this.#lanes.get(topic) ?? this.#others;
  }

  decide(view: RouteView): Decision {
    return this.lane(view.topic).decide(view);
  }
}

export interface RouteTable {
  /** In order of precedence, those that can match nothing left out. */
  readonly rows: readonly CompiledRow[];
  /** Where frames go that no row matches; absent: to the dead letters. */
  readonly unmatched: Place | undefined;
  /** Frames that come from `broker`. */
  source(broker: string): RouteSource;
  /** The row that a frame says it was routed by, as long as the table still has it. */
  rowNamed(name: string): CompiledRow | undefined;
}

/** First match wins; a row with `also` lets those after it match too. */
export function evaluate(rows: readonly CompiledRow[], view: RouteView): Decision {
  let matched: CompiledRow[] | undefined;
  for (const row of rows) {
    if (!row.conditions.every((condition) => condition.holds(view))) continue;
    matched ??= [];
    matched.push(row);
    if (!row.also) break;
  }
  return matched === undefined ? UNMATCHED : decisionOf(matched);
}

/** A place that several rows name gets the frame once, by the first of them. */
export function decisionOf(rows: readonly CompiledRow[]): Decision {
  const copies: Copy[] = [];
  for (const row of rows) {
    for (const to of row.to) {
      const isThere = copies.some(
        (copy) => copy.to.broker === to.broker && copy.to.topic === to.topic,
      );
      if (!isThere) copies.push({ row, to });
    }
  }
  return { rows, copies };
}
