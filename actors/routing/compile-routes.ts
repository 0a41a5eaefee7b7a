/**
 * From rows to a table: the configuration's rows before the built-in ones, checked and compiled.
 *
 * A configured row with the name of a built-in one takes its place; the others come first. A bad
 * table is refused as a whole with `BAD_CONFIGURATION`, one line for each row and reason. That a
 * built-in row can match nothing any more is what a configured one is for, and no error.
 */

import type { KnownWorld } from "./route-refusals.ts";
import type { Place, RouteMatch, RouteRow } from "./route-row.ts";
import type { Candidates, CompiledRow, RouteTable } from "./route-table.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { conditionsOf, covers } from "./route-conditions.ts";
import { failoverCycles, numbersOf, placeRefusals, refusalsOf } from "./route-refusals.ts";
import { decisionOf, RouteSource, TopicLane, UNMATCHED } from "./route-table.ts";

/** Rows of the configuration and built-in ones together. */
const ROWS_MAX = 512;
/** Stands for every type, topic or broker that no row and nobody else knows. */
const OTHER_TYPE = -1;
const OTHER_TOPIC = "";

export interface RouteRules {
  readonly configured: readonly RouteRow[];
  readonly builtIn: readonly RouteRow[];
  readonly unmatched: "dead_letter" | Place;
}

interface Source {
  readonly row: RouteRow;
  readonly isBuiltIn: boolean;
}

/** Throws `BAD_CONFIGURATION` naming each row that cannot be, by index and name, and why. */
export function compileRoutes(rules: RouteRules, known: KnownWorld): RouteTable {
  const sources = merge(rules);
  const problems: string[] = [];
  const note = (index: number, reason: string): void => {
    problems.push(`route ${index} (${sources[index]?.row.name ?? "?"}): ${reason}`);
  };
  if (sources.length > ROWS_MAX) problems.push(`${sources.length} routes, at most ${ROWS_MAX}`);
  for (const [index, { row }] of sources.entries()) {
    for (const reason of refusalsOf(row, known)) note(index, reason);
    const first = sources.findIndex((other) => other.row.name === row.name);
    if (first < index) note(index, `route ${first} has that name already`);
  }
  const { unmatched } = rules;
  if (unmatched !== "dead_letter") {
    for (const reason of placeRefusals(unmatched, known)) problems.push(`unmatched: ${reason}`);
  }
  refuse(problems);
  for (const [row, way] of failoverCycles(sources.map((source) => source.row))) {
    const index = sources.findIndex((source) => source.row === row);
    note(index, `its failover goes in a circle: ${way}`);
  }
  const rows = sources.map((source, index) => compileRow(source, index, known));
  const lists = new CandidateLists(rows, known);
  for (const row of rows) {
    if (!lists.isReachable(row) && !row.isBuiltIn) {
      note(row.index, `can never match: ${lists.obstacleOf(row)} takes everything before it`);
    }
  }
  refuse(problems);
  return tableOf(
    rows.filter((row) => lists.isReachable(row)),
    lists,
    unmatched,
  );
}

/** The rows in order of precedence. */
function merge({ configured, builtIn }: RouteRules): readonly Source[] {
  const names = new Set(builtIn.map(({ name }) => name));
  const replacing = new Map<string, RouteRow>();
  const first: RouteRow[] = [];
  for (const row of configured) {
    // A second row of that name is left among the first ones, where it is refused.
    if (names.has(row.name) && !replacing.has(row.name)) replacing.set(row.name, row);
    else first.push(row);
  }
  return [
    ...first.map((row) => ({ row, isBuiltIn: false })),
    ...builtIn.map((row) => {
      const own = replacing.get(row.name);
      return { row: own ?? row, isBuiltIn: own === undefined };
    }),
  ];
}

function compileRow({ row, isBuiltIn }: Source, index: number, known: KnownWorld): CompiledRow {
  const { name, match = {}, to, also = false, policy = {} } = row;
  return {
    index,
    name,
    isBuiltIn,
    scope: scopeOf(match),
    from: match.from === undefined ? undefined : new Set(match.from),
    topics: match.topics === undefined ? undefined : new Set(match.topics),
    types: match.types === undefined ? undefined : numbersOf(match.types, known),
    conditions: conditionsOf(match),
    also,
    to,
    policy,
  };
}

