/**
 * The unit-of-work port on PostgreSQL: conditional rows, inbox, timeline, timers and outgoing
 * frames of many units in one transaction, each unit for itself all or nothing.
 *
 * Outgoing frames go to the outbox; whoever relays them is told after the commit and before the
 * units are answered. Deliveries are not acknowledged here: the broker is another system, and the
 * caller does it after the commit. Refuses, before anything is sent, what could not be stored or
 * published as given.
 */

import type { Timer } from "../../../runtime/environment.ts";
import type { DeliveryRef } from "../../brokers/broker.ts";
import type { CommitResult, CommittedBatch, Store, UnitOfWork } from "../unit-of-work.ts";
import type { OutgoingRow } from "./batch-writer.ts";
import type { Postgres } from "./postgres-connection.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { BatchWriter } from "./batch-writer.ts";
import { createRowLoader } from "./row-loader.ts";
import { UnitQueue } from "./unit-queue.ts";
import { unitRefusal } from "./unit-refusal.ts";

export interface PostgresStoreOptions {
  readonly postgres: Postgres;
  /** Topics that frames may go to. */
  readonly topics: readonly string[];
  readonly slots: number;
  /**
   * Nothing is committed once the row of this relay is fenced or gone: commits reject with
   * `FENCED`. Outgoing frames belong to it. Absent: nobody fences this store.
   */
  readonly relayId?: string;
  /** Frames in the order of their commits, before their units are answered. */
  readonly onOutgoing?: (frames: readonly OutgoingRow[]) => void;
  /** Frames may have been committed that only the outbox knows: it is to be read. */
  readonly onUncertain?: () => void;
  /** A transaction is over. */
  readonly onBatch?: ((batch: CommittedBatch) => void) | undefined;
}

export interface PostgresStore extends Store {
  /** Units that wait for their transaction. */
  depth(): number;
  /**
   * Whether it is known of all commits that were answered before whether they are done: also of
   * those that were `INDETERMINATE`. Asks the server, if need be; what it finds is in the outbox,
   * and told to `onUncertain` at the end of its batch. False: there is no answer for now.
   */
  areDecided(): Promise<boolean>;
  /**
   * Refuses what waits. What is being written is answered: within seconds, if need be by ending
   * the connection, with `INDETERMINATE`. Idempotent.
   */
  close(): Promise<void>;
}

/** For what is being written; then its connection is ended. */
const CLOSE_WAIT_MS = 2_000;

export function createPostgresStore(options: PostgresStoreOptions): PostgresStore {
  const { postgres, slots, relayId, onOutgoing, onUncertain, onBatch } = options;
  const { environment, settings } = postgres;
  const topics = new Set(options.topics);
  const link = postgres.writerLink();
  const writer = new BatchWriter({
    environment,
    link,
    writerId: environment.newId(),
    relayId,
    commitWaitMs: settings.commitWaitMs,
  });
  const queue = new UnitQueue({
    ...settings,
    environment,
    write: (units) => writer.write(units),
    onBatch,
    onOutgoing(outgoing) {
      if (outgoing === "unknown") onUncertain?.();
      else onOutgoing?.(outgoing);
    },
  });
  const load = createRowLoader(postgres);
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    const drained = queue.close();
    let timer: Timer | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = environment.startTimer(CLOSE_WAIT_MS, resolve);
    });
    await Promise.race([drained, patience]);
    timer?.cancel();
    await link.close();
    await drained;
  }

  return {
    acknowledges: false,
    async commit(unit: UnitOfWork, _deliveries: readonly DeliveryRef[]): Promise<CommitResult> {
      const refusal = unitRefusal(unit, topics, slots);
      if (refusal !== undefined) throw refusal;
      return await queue.add(unit);
    },
    async load(table, keys) {
      if (closing === undefined) return await load(table, keys);
      throw new ShopError("CLOSED", "the store is closed", "never");
    },
    depth: () => queue.length,
    async areDecided() {
      if (writer.isInDoubt) await queue.pass();
      return !writer.isInDoubt;
    },
    close: () => (closing ??= close()),
  };
}
