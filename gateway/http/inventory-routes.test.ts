/**
 * Stock over HTTP: entity tags, preconditions, and the cache that must not lie after a change.
 *
 * No change may overwrite a version that its sender has not seen.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import { entityTag, parseCondition } from "./entity-tag.ts";
import { openShop } from "./testing/api-client.ts";

const PATH = "/v1/inventory/sku-1";

async function openWithStock(available = 10) {
  const opened = openShop();
  const put = (count: unknown, headers: Readonly<Record<string, string>> = {}) =>
    opened.send("PUT", PATH, { body: { available: count }, headers });
  await put(available);
  return { ...opened, put };
}

describe("reading stock", () => {
  test("gives the counts with the version as entity tag", async () => {
    const { send } = await openWithStock();
    const reply = await send("GET", PATH);
    expect(reply.status).toBe(200);
    expect(reply.json).toEqual({
      productId: "sku-1",
      available: 10,
      reserved: 0,
      shipped: 0,
      version: 1,
    });
    expect(reply.headers.get("etag")).toBe('"1"');
  });

  test("is 404 for a product that is not there", async () => {
    const { send } = openShop();
    expect((await send("GET", PATH)).status).toBe(404);
  });

  test("is 304 without a body for a version the caller has", async () => {
    const { send } = await openWithStock();
    const reply = await send("GET", PATH, { headers: { "if-none-match": '"9", "1"' } });
    expect(reply.status).toBe(304);
    expect(reply.text).toBe("");
    expect(reply.headers.get("etag")).toBe('"1"');
    expect((await send("GET", PATH, { headers: { "if-none-match": '"9"' } })).status).toBe(200);
  });

  test("comes from the cache until a change through the API, also a refused one", async () => {
    const { send, shop, put } = await openWithStock();
    await send("GET", PATH);
    await send("GET", PATH);
    expect(shop.stockLoads).toBe(1);
    shop.changeStock("sku-1");
    expect((await put(5, { "if-match": '"1"' })).status).toBe(412);
    expect((await send("GET", PATH)).json).toMatchObject({ available: 9, reserved: 1, version: 2 });
    await put(5, { "if-match": '"2"' });
    expect((await send("GET", PATH)).json).toMatchObject({ available: 5, version: 3 });
  });
});

describe("setting stock", () => {
  test("creates a product that is not there", async () => {
    const { send } = openShop();
    const path = `/v1/inventory/${encodeURIComponent("a/b ü")}`;
    const reply = await send("PUT", path, { body: { available: 3 } });
    expect(reply.status).toBe(201);
    expect(reply.headers.get("location")).toBe(path);
    expect(reply.headers.get("etag")).toBe('"1"');
    expect(reply.json).toMatchObject({ productId: "a/b ü", available: 3, version: 1 });
    expect((await send("GET", path)).json).toEqual(reply.json);
  });

  test("changes only the available of a version the caller has seen", async () => {
    const { shop, put } = await openWithStock();
    shop.changeStock("sku-1");
    const reply = await put(50, { "if-match": '"2"' });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("etag")).toBe('"3"');
    expect(reply.headers.get("location")).toBeNull();
    expect(reply.json).toMatchObject({ available: 50, reserved: 1, version: 3 });
  });

  test("without If-Match is 428 on a product that exists", async () => {
    const { put } = await openWithStock();
    const reply = await put(1);
    expect(reply.status).toBe(428);
    expect(reply.json).toMatchObject({ type: "urn:shopstream:problem:version-required" });
  });

  test("is 412 for a stale, a weak or a foreign tag, and for a product that is gone", async () => {
    const { send, put, shop } = await openWithStock();
    for (const tag of ['"2"', 'W/"1"', '"abc"', '"01"', '"0"', '"7", "8"', 'W/"1", "7"']) {
      expect((await put(1, { "if-match": tag })).status).toBe(412);
    }
    const gone = { body: { available: 1 }, headers: { "if-match": '"1"' } };
    expect((await send("PUT", "/v1/inventory/gone", gone)).status).toBe(412);
    const any = { body: { available: 1 }, headers: { "if-match": "*" } };
    expect((await send("PUT", "/v1/inventory/gone", any)).status).toBe(412);
    expect(shop.sent.filter(({ command }) => command.type === "inventory.set")).not.toEqual([]);
    expect((await send("GET", PATH)).json).toMatchObject({ available: 10, version: 1 });
  });

  test("takes a list of versions, or any", async () => {
    const { put } = await openWithStock();
    expect((await put(2, { "if-match": '"7", "1"' })).status).toBe(200);
    expect((await put(3, { "if-match": "*" })).status).toBe(200);
  });

  test("with If-None-Match: * insists on a new product", async () => {
    const { send, put } = await openWithStock();
    expect((await put(2, { "if-none-match": "*" })).status).toBe(412);
    const fresh = { body: { available: 1 }, headers: { "if-none-match": "*" } };
    expect((await send("PUT", "/v1/inventory/new", fresh)).status).toBe(201);
  });

  test("refuses conditions it cannot use", async () => {
    const { put } = await openWithStock();
    for (const tag of ["1", '"1', "", '"1",', "**"]) {
      expect((await put(1, { "if-match": tag })).status).toBe(400);
    }
    expect((await put(1, { "if-none-match": '"1"' })).status).toBe(400);
    expect((await put(1, { "if-none-match": "*", "if-match": '"1"' })).status).toBe(400);
  });

  test("refuses a count that is not one", async () => {
    const { put, send } = await openWithStock();
    for (const count of ["1", -1, 1.5, 1e10, null, undefined]) {
      expect((await put(count, { "if-match": '"1"' })).status).toBe(422);
    }
    const more = { body: { available: 1, reserved: 0 }, headers: { "if-match": '"1"' } };
    expect((await send("PUT", PATH, more)).status).toBe(422);
  });

  test("refuses a product id that is too long or has control characters", async () => {
    const { send } = openShop();
    for (const id of ["x".repeat(129), "a%0Ab"]) {
      const reply = await send("PUT", `/v1/inventory/${id}`, { body: { available: 1 } });
      expect(reply.status).toBe(422);
      expect(reply.json).toMatchObject({ errors: [{ parameter: "productId" }] });
    }
  });

  test("by many at once on one version lets exactly one win", async () => {
    const { send, put } = await openWithStock();
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, count) => put(count, { "if-match": '"1"' })),
    );
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(replies.filter(({ status }) => status === 412)).toHaveLength(19);
    expect((await send("GET", PATH)).json).toMatchObject({ version: 2 });
  });
});

test("a version survives the trip through its entity tag, and nothing else becomes one", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1 }), fc.string({ unit: "grapheme-ascii" }), (version, text) => {
      expect(parseCondition(entityTag(version))).toEqual({ kind: "versions", versions: [version] });
      const parsed = parseCondition(text);
      if (parsed.kind !== "versions") return;
      for (const found of parsed.versions) expect(text).toContain(`"${found}"`);
    }),
  );
});
