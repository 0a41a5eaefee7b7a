/**
 * A store whose commits go by the route table: the shop's services publish, the router says where.
 *
 * Everything a unit sends is committed with its rows, so a fan-out reaches all its outboxes or
 * none. A unit that the table leaves as it is costs a look at the header of each of its frames.
 * Refuses what the frames' new headers make too large, as `PAYLOAD_TOO_LARGE`.
 */

import type { DeliveryRef } from "../brokers/broker.ts";
import type { CommitResult, Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { Router } from "./router.ts";

/** `store`, with every unit routed before it is committed. */
export function routeStore(store: Store, router: Router): Store {
  return {
    acknowledges: store.acknowledges,
    load: (table, keys) => store.load(table, keys),
    async commit(unit: UnitOfWork, deliveries: readonly DeliveryRef[]): Promise<CommitResult> {
      const { unit: routed, remote } = router.routeUnit(unit);
      const result = await store.commit(routed, deliveries);
      if (remote !== undefined && result.kind === "committed") router.committed(remote);
      return result;
    },
  };
}
