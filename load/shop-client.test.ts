/** What a load run takes for an answer where it must ask twice. The shop is a few lines of fake. */

import { describe, expect, test } from "bun:test";

import type { HttpPool } from "./http-pool.ts";
import type { HttpResponse } from "./http-response.ts";

import { createShopClient } from "./shop-client.ts";

/** Keeps one product, and says what it is asked to. */
function shopWith(before?: object) {
  const asked: string[] = [];
  let stock = before;
  const answer = (status: number, body: unknown): HttpResponse => {
    return { status, headers: new Map(), body: JSON.stringify(body), keepAlive: true };
  };
  const pool: HttpPool = {
    request({ method, body = "{}" }) {
      asked.push(method);
      if (method === "GET") return Promise.resolve(answer(200, stock));
      if (stock !== undefined) return Promise.resolve(answer(428, { detail: "which version?" }));
      stock = { ...JSON.parse(body), reserved: 0, shipped: 0, version: 1 };
      return Promise.resolve(answer(201, stock));
    },
    close: () => undefined,
  };
  return { asked, client: createShopClient(pool) };
}

describe("a product that is created", () => {
  test("is taken at once when it is new", async () => {
    const { client, asked } = shopWith();
    await client.createStock("p", 7);
    expect(asked).toEqual(["PUT"]);
    expect(await client.readStock("p")).toEqual({ available: 7, reserved: 0, shipped: 0 });
  });

  test("is taken when a try before has made it and its answer was lost", async () => {
    const { client } = shopWith();
    await client.createStock("p", 7);
    await client.createStock("p", 7);
  });

  test.each([
    ["holds another number", { available: 8, reserved: 0, shipped: 0, version: 1 }],
    ["was touched since", { available: 7, reserved: 0, shipped: 1, version: 4 }],
  ])("is refused when it was there and %s", async (_, before) => {
    const refused = shopWith(before).client.createStock("p", 7);
    await expect(refused).rejects.toMatchObject({ code: "BAD_MESSAGE" });
  });
});
