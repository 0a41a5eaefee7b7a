/**
 * All that one shard has around its PostgreSQL store: lease, outbox relay, fences of slots, timers.
 *
 * Put together here once, because their order matters: frames are handed to the relay before their
 * units are answered, and a shard gives its lease back only after its last frame is out or left to
 * the others. A shard that was fenced commits and buries nothing more and is to be ended by its
 * supervisor.
 */

import type { Sql } from "postgres";

import type { ShopError } from "../../../runtime/errors.ts";
import type { CommittedBatch, Store } from "../unit-of-work.ts";
import type { RelayLaneState } from "./outbox-relay-lane.ts";
import type { RelayLaneSettings } from "./outbox-relay-settings.ts";
import type { OutboxFrame } from "./outbox-relay-table.ts";
import type { OutboxRelay, OutboxRelayOptions } from "./outbox-relay.ts";
import type { Postgres } from "./postgres-connection.ts";
import type { PostgresLetters } from "./postgres-letters.ts";
import type { LeaseSettings, ShardLease } from "./shard-lease.ts";
import type { FenceSettings, SlotFences } from "./slot-fences.ts";

import { describeError, isShopError } from "../../../runtime/errors.ts";
import { createTimerRows, DueTimers, withTimerHints } from "./due-timers.ts";
import { createOutboxLook } from "./outbox-relay-look.ts";
import { createOutboxTable } from "./outbox-relay-table.ts";
import { createOutboxRelay } from "./outbox-relay.ts";
import { createPostgresLetters } from "./postgres-letters.ts";
import { createPostgresStore } from "./postgres-store.ts";
import { createLeaseRows } from "./shard-lease-rows.ts";
import { openShardLease } from "./shard-lease.ts";
import { createSlotRows } from "./slot-fences-rows.ts";
import { createSlotFences } from "./slot-fences.ts";

/** Beats have one of their own, so that nothing can hold them up. */
const LEASE_CONNECTIONS = 1;
/** One for each lane's reading, for removals, for timers, for claims: few, and mostly idle. */
const WORK_CONNECTIONS = 4;

export interface PostgresShardOptions extends Pick<
  OutboxRelayOptions,
  "lanes" | "onState" | "onLog" | "onFailure"
> {
  readonly postgres: Postgres;
  /** Unique among the processes that share the database, the same after a restart. */
  readonly process: string;
  readonly shard: number;
  readonly slots: number;
  readonly lease?: LeaseSettings;
  readonly relay?: RelayLaneSettings;
  readonly fences?: FenceSettings;
  /** See `SlotFencesOptions`; absent: all. */
  readonly orderedTopics?: readonly string[];
  /** See `OutboxRelayOptions`; `letters` are the shard's. */
  readonly onRefused: (
    frame: OutboxFrame,
    error: ShopError,
    letters: PostgresLetters,
  ) => Promise<void>;
  /** A transaction of the store is over. */
  readonly onBatch?: (batch: CommittedBatch) => void;
  /** Once: this shard commits nothing any more and must end. */
  readonly onFenced: () => void;
}

export interface PostgresShard {
  readonly relayId: string;
  readonly store: Store;
  /** Burials are refused, like commits, once the shard is fenced. */
  readonly letters: PostgresLetters;
  readonly fences: SlotFences;
  /** Frames that wait in the fullest lane: new orders are refused above a limit. */
  depth(): number;
  lanes(): readonly RelayLaneState[];
  /** Publishes what is left as far as time allows, and gives the lease back. */
  close(withinMs: number): Promise<void>;
}

