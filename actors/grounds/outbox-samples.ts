/**
 * How the way to each broker stands in one shard: the relay of what was committed, and the egress
 * of what routes send, as one figure for each broker.
 *
 * Both may lead to the same broker, and metrics and health know brokers only. New work is refused
 * while too much waits for one; a shard that has neither has nothing to show.
 */

import type { CircuitStateName } from "../delivery/breaker.ts";
import type { EgressState } from "../routing/egress.ts";
import type { RelayLaneState } from "../stores/postgres/outbox-relay-lane.ts";

import { ShopError } from "../../runtime/errors.ts";
import { NO_BROKER } from "../contracts/topics.ts";

/** From well to ill: two ways to a broker are as well as the worse of them. */
const CIRCUITS: readonly CircuitStateName[] = ["closed", "half_open", "open"];

export interface EgressWay {
  readonly name: string;
  state(): EgressState;
}

/** By broker. */
export function wayStates(
  lanes: readonly RelayLaneState[],
  egresses: readonly EgressWay[],
): ReadonlyMap<string, EgressState> {
  const ways = [
    ...lanes.map((lane) => [lane.name, laneState(lane)] as const),
    ...egresses.map((egress) => [egress.name, egress.state()] as const),
  ];
  const states = new Map<string, EgressState>();
  for (const [name, state] of ways) {
    const other = states.get(name);
    states.set(name, other === undefined ? state : together(other, state));
  }
  return states;
}

/**
 * Why new work is refused, naming each broker for which `framesMax` frames or more wait. What waits
 * for none refuses nothing: it would not get less by that.
 */
export function outboxRefusal(
  lanes: readonly Pick<RelayLaneState, "name" | "depth">[],
  framesMax: number,
): ShopError | undefined {
  const waiting = lanes
    .filter(({ name, depth }) => name !== NO_BROKER && depth >= framesMax)
    .map(({ name, depth }) => `${depth} frames wait for broker ${name}`);
  if (waiting.length === 0) return undefined;
  return new ShopError("SATURATED", `${waiting.join(", ")}, at most ${framesMax}`, "later");
}

function laneState({ isUp, depth, published, failed }: RelayLaneState): EgressState {
  const circuit = isUp ? "closed" : "open";
  return { circuit, depth, published, failed, oldestAgeMs: 0, failedOver: 0 };
}

function together(one: EgressState, other: EgressState): EgressState {
  const isWorse = CIRCUITS.indexOf(other.circuit) > CIRCUITS.indexOf(one.circuit);
  return {
    circuit: isWorse ? other.circuit : one.circuit,
    depth: one.depth + other.depth,
    oldestAgeMs: Math.max(one.oldestAgeMs, other.oldestAgeMs),
    published: one.published + other.published,
    failed: one.failed + other.failed,
    failedOver: one.failedOver + other.failedOver,
  };
}
