/**
 * Orders over HTTP: what is taken, what is answered, what is refused.
 *
 * The shop behind is in memory and honest; the answers are compared with what a client relies on.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import { ShopError } from "../../runtime/errors.ts";
import type { ErrorCode } from "../../runtime/errors.ts";
import { NEW_ORDER, openShop } from "./testing/api-client.ts";

function idOf(json: unknown): string {
  if (typeof json === "object" && json !== null && "id" in json && typeof json.id === "string") {
    return json.id;
  }
  throw new Error("no id");
}

function errorsOf(json: unknown): unknown {
  return typeof json === "object" && json !== null && "errors" in json ? json.errors : undefined;
}

describe("placing an order", () => {
  test("answers 201 with its location and all of its fields", async () => {
    const { send } = openShop();
    const reply = await send("POST", "/v1/orders", { body: NEW_ORDER });
    const id = idOf(reply.json);
    expect(reply.status).toBe(201);
    expect(reply.headers.get("content-type")).toBe("application/json");
    expect(reply.headers.get("location")).toBe(`/v1/orders/${id}`);
    expect(reply.headers.get("idempotency-replayed")).toBeNull();
    expect(reply.json).toEqual({
      id,
      customerId: "c-1",
      items: [{ productId: "sku-1", quantity: 2, price: 10 }],
      status: "pending",
      paymentStatus: "pending",
      inventoryStatus: "pending",
      total: 20,
      currency: "USD",
      createdAt: "2023-11-14T22:13:20.000Z",
      updatedAt: "2023-11-14T22:13:20.000Z",
      version: 1,
    });
  });

  test("writes amounts with two decimals, always", async () => {
    const { send } = openShop();
    const items = [
      { productId: "a", quantity: 3, price: 0.1 },
      { productId: "b", quantity: 1, price: 7 },
    ];
    const reply = await send("POST", "/v1/orders", { body: { ...NEW_ORDER, items } });
    expect(reply.text).toContain('"price":0.10');
    expect(reply.text).toContain('"price":7.00');
    expect(reply.text).toContain('"total":7.30');
  });

  test("gives back address and method of payment, but never the token", async () => {
    const { send } = openShop();
    const shippingAddress = { line1: "1 Main St", city: "X", postalCode: "1", country: "US" };
    const paymentMethod = { type: "card", token: "tok_123" };
    const body = { ...NEW_ORDER, currency: "EUR", shippingAddress, paymentMethod };
    const placed = await send("POST", "/v1/orders", { body });
    expect(placed.json).toMatchObject({
      currency: "EUR",
      shippingAddress,
      paymentMethod: { type: "card" },
    });
    const events = await send("GET", `/v1/orders/${idOf(placed.json)}/events`);
    expect(placed.text + events.text).not.toContain("tok_123");
    expect(events.text).toContain('"paymentMethod":{"type":"card"}');
  });

  test("shows nowhere how to reach the customer, nor which card it was", async () => {
    const { send } = openShop();
    const contact = {
      email: "secret-ada@example.com",
      phone: "+436600000000",
      pushToken: "secret-push",
      language: "de",
    };
    const paymentMethod = { type: "card", token: "secret-token", fingerprint: "secret-card" };
    const placed = await send("POST", "/v1/orders", {
      body: { ...NEW_ORDER, contact, paymentMethod },
    });
    const path = `/v1/orders/${idOf(placed.json)}`;
    const shown = [placed, await send("GET", path), await send("GET", `${path}/events`)];
    expect(shown.map(({ status }) => status)).toEqual([201, 200, 200]);
    for (const { text } of shown) expect(text).not.toMatch(/secret|\+43/);
  });

  test("sends exact minor units to the shard, whatever the amounts", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            cents: fc.integer({ min: 0, max: 10 ** 9 }),
            quantity: fc.integer({ min: 1, max: 20 }),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        async (lines) => {
          const { send, shop } = openShop();
          const items = lines
            .map(({ cents, quantity }) => {
              const price = `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;
              return `{"productId":"p","quantity":${quantity},"price":${price}}`;
            })
            .join(",");
          const reply = await send("POST", "/v1/orders", {
            body: `{"customerId":"c","items":[${items}]}`,
          });
          expect(reply.status).toBe(201);
          const totalMinor = lines.reduce((sum, line) => sum + line.cents * line.quantity, 0);
          expect(shop.sent[0]?.command).toMatchObject({
            totalMinor,
            items: lines.map(({ cents }) => ({ priceMinor: cents })),
          });
        },
      ),
      { numRuns: 50 },
    );
  });

  test("is acknowledged only after the command was", async () => {
    const { send, shop, environment } = openShop();
    const gate = Promise.withResolvers<void>();
    shop.beforeCommand = () => gate.promise;
    let answered = false;
    const pending = send("POST", "/v1/orders", { body: NEW_ORDER }).finally(
      () => (answered = true),
    );
    await environment.settle();
    expect(answered).toBe(false);
    gate.resolve();
    expect((await pending).status).toBe(201);
  });
});

describe("a body that does not fit", () => {
  const cases: readonly [name: string, change: object, pointer: string][] = [
    ["an unknown field", { note: "x" }, "#/note"],
    ["a missing customer", { customerId: undefined }, "#/customerId"],
    ["a number in quotes", { items: [item({ quantity: "1" })] }, "#/items/0/quantity"],
    ["a price in quotes", { items: [item({ price: "1.00" })] }, "#/items/0/price"],
    ["a fraction of a piece", { items: [item({ quantity: 1.5 })] }, "#/items/0/quantity"],
    ["no piece", { items: [item({ quantity: 0 })] }, "#/items/0/quantity"],
    ["a negative price", { items: [item({ price: -1 })] }, "#/items/0/price"],
    ["three decimals", { items: [item({}), item({ price: 0.001 })] }, "#/items/1/price"],
    ["a price beyond the largest", { items: [item({ price: 1e9 + 1 })] }, "#/items/0/price"],
    ["a total beyond the largest", { items: [item({ price: 1e9, quantity: 2 })] }, "#/items"],
    ["no items", { items: [] }, "#/items"],
    ["101 items", { items: Array.from({ length: 101 }, () => item({})) }, "#/items"],
    ["null for a customer", { customerId: null }, "#/customerId"],
    ["an empty id", { customerId: "" }, "#/customerId"],
    ["a control character", { customerId: "a\nb" }, "#/customerId"],
    ["a lower-case currency", { currency: "usd" }, "#/currency"],
    ["a code that is no currency", { currency: "ZZZ" }, "#/currency"],
    ["null for an optional field", { currency: null }, "#/currency"],
    ["an unknown field of an item", { items: [item({ sku: 1 })] }, "#/items/0/sku"],
    ["an unknown method of payment", { paymentMethod: { type: "cash" } }, "#/paymentMethod/type"],
    [
      "a long country",
      { shippingAddress: address({ country: "USA" }) },
      "#/shippingAddress/country",
    ],
  ];

  test.each(cases)(
    "because of %s is 422 with a pointer to the place",
    async (_, change, pointer) => {
      const { send, shop } = openShop();
      const reply = await send("POST", "/v1/orders", { body: { ...NEW_ORDER, ...change } });
      expect(reply.status).toBe(422);
      expect(errorsOf(reply.json)).toContainEqual({ pointer, detail: expect.any(String) });
      expect(shop.sent).toEqual([]);
    },
  );

  test("names every place, up to twenty", async () => {
    const { send } = openShop();
    const items = Array.from({ length: 50 }, () => item({ quantity: "1" }));
    const reply = await send("POST", "/v1/orders", { body: { ...NEW_ORDER, items } });
    expect(errorsOf(reply.json)).toHaveLength(20);
  });

  test("that is no object is 422 at the root", async () => {
    const { send } = openShop();
    for (const body of ["1", "null", "[]", '"x"']) {
      const reply = await send("POST", "/v1/orders", { body });
      expect(reply.status).toBe(422);
      expect(errorsOf(reply.json)).toContainEqual({ pointer: "#", detail: expect.any(String) });
    }
  });
});

describe("a body that cannot be read", () => {
  const malformed: readonly [name: string, body: string | Uint8Array][] = [
    ["nothing", ""],
    ["half an object", '{"customerId":'],
    ["text after the end", "{} x"],
    ["a name twice", '{"customerId":"a","customerId":"b","items":[]}'],
    ["a name twice, once escaped", '{"customerId":"a","\\u0063ustomerId":"b","items":[]}'],
    ["__proto__", '{"__proto__":{"customerId":"a"}}'],
    ["nesting without end", `{"items":${"[".repeat(5000)}${"]".repeat(5000)}}`],
    ["bytes that are not UTF-8", new Uint8Array([0x22, 0xff, 0xfe, 0x22])],
    ["half a surrogate pair", '{"customerId":"\\ud800"}'],
    ["a number no double can hold", '{"price":10.000000000000000001}'],
    ["a number that vanishes", '{"price":1e-400}'],
  ];

  test.each(malformed)("because of %s is 400", async (_, body) => {
    const { send } = openShop();
    const headers = { "content-type": "application/json" };
    const reply = await send("POST", "/v1/orders", { body, headers });
    expect(reply.status).toBe(400);
    expect(reply.json).toMatchObject({ type: "urn:shopstream:problem:malformed-json" });
  });

  test("because of its media type or coding is 415 and says what is accepted", async () => {
    const { send } = openShop();
    for (const type of ["text/plain", "application/xml", "application/json; charset=latin1", ""]) {
      const headers = { "content-type": type };
      const reply = await send("POST", "/v1/orders", { body: "{}", headers });
      expect(reply.status).toBe(415);
      expect(reply.headers.get("accept")).toBe("application/json");
    }
    const headers = { "content-encoding": "gzip" };
    expect((await send("POST", "/v1/orders", { body: "{}", headers })).status).toBe(415);
    const charset = { "content-type": "Application/JSON; charset=UTF-8" };
    const accepted = await send("POST", "/v1/orders", {
      body: JSON.stringify(NEW_ORDER),
      headers: charset,
    });
    expect(accepted.status).toBe(201);
  });

  test("because of its size is 413, and one byte less is read", async () => {
    const { send } = openShop({ bodyBytes: 1024 });
    const order = JSON.stringify(NEW_ORDER);
    const fits = order + " ".repeat(1024 - order.length);
    expect((await send("POST", "/v1/orders", { body: fits })).status).toBe(201);
    expect((await send("POST", "/v1/orders", { body: `${fits} ` })).status).toBe(413);
  });
});

describe("an idempotency key", () => {
  const headers = { "idempotency-key": "k-1" };

  test("with the same body gives the first answer again and no second order", async () => {
    const { send, shop } = openShop();
    const first = await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
    shop.deliver(idOf(first.json));
    const again = await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
    expect(again.status).toBe(201);
    expect(again.text).toBe(first.text);
    expect(again.headers.get("location")).toBe(first.headers.get("location"));
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(shop.orderCount).toBe(1);
  });

  test("takes the same fields in another order for the same body", async () => {
    const { send } = openShop();
    const { customerId, items } = NEW_ORDER;
    const first = await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
    const body = JSON.stringify({ items, customerId }, null, 2);
    expect((await send("POST", "/v1/orders", { body, headers })).text).toBe(first.text);
  });

  test("with another body is 422", async () => {
    const { send } = openShop();
    await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
    const body = { ...NEW_ORDER, currency: "EUR" };
    const reply = await send("POST", "/v1/orders", { body, headers });
    expect(reply.status).toBe(422);
    expect(reply.json).toMatchObject({ type: "urn:shopstream:problem:idempotency-mismatch" });
  });

  test("that is empty, too long or not visible ASCII is 400", async () => {
    const { send, shop } = openShop();
    for (const key of ["", "x".repeat(256), "a b", "é"]) {
      const bad = { "idempotency-key": key };
      expect((await send("POST", "/v1/orders", { body: NEW_ORDER, headers: bad })).status).toBe(
        400,
      );
    }
    const longest = { "idempotency-key": "x".repeat(255) };
    await send("POST", "/v1/orders", { body: NEW_ORDER, headers: longest });
    expect(shop.orderCount).toBe(1);
  });
});

describe("reading orders", () => {
  test("gives one by its id, and 404 for one that is not there", async () => {
    const { send } = openShop();
    const placed = await send("POST", "/v1/orders", { body: NEW_ORDER });
    const read = await send("GET", `/v1/orders/${idOf(placed.json)}`);
    expect(read.status).toBe(200);
    expect(read.text).toBe(placed.text);
    for (const path of ["/v1/orders/nope", "/v1/orders/nope/events", "/v1/orders/__proto__"]) {
      expect((await send("GET", path)).status).toBe(404);
    }
  });

  test("shows what became of it", async () => {
    const { send, shop } = openShop();
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    shop.deliver(id);
    expect((await send("GET", `/v1/orders/${id}`)).json).toMatchObject({
      status: "delivered",
      paymentStatus: "completed",
      inventoryStatus: "reserved",
      trackingNumber: "SS1",
      version: 6,
    });
  });

  test("in pages visits every order once, newest first, whatever comes in between", async () => {
    const { send, environment } = openShop();
    const placed: string[] = [];
    for (let count = 0; count < 7; count++) {
      placed.unshift(idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json));
      if (count % 2 === 0) await environment.advance(5);
    }
    const seen: string[] = [];
    let next: string | undefined = "";
    while (next !== undefined) {
      const cursor: string = next === "" ? "" : `&cursor=${next}`;
      const { json } = await send("GET", `/v1/orders?customerId=c-1&limit=3${cursor}`);
      const page = json as { orders: { id: string }[]; nextCursor?: string }; // OrderPage
      expect(page.orders.length).toBeLessThanOrEqual(3);
      seen.push(...page.orders.map(({ id }) => id));
      next = page.nextCursor;
      await environment.advance(5);
      await send("POST", "/v1/orders", { body: NEW_ORDER });
    }
    expect(seen).toEqual(placed);
  });

  test("can be narrowed to a customer and a status", async () => {
    const { send, shop } = openShop();
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    await send("POST", "/v1/orders", { body: NEW_ORDER });
    await send("POST", "/v1/orders", { body: { ...NEW_ORDER, customerId: "ü & co" } });
    shop.deliver(id);
    const list = async (query: string) => {
      const { json } = await send("GET", `/v1/orders?${query}`);
      return (json as { orders: { id: string }[] }).orders; // OrderPage
    };
    expect(await list("customerId=c-1")).toHaveLength(2);
    expect(await list(`customerId=${encodeURIComponent("ü & co")}`)).toHaveLength(1);
    expect(await list("status=delivered")).toMatchObject([{ id }]);
    expect(await list("customerId=nobody")).toEqual([]);
    expect(await list("")).toHaveLength(3);
  });

  test("refuses a query it does not know or cannot read", async () => {
    const { send } = openShop();
    const bad = ["limit=0", "limit=201", "limit=1.5", "limit=", "limit=1e1", "status=lost", "x=1"];
    for (const query of [...bad, "limit=1&limit=2", "status=", "customerId="]) {
      const reply = await send("GET", `/v1/orders?${query}`);
      expect(reply.status).toBe(422);
      expect(errorsOf(reply.json)).toMatchObject([{ parameter: query.split("=")[0] }]);
    }
  });

  test("refuses a cursor it did not give out", async () => {
    const { send } = openShop();
    const forged = Buffer.from("-1:x").toString("base64url");
    const padded = `${Buffer.from("12:abc").toString("base64url")}=`;
    for (const cursor of ["zzz", "!!", forged, padded, "MTI6", encodeURIComponent("ä")]) {
      const reply = await send("GET", `/v1/orders?cursor=${cursor}`);
      expect(reply.status).toBe(400);
      expect(reply.json).toMatchObject({ type: "urn:shopstream:problem:malformed-cursor" });
    }
  });

  test("refuses a path that cannot be decoded", async () => {
    const { send } = openShop();
    expect((await send("GET", "/v1/orders/%ZZ")).status).toBe(400);
    expect((await send("GET", "/v1/orders/%C3%28")).status).toBe(400);
  });
});

describe("cancelling", () => {
  test("answers the cancelled order, twice the same", async () => {
    const { send } = openShop();
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    const first = await send("POST", `/v1/orders/${id}/cancel`);
    expect(first.status).toBe(200);
    expect(first.json).toMatchObject({
      id,
      status: "cancelled",
      cancelReason: "requested",
      version: 2,
    });
    expect((await send("POST", `/v1/orders/${id}/cancel`, { body: {} })).text).toBe(first.text);
  });

  test("is 409 once shipped and 404 for an order that is not there", async () => {
    const { send, shop } = openShop();
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    shop.deliver(id);
    const late = await send("POST", `/v1/orders/${id}/cancel`);
    expect(late.status).toBe(409);
    expect(late.json).toMatchObject({ type: "urn:shopstream:problem:not-cancellable" });
    expect((await send("POST", "/v1/orders/nope/cancel")).status).toBe(404);
    // Longer than any id: not a failure of the shop.
    expect((await send("POST", `/v1/orders/${"x".repeat(200)}/cancel`)).status).toBe(404);
  });

  test("is 202 with the place to look when the owner has not answered in time", async () => {
    const { send, shop } = openShop();
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    shop.isOwnerSlow = true;
    const answer = await send("POST", `/v1/orders/${id}/cancel`);
    expect(answer.status).toBe(202);
    expect(answer.json).toEqual({ id, outcome: "pending" });
    expect(answer.headers.get("location")).toBe(`/v1/orders/${id}`);
  });

  test("bounds its body like any other", async () => {
    const { send } = openShop({ bodyBytes: 1024 });
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    const body = `{}${" ".repeat(2000)}`;
    const headers = { "content-length": String(body.length) };
    expect((await send("POST", `/v1/orders/${id}/cancel`, { body, headers })).status).toBe(413);
  });

  test("takes no fields and no other media type", async () => {
    const { send } = openShop();
    const id = idOf((await send("POST", "/v1/orders", { body: NEW_ORDER })).json);
    const path = `/v1/orders/${id}/cancel`;
    expect((await send("POST", path, { body: { reason: "x" } })).status).toBe(422);
    const headers = { "content-type": "text/plain" };
    expect((await send("POST", path, { body: "x", headers })).status).toBe(415);
    expect((await send("GET", `/v1/orders/${id}`)).json).toMatchObject({ status: "pending" });
  });
});

describe("what the shop fails at", () => {
  const failures: readonly [ErrorCode, number][] = [
    ["SATURATED", 503],
    ["MAILBOX_FULL", 503],
    ["STORAGE_FULL", 503],
    ["STORAGE_FAULT", 503],
    ["CLOSED", 503],
    ["ASK_TIMEOUT", 504],
    ["INDETERMINATE", 504],
    ["DATA_DAMAGED", 500],
  ];

  test.each(failures)("%s is answered with %d and no text of ours", async (code, status) => {
    const { send, shop } = openShop();
    shop.beforeCommand = () => Promise.reject(new ShopError(code, "secret detail", "later"));
    const reply = await send("POST", "/v1/orders", { body: NEW_ORDER });
    expect(reply.status).toBe(status);
    expect(shop.failures).toHaveLength(status === 500 ? 1 : 0);
  });

  test("unexpectedly is 500, told to the log under the correlation id", async () => {
    const { send, shop } = openShop();
    const error = new TypeError("secret detail");
    shop.beforeCommand = () => Promise.reject(error);
    const headers = { "x-correlation-id": "trace-me" };
    const reply = await send("POST", "/v1/orders", { body: NEW_ORDER, headers });
    expect(reply.status).toBe(500);
    expect(shop.failures).toEqual([{ error, correlationId: "trace-me" }]);
  });
});

function item(change: object) {
  return { productId: "sku-1", quantity: 1, price: 1, ...change };
}

function address(change: object) {
  return { line1: "x", city: "x", postalCode: "1", country: "US", ...change };
}
