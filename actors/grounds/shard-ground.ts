/**
 * What a shard stands on: a broker, a store, and what else it reaches, opened in its own thread.
 *
 * On one machine that is the journal across the rings; on many it is servers, each with connections
 * of this thread's own. Types alone: who opens a ground is in the files beside this.
 */

import type { Broker, ConnectionState } from "../brokers/broker.ts";
import type { ReplyHints } from "../commands/command-replies.ts";
import type { AskOptions, OwnerAnswer } from "../commands/owner-asker.ts";
import type { DeadLetterReads } from "../dead-letters/letter-port.ts";
import type { FraudCheck } from "../fraud/fraud-check.ts";
import type { ForeignBroker } from "../shard-routing.ts";
import type { ShardFraudOptions, ShardFraudSettings } from "../fraud/shard-fraud.ts";
import type { OrderCommand } from "../order/order-service.ts";
import type { RelayLaneState } from "../stores/postgres/outbox-relay-lane.ts";
import type { CommittedBatch, Store } from "../stores/unit-of-work.ts";

/** Where commands to orders go that another shard may own, and what an owner needs. */
export interface OrderOwners {
  /** The owner's answer, or `pending` when there is none in time. */
  ask(command: OrderCommand, options: AskOptions): Promise<OwnerAnswer>;
  /** False: what others have committed for `slot` was not published within `withinMs`. */
  published(slot: number, withinMs: number): Promise<boolean>;
  readonly hints: Pick<ReplyHints, "tell">;
}

/** Frames that were committed and are not at their broker yet. */
export interface GroundOutbox {
  /** Of the fullest lane. */
  depth(): number;
  lanes(): readonly RelayLaneState[];
}

export interface ShardGround {
  readonly broker: Broker;
  readonly store: Store;
  readonly letters: Pick<DeadLetterReads, "letter">;
  /** Brokers beside `broker`, by name. */
  readonly foreign: readonly ForeignBroker[];
  /** Absent: this shard owns its slots for as long as it lives. */
  readonly owners?: OrderOwners;
  /** Absent: the log takes frames with their unit. */
  readonly outbox?: GroundOutbox;
  /** Absent: on the shard's store. */
  readonly createFraud?: (
    settings: ShardFraudSettings,
    options: ShardFraudOptions,
  ) => FraudCheck | undefined;
  /** Ends everything; what is in flight was drained before. */
  close(): Promise<void>;
}

/** What a ground has to tell while it is in use. */
export interface GroundEvents {
  readonly onConnection: (server: string, state: ConnectionState) => void;
  readonly onLog: (level: "debug" | "info" | "warning", text: string) => void;
  /** A transaction of a store in this thread is over; the journal counts in its own. */
  readonly onBatch: (batch: CommittedBatch) => void;
  /** The ground is gone for this incarnation of the shard, which must end. */
  readonly onFailure: (error: unknown) => void;
}
