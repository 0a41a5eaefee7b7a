/**
 * The unit-of-work port on the embedded journal: commits travel to the journal's thread, reads go
 * to a read-only connection of this thread and see every commit that was acknowledged before.
 *
 * Deliveries are acknowledged in the transaction of their unit, since the log is in the same
 * database.
 */

import type { DeliveryRef } from "../brokers/broker.ts";
import type { JournalClient } from "./journal-client.ts";
import type { CommitResult, Store, UnitOfWork } from "./unit-of-work.ts";

import { COMMIT } from "./journal-protocol.ts";
import { unitToWire } from "./unit-wire.ts";

export function createEmbeddedStore(client: JournalClient, reads: Pick<Store, "load">): Store {
  return {
    acknowledges: true,
    commit(unit: UnitOfWork, deliveries: readonly DeliveryRef[]): Promise<CommitResult> {
      return client.request<CommitResult>(COMMIT, unitToWire(unit, deliveries));
    },
    load: (table, keys) => reads.load(table, keys),
  };
}
