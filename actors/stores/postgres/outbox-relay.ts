/**
 * Publishes what committed units left in the outbox, each frame to the broker its topic belongs to.
 *
 * Every broker has a lane of its own, so that one that is down holds up nobody else's frames. The
 * store tells of frames right after their commit; the table is read only for what memory does not
 * have: what a dead shard left, what did not fit, and what was committed without anybody hearing
 * of it. Frames of a topic that no lane has stay in the table and are told. Units, their commits
 * and their fences are not its business.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { ShopError } from "../../../runtime/errors.ts";
import type { Broker } from "../../brokers/broker.ts";
import type { RelayLaneState } from "./outbox-relay-lane.ts";
import type { RelayLaneSettings } from "./outbox-relay-settings.ts";
import type { OutboxFrame, OutboxTable } from "./outbox-relay-table.ts";

import { assert, describeError } from "../../../runtime/errors.ts";
import { RelayLane } from "./outbox-relay-lane.ts";
import { OutboxRemovals } from "./outbox-relay-removals.ts";
import { RELAY_LANE_SETTINGS } from "./outbox-relay-settings.ts";
import { StrayWatch } from "./outbox-relay-strays.ts";

/** While it drains it looks this often whether everything is out. */
const DRAIN_POLL_MS = 10;

export interface OutboxLane {
  /** The broker's name. */
  readonly name: string;
  readonly broker: Pick<Broker, "publish">;
  readonly topics: readonly string[];
}

export interface OutboxRelayOptions {
  readonly environment: Environment;
  readonly table: OutboxTable;
  /** Under which the store writes outgoing frames: the lease's. */
  readonly relayId: string;
  /** Each topic in one of them. */
  readonly lanes: readonly OutboxLane[];
  readonly settings?: RelayLaneSettings | undefined;
  /**
   * Keeps a frame that its broker will never take; tried again until it resolves. May be called
   * again for the same frame after a crash.
   */
  readonly onRefused: (frame: OutboxFrame, error: ShopError) => Promise<void>;
  /** A broker takes frames again, or does not any more. */
  readonly onState?: (name: string, isUp: boolean, detail: string) => void;
  readonly onLog?: ((level: "debug" | "info" | "warning", text: string) => void) | undefined;
  /** A bug: nothing is published any more. */
  readonly onFailure?: (error: unknown) => void;
}

export interface OutboxRelay {
  /** To be called after each commit, with its frames, in the order of the commits. */
  outgoing(frames: readonly OutboxFrame[]): void;
  /** To be called when frames may have been committed that nobody will tell of. */
  uncertain(): void;
  /** Relays that this one publishes for, beside itself: all of them, in place of those before. */
  setAdopted(relayIds: readonly string[]): void;
  /** Looks for rows that memory does not know; to be called every few seconds. */
  check(): Promise<void>;
  /** Frames that wait in the fullest lane: what admission compares with its limit. */
  depth(): number;
  /** One more than there are brokers: what waits for none of them. */
  lanes(): readonly RelayLaneState[];
  /** Publishes what is there, as far as time allows, and closes. */
  drain(withinMs: number): Promise<void>;
  /** What is in memory stays in the table. Idempotent. */
  close(): Promise<void>;
}

export function createOutboxRelay(options: OutboxRelayOptions): OutboxRelay {
  const { environment, table, relayId, settings = RELAY_LANE_SETTINGS, onLog } = options;
  const removals = new OutboxRemovals({
    environment,
    table,
    onFault: (error) => onLog?.("debug", `outbox: removing: ${describeError(error)}`),
  });
  const laneOf = new Map<string, RelayLane>();
  const lanes = options.lanes.map(({ name, broker, topics }) => {
    const { onRefused, onState } = options;
    const lane = new RelayLane({
      name,
      broker,
      topics,
      environment,
      relayId,
      table,
      removals,
      settings,
      onRefused,
      ...(onState === undefined ? {} : { onState }),
    });
    for (const topic of topics) {
      assert(!laneOf.has(topic), `topic ${topic} is in two lanes`);
      laneOf.set(topic, lane);
    }
    lane.ended.catch((error: unknown) => options.onFailure?.(error));
    return lane;
  });
  const strays = new StrayWatch({ table, relayId, topics: [...laneOf.keys()], onLog });
  let unknownBefore = new Set<number>();
  let closing: Promise<void> | undefined;

  function outgoing(frames: readonly OutboxFrame[]): void {
    for (const [lane, share] of Map.groupBy(frames, ({ topic }) => laneOf.get(topic))) {
      // A timer may outlive the link that it was started for.
      if (lane === undefined) strays.suspect();
      else lane.outgoing(share);
    }
  }

  /** A row that nobody knows twice in a row was committed without a word. */
  async function check(): Promise<void> {
    const unknown = new Set<number>();
    const shares = lanes.flatMap((lane) => lane.shares);
    for (const { id, topic } of await table.oldest(relayId, shares)) {
      const lane = laneOf.get(topic);
      if (lane === undefined || lane.isKnown({ id, topic }) || removals.isKnown(id)) continue;
      unknown.add(id);
      if (!unknownBefore.has(id)) continue;
      onLog?.("info", `outbox: frames from ${id} on were committed without a word`);
      lane.distrustMemory();
    }
    unknownBefore = unknown;
    await strays.look();
  }

  function close(): Promise<void> {
    closing ??= (async () => {
      await Promise.allSettled(lanes.map((lane) => lane.close()));
      // What is left is published again by whoever finds it.
      await Promise.allSettled([removals.close()]);
    })();
    return closing;
  }

  const depths = (): readonly number[] => lanes.map((lane) => lane.state().depth);
  return {
    outgoing,
    check,
    close,
    uncertain: () => {
      for (const lane of lanes) lane.distrustMemory();
    },
    setAdopted: (relayIds) => {
      for (const lane of lanes) lane.setAdopted(relayIds);
      strays.setAdopted(relayIds);
    },
    depth: () => Math.max(0, ...depths()),
    lanes: () => [...lanes.map((lane) => lane.state()), ...strays.states()],
    async drain(withinMs) {
      const byMs = environment.monotonicMs() + withinMs;
      const isDone = (): boolean =>
        lanes.every((lane) => lane.state().depth === 0 && !lane.state().readsBack);
      while (!isDone() && environment.monotonicMs() < byMs) {
        const { promise, resolve } = Promise.withResolvers<void>();
        environment.startTimer(DRAIN_POLL_MS, resolve);
        await promise;
      }
      await close();
    },
  };
}
