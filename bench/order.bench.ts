/**
 * Orders through the whole shop: accepted (durable before the answer), and shipped (whole sagas).
 *
 * A run of `accept` ends with the last 201, so sagas of its orders still run behind it; a run of
 * `saga` ends when every one of its orders is seen to be shipped, and that look costs a request
 * per order which is in the figure. Not to be compared with a bare HTTP server: client and server
 * share the two cores.
 */

import { runBench } from "./harness.ts";
import { openBenchShop } from "./bench-shop.ts";

const ORDERS = 2_000;
const shop = await openBenchShop();

await runBench(
  [
    {
      name: "order accept",
      operations: ORDERS,
      expected: { count: ORDERS, checksum: ORDERS },
      run: async () => {
        const ids = await shop.postOrders(ORDERS);
        return { count: ids.length, checksum: new Set(ids).size };
      },
    },
    {
      name: "whole saga",
      operations: ORDERS,
      expected: { count: ORDERS, checksum: ORDERS },
      run: async () => {
        const ids = await shop.postOrders(ORDERS);
        return { count: ids.length, checksum: await shop.waitFor(ids, "shipped") };
      },
    },
  ],
  { title: "Orders over HTTP, 100 connections, embedded storage", unit: "order", runs: 5 },
);
await shop.close();