/** Rejects with what the database says when it is away. */
export async function openPostgresShard(options: PostgresShardOptions): Promise<PostgresShard> {
  const { postgres, onLog } = options;
  const { environment } = postgres;
  const leaseSql = postgres.client(LEASE_CONNECTIONS);
  const sql = postgres.client(WORK_CONNECTIONS);
  const early: EarlyRelay = { relay: undefined, adopted: [] };
  const lease = await openLease(options, leaseSql, early);
  const { relayId } = lease;
  const onLate = lateNotice(lease, onLog);
  const letters = noticingBurials(createPostgresLetters(postgres, options.slots, relayId), onLate);
  const frames = createOutboxRelay({
    ...options,
    environment,
    relayId,
    onRefused: (frame, error) => options.onRefused(frame, error, letters),
    table: createOutboxTable(sql),
    settings: options.relay,
  });
  early.relay = frames;
  frames.setAdopted(early.adopted);
  const onUncertain = (): void => frames.uncertain();
  const store = createPostgresStore({
    postgres,
    slots: options.slots,
    relayId,
    onUncertain,
    onBatch: options.onBatch,
    topics: options.lanes.flatMap(({ topics }) => topics),
    onOutgoing: (rows) => frames.outgoing(rows),
  });
  const timers = new DueTimers({
    environment,
    relayId,
    onUncertain,
    rows: createTimerRows(sql),
    onFired: (fired) => frames.outgoing(fired),
    onFailure: (error) => options.onFailure?.(error),
    onLog,
  });
  const fences = createSlotFences({
    environment,
    lease,
    rows: createSlotRows(sql),
    areDecided: () => store.areDecided(),
    topics: options.orderedTopics ?? options.lanes.flatMap(({ topics }) => topics),
    settings: options.fences,
    onLog,
  });

  return {
    relayId,
    store: withTimerHints(noticingCommits(store, onLate), timers),
    letters,
    fences,
    depth: () => frames.depth(),
    lanes: () => frames.lanes(),
    async close(withinMs) {
      await timers.close();
      await store.close();
      await frames.drain(withinMs);
      await closeLease(lease, onLog);
      await Promise.all([leaseSql.end({ timeout: 1 }), sql.end({ timeout: 1 })]);
    },
  };
}

/** Tells once of what was refused by the fence: it is the first to know, before the next beat. */
function lateNotice(
  lease: Pick<ShardLease, "beat">,
  onLog: PostgresShardOptions["onLog"],
): (what: string, error: unknown) => void {
  let hasTold = false;
  return (what, error) => {
    if (!isShopError(error, "FENCED") || hasTold) return;
    hasTold = true;
    onLog?.("warning", `a late ${what} was refused: ${describeError(error)}`);
    // What it finds it tells through `onFenced`; a failure is one more missed beat.
    lease.beat().catch(() => undefined);
  };
}

type LateNotice = ReturnType<typeof lateNotice>;

function noticingCommits(store: Store, onLate: LateNotice): Store {
  return {
    ...store,
    async commit(unit, deliveries) {
      try {
        return await store.commit(unit, deliveries);
      } catch (error) {
        onLate("commit", error);
        throw error;
      }
    },
  };
}

function noticingBurials(letters: PostgresLetters, onLate: LateNotice): PostgresLetters {
  return {
    ...letters,
    async bury(letter, isPositionLasting) {
      try {
        return await letters.bury(letter, isPositionLasting);
      } catch (error) {
        onLate("burial", error);
        throw error;
      }
    },
  };
}

/** The relay is made under the lease's id, and the lease may adopt before it is there. */
interface EarlyRelay {
  relay: OutboxRelay | undefined;
  adopted: readonly string[];
}

function openLease(
  options: PostgresShardOptions,
  sql: Sql,
  early: EarlyRelay,
): Promise<ShardLease> {
  const look = createOutboxLook({
    check: async () => early.relay?.check(),
    onFailure: (error) => options.onFailure?.(error),
    onLog: options.onLog,
  });
  return openShardLease({
    environment: options.postgres.environment,
    process: options.process,
    shard: options.shard,
    rows: createLeaseRows(sql),
    settings: options.lease,
    onFenced: options.onFenced,
    onAdopted(relayIds) {
      early.adopted = relayIds;
      early.relay?.setAdopted(relayIds);
    },
    onBeat: look,
    onLog: options.onLog,
  });
}

async function closeLease(lease: ShardLease, onLog: PostgresShardOptions["onLog"]): Promise<void> {
  try {
    await lease.close();
  } catch (error) {
    // The others find it silent, and what it left.
    onLog?.("debug", `shard lease: ${describeError(error)}`);
  }
}
