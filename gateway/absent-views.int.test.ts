/**
 * A process that leaves audit and analytics to others starts without their servers, takes orders,
 * and says what is missing to who asks for what they keep. The servers are ports at which nothing
 * listens.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { findFreePort } from "../load/shop-process.ts";
import { ShopProcess } from "./real-shop.fixture.ts";

const START_MS = 60_000;

let shop: ShopProcess;
beforeAll(async () => {
  shop = await ShopProcess.open({
    SHOPSTREAM_PORT: "0",
    SHOPSTREAM_SHARDS: "1",
    SHOPSTREAM_ROLES: "order,payment,inventory,shipping",
    SHOPSTREAM_AUDIT_STORE: "elasticsearch",
    SHOPSTREAM_ELASTICSEARCH_URL: `http://127.0.0.1:${findFreePort()}`,
    SHOPSTREAM_ANALYTICS_STORE: "mongodb",
    SHOPSTREAM_MONGODB_URL: `mongodb://127.0.0.1:${findFreePort()}/shopstream`,
    SHOPSTREAM_MONGODB_CONNECT_TIMEOUT_MS: "1000",
  });
}, START_MS);
afterAll(async () => {
  await shop.dispose();
});

describe("a process without the roles audit and analytics", () => {
  test("takes orders", async () => {
    const items = [{ productId: "coffee-beans-1kg", quantity: 1, price: 10.5 }];
    const ordered = await shop.fetch("/v1/orders", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ customerId: "ada", items }),
    });
    expect(ordered.status).toBe(201);
  });

  test.each([
    ["/v1/audit?limit=1", "elasticsearch.url"],
    ["/v1/audit/head", "elasticsearch.url"],
    ["/v1/analytics/realtime", "mongodb.url"],
    ["/v1/analytics/query?metric=orders", "mongodb.url"],
  ])("answers %s by naming %s", async (path, setting) => {
    const answer = await shop.fetch(path);
    expect(answer.status).toBe(503);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(await answer.json()).toMatchObject({
      type: "urn:shopstream:problem:unavailable",
      detail: expect.stringMatching(setting),
    });
  });

  test("is no worse for having been asked", async () => {
    expect(await shop.json("/health")).toMatchObject({ status: "up" });
  });
});