function scopeOf({ from, topics, types }: RouteMatch): string {
  const parts = Object.entries({ from, topics, types });
  return parts.map(([name, list]) => (list ? ` ${name} ${list.join(" ")}` : "")).join("");
}

/** For every broker, topic and type: the rows that may match. */
class CandidateLists {
  readonly brokers: readonly string[];
  readonly topics: readonly string[];
  readonly types: readonly number[];
  readonly #rows: readonly CompiledRow[];
  readonly #reachable = new Set<CompiledRow>();
  readonly #obstacles = new Map<CompiledRow, CompiledRow>();
  readonly #lists = new Map<string, Candidates>();

  constructor(rows: readonly CompiledRow[], known: KnownWorld) {
    this.#rows = rows;
    this.brokers = [...known.brokers.keys()];
    const topics = new Set([OTHER_TOPIC]);
    for (const { topics: own = [], ingressTopics = [] } of known.brokers.values()) {
      for (const topic of [...own, ...ingressTopics]) topics.add(topic);
    }
    for (const row of rows) for (const topic of row.topics ?? []) topics.add(topic);
    this.topics = [...topics];
    this.types = [OTHER_TYPE, ...known.types.map(({ number }) => number)];
    for (const broker of this.brokers) {
      for (const topic of this.topics) {
        for (const type of this.types) {
          this.#lists.set(listName(broker, topic, type), this.#collect(broker, topic, type));
        }
      }
    }
  }

  of(broker: string, topic: string, type: number): Candidates {
    const list = this.#lists.get(listName(broker, topic, type));
    assert(list !== undefined, `no list for ${broker}/${topic} and type ${type}`);
    return list;
  }

  isReachable(row: CompiledRow): boolean {
    return this.#reachable.has(row);
  }

  /** A row that stands before an unreachable one. */
  obstacleOf(row: CompiledRow): string {
    return this.#obstacles.get(row)?.name ?? "nothing there is";
  }

  #collect(broker: string, topic: string, type: number): Candidates {
    const rows: CompiledRow[] = [];
    for (const row of this.#rows) {
      if (row.from?.has(broker) === false || row.topics?.has(topic) === false) continue;
      if (row.types?.has(type) === false) continue;
      const taken = rows.find((other) => !other.also && covers(other.conditions, row.conditions));
      if (taken !== undefined) {
        if (!this.#obstacles.has(row)) this.#obstacles.set(row, taken);
        continue;
      }
      rows.push(row);
      this.#reachable.add(row);
    }
    const isFixed = rows.every(({ conditions }) => conditions.length === 0);
    if (!isFixed) return { rows, fixed: undefined };
    return { rows, fixed: rows.length === 0 ? UNMATCHED : decisionOf(rows) };
  }
}

function tableOf(
  rows: readonly CompiledRow[],
  lists: CandidateLists,
  unmatched: RouteRules["unmatched"],
): RouteTable {
  const byName = new Map(rows.map((row) => [row.name, row]));
  const sources = new Map(lists.brokers.map((broker) => [broker, sourceOf(broker, lists)]));
  return {
    rows,
    unmatched: unmatched === "dead_letter" ? undefined : unmatched,
    rowNamed: (name) => byName.get(name),
    source(broker) {
      const source = sources.get(broker);
      assert(source !== undefined, `no broker ${broker} when the routes were compiled`);
      return source;
    },
  };
}

function sourceOf(broker: string, lists: CandidateLists): RouteSource {
  const laneOf = (topic: string): TopicLane => {
    const byType = new Map(
      lists.types
        .filter((type) => type !== OTHER_TYPE)
        .map((type) => [type, lists.of(broker, topic, type)]),
    );
    return new TopicLane(byType, lists.of(broker, topic, OTHER_TYPE));
  };
  const named = lists.topics.filter((topic) => topic !== OTHER_TOPIC);
  return new RouteSource(
    new Map(named.map((topic) => [topic, laneOf(topic)])),
    laneOf(OTHER_TOPIC),
  );
}

function listName(broker: string, topic: string, type: number): string {
  return `${broker}/${topic}/${type}`;
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new ShopError("BAD_CONFIGURATION", problems.join("\n"), "never");
}
