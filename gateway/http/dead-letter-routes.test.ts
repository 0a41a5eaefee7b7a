/**
 * The endpoints of dead letters, over letters in memory and the real letter service behind them.
 *
 * Every answer is checked against the schema that the API document shows for it, and every
 * example of the document too.
 */

import { describe, expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { MemoryLog } from "../../actors/brokers/memory-log.ts";
import { encodeValue } from "../../actors/contracts/codec.ts";
import type { EventOf } from "../../actors/contracts/messages.ts";
import type { CommandReply } from "../../actors/contracts/order-state.ts";
import { createLetterService } from "../../actors/dead-letters/letter-service.ts";
import type { LetterCommand } from "../../actors/dead-letters/letter-unit.ts";
import { createMemoryLetters } from "../../actors/dead-letters/memory-letters.ts";
import { encodeEvent } from "../../actors/delivery/decode-message.ts";
import { createMemoryStore } from "../../actors/stores/memory-store.ts";
import { ShopError } from "../../runtime/errors.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { encodeFrame, frameSlot } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createLetterJobs } from "./dead-letter-jobs.ts";
import { DEAD_LETTER_EXAMPLES } from "./dead-letter-operations.ts";
import { deadLetterRoutes } from "./dead-letter-routes.ts";
import type { DeadLetterSchemaName } from "./dead-letter-schemas.ts";
import { DEAD_LETTER_SCHEMAS } from "./dead-letter-schemas.ts";
import type { Route } from "./endpoint.ts";
import { createDoor } from "./endpoint.ts";
import { createRouteCounters } from "./http-counters.ts";
import type { Reply, RequestOptions } from "./testing/api-client.ts";
import { ORIGIN, sender } from "./testing/api-client.ts";

const SLOTS = 4;
const BYTES_MAX = 64 * 1024 * 1024;
const PATH = "/admin/dead-letters";

FormatRegistry.Set("date-time", (text) => new Date(text).toISOString() === text);

function openLetters() {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: ["orders", "payments", "operations"],
    partitions: SLOTS,
    logBytesMax: BYTES_MAX,
    deadLetterBytesMax: BYTES_MAX,
  });
  log.registerGroup("payment", log.topics, "earliest");
  const published: string[] = [];
  const store = createMemoryStore({
    environment,
    deadLetters: log,
    onOutgoing: ({ topic }) => void published.push(topic),
  });
  const letters = createMemoryLetters(log);
  const service = createLetterService({ store, environment, slots: SLOTS, letters });
  const sent: { readonly command: LetterCommand; readonly correlationId: string }[] = [];
  const state: { before?: (sends: number) => CommandReply | undefined } = {};
  const commands = {
    async send(command: unknown, { correlationId }: { readonly correlationId: string }) {
      sent.push({ command: command as LetterCommand, correlationId }); // the routes send no other
      const answer = state.before?.(sent.length);
      if (answer !== undefined) return answer;
      const cause = { correlationId, causationId: "m", traceId: "0".repeat(32) };
      return await service.command(command as LetterCommand, { cause, deadlineMs: 0 });
    },
  };
  const failures: unknown[] = [];
  const jobs = createLetterJobs({
    environment,
    commands,
    letters,
    commandTimeoutMs: 5_000,
    onFailure: (error) => void failures.push(error),
  });
  const limits = { bodyBytes: 4_096, jsonDepth: 16, commandTimeoutMs: 5_000 };
  const routes = deadLetterRoutes({ environment, limits, commands, letters, jobs });
  const door = createDoor({ environment, inFlightMax: 10 });
  const send = sender((request) => serve(routes, door, request), ORIGIN);

  function bury(bytes: Uint8Array, reason = "poison", topic = "orders"): number {
    const [appended] = log.append([{ topic, frame: bytes }]);
    const sequence = appended?.record.sequence ?? 0;
    const partition = frameSlot(bytes);
    const burial = { reason, attempts: 5, firstError: "first", lastError: "last" };
    const ref = { group: "payment", topic, partition, sequence, epoch: 1 };
    log.bury(ref, burial, environment.nowMs());
    return log.deadLetters(topic, 0, BYTES_MAX).at(-1)?.id ?? 0;
  }

  /** Sends and lets the clock run until there is an answer. */
  async function after(
    waitMs: number,
    method: string,
    path: string,
    options?: RequestOptions,
  ): Promise<Reply> {
    const reply = send(method, PATH + path, options);
    await environment.advance(waitMs);
    return await reply;
  }

  return { environment, letters, jobs, sent, state, failures, published, send, bury, after };
}

/** As Elysia finds a route: a path without parameters before one with. */
async function serve(
  routes: readonly Route[],
  door: ReturnType<typeof createDoor>,
  request: Request,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  for (const route of routes.toSorted(
    (a, b) => Number(a.path.includes(":")) - Number(b.path.includes(":")),
  )) {
    const pattern = new RegExp(`^${route.path.replaceAll(/:(\w+)/g, "(?<$1>[^/]+)")}$`);
    const match = route.method === request.method ? pattern.exec(pathname) : null;
    if (match === null) continue;
    const counters = createRouteCounters(route.method, route.path);
    return await door.serve(route, counters, request, { ...match.groups });
  }
  throw new Error(`no route takes ${request.method} ${pathname}`);
}

const environment = createVirtualEnvironment(7);
const SECRET = "tok_4242";

function orderFrame(orderId: string): Uint8Array {
  const event: EventOf<"order.created"> = {
    type: "order.created",
    orderId,
    customerId: "ada",
    items: [{ productId: "cup", quantity: 1, priceMinor: 2_500 }],
    totalMinor: 2_500,
    currency: "USD",
    paymentMethod: { type: "card", token: SECRET, fingerprint: SECRET },
    contact: { email: "ada@example.org" },
  };
  return encodeEvent(event, { environment, slots: SLOTS }).frame;
}

function plainFrame(orderId: string): Uint8Array {
  const event = { type: "reservation.lapsed", orderId } as const;
  return encodeEvent(event, { environment, slots: SLOTS }).frame;
}

function rawFrame(payload: Uint8Array, flags = 0, timeMs = 5): Uint8Array {
  const id = environment.newId();
  return encodeFrame({ type: 1, slot: 0, key: "k", payload, id, timeMs, flags });
}

function fits(name: DeadLetterSchemaName, { json }: Reply): void {
  expect([name, [...Value.Errors(DEAD_LETTER_SCHEMAS[name], json)]]).toEqual([name, []]);
}

function problemOf({ status, text }: Reply): string {
  return `${status} ${/urn:shopstream:problem:([a-z-]+)/.exec(text)?.[1] ?? ""}`;
}

describe("the list", () => {
  test("has a page of the letters that fit, and a way to the next", async () => {
    const shop = openLetters();
    const ids = ["a", "b", "c"].map((id) => shop.bury(plainFrame(id)));
    shop.bury(plainFrame("a"), "expired");
    const first = await shop.send("GET", `${PATH}?reason=poison&limit=2`);
    fits("DeadLetterPage", first);
    expect(first.json).toMatchObject({
      letters: [
        { id: ids[0], key: "a", type: "reservation.lapsed", attempts: 5, group: "payment" },
        { id: ids[1], key: "b" },
      ],
    });
    const { nextCursor } = first.json as { nextCursor: string };
    const second = await shop.send("GET", `${PATH}?reason=poison&limit=2&cursor=${nextCursor}`);
    expect(second.json).toMatchObject({ letters: [{ id: ids[2] }] });
    expect(second.text).not.toContain("nextCursor");
    const byKey = await shop.send("GET", `${PATH}?key=a`);
    expect((byKey.json as { letters: unknown[] }).letters).toHaveLength(2);
    expect(first.text + second.text).not.toContain("bytesBase64");
  });

  test("refuses what it does not know, and times that are none", async () => {
    const { send } = openLetters();
    for (const query of ["?status=x", "?limit=0", "?limit=201", "?from=yesterday", "?topic="]) {
      expect([query, problemOf(await send("GET", PATH + query))]).toEqual([
        query,
        "422 invalid-request",
      ]);
    }
    const cursors = ["x", btoa("5:abc").replaceAll("=", "")];
    for (const cursor of cursors) {
      const reply = await send("GET", `${PATH}?cursor=${cursor}`);
      expect(problemOf(reply)).toBe("400 malformed-cursor");
    }
    const times = "?from=2025-10-02T09:30:00Z&to=2025-10-02T09:30:00.5Z";
    expect((await send("GET", PATH + times)).json).toEqual({ letters: [] });
  });

  test("the summary counts every letter by kind", async () => {
    const shop = openLetters();
    for (const reason of ["poison", "expired", "poison"]) shop.bury(plainFrame("a"), reason);
    const reply = await shop.send("GET", `${PATH}/summary`);
    fits("DeadLetterSummary", reply);
    expect(reply.json).toMatchObject({
      total: 3,
      kinds: [{ topic: "orders", group: "payment", reason: "poison", count: 2 }, { count: 1 }],
    });
  });
});

describe("a letter", () => {
  test("is shown decoded, without what pays or reaches a person", async () => {
    const shop = openLetters();
    const id = shop.bury(orderFrame("o-1"));
    const reply = await shop.send("GET", `${PATH}/${id}`);
    fits("DeadLetter", reply);
    expect(reply.json).toMatchObject({
      type: "order.created",
      payload: {
        orderId: "o-1",
        paymentMethod: { type: "card", token: "[redacted]", fingerprint: "[redacted]" },
        contact: "[redacted]",
      },
      bytesWithheld: "token",
    });
    expect(reply.text).not.toContain(SECRET);
    expect(reply.text).not.toContain("example.org");
    expect(reply.text).not.toContain("bytesBase64");
  });

  test("without secrets is shown with its bytes", async () => {
    const shop = openLetters();
    const bytes = plainFrame("o-1");
    const id = shop.bury(bytes);
    const { json } = await shop.send("GET", `${PATH}/${id}`);
    expect(json).toMatchObject({ bytesBase64: Buffer.from(bytes).toString("base64") });
  });

  test("that does not fit its contract is shown as far as it can be read", async () => {
    const shop = openLetters();
    const strange = { orderId: 2n ** 60n, token: SECRET, deep: { blob: new Uint8Array(2) } };
    const json = Buffer.from(JSON.stringify({ orderId: 7, phone: SECRET }));
    const cases = [
      [rawFrame(encodeValue(strange)), { deep: { blob: "AAA=" } }],
      [rawFrame(json, FLAG_JSON), { orderId: 7, phone: "[redacted]" }],
      [rawFrame(Uint8Array.of(0x92)), undefined],
      [rawFrame(Buffer.from("[".repeat(100_000)), FLAG_JSON), undefined],
    ] as const;
    for (const [bytes, payload] of cases) {
      const reply = await shop.send("GET", `${PATH}/${shop.bury(bytes)}`);
      fits("DeadLetter", reply);
      expect(reply.json).toMatchObject({ undecodable: expect.stringContaining("BAD_MESSAGE") });
      if (payload === undefined) expect(reply.text).not.toContain("payload");
      else expect(reply.json).toMatchObject({ payload });
      expect(reply.text).not.toContain(SECRET);
    }
  });

  test("that is no frame, or of a time that is none, is shown all the same", async () => {
    const shop = openLetters();
    const broken = orderFrame("o-1");
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
    const id = shop.bury(broken);
    const reply = await shop.send("GET", `${PATH}/${id}`);
    fits("DeadLetter", reply);
    expect(reply.json).toMatchObject({ undecodable: expect.stringContaining("BAD_FRAME") });
    expect(reply.text).not.toContain(Buffer.from(SECRET).toString("base64").slice(0, 8));
    shop.bury(rawFrame(encodeValue({}), 0, 1e300));
    const list = await shop.send("GET", PATH);
    fits("DeadLetterPage", list);
    expect((list.json as { letters: unknown[] }).letters).toHaveLength(2);
  });

  test("that is not there is 404, whatever its number looks like", async () => {
    const { send } = openLetters();
    for (const id of ["1", "0", "x", "1e3", "9999999999999999"]) {
      expect(problemOf(await send("GET", `${PATH}/${id}`))).toBe("404 not-found");
      expect(problemOf(await send("POST", `${PATH}/${id}/redrive`))).toBe("404 not-found");
    }
    expect(problemOf(await send("GET", `${PATH}/jobs/none`))).toBe("404 not-found");
  });
});

describe("an act on one", () => {
  test("puts it back under the correlation id of the request, and only once", async () => {
    const shop = openLetters();
    const id = shop.bury(plainFrame("o-1"));
    const headers = { "x-correlation-id": "operator-7" };
    const reply = await shop.send("POST", `${PATH}/${id}/redrive`, { headers });
    fits("DeadLetterOutcome", reply);
    expect(reply.json).toEqual({ id, result: "redriven" });
    expect(shop.sent).toEqual([
      {
        command: { type: "deadletter.redrive", letterKey: `${id}`, ids: [id] },
        correlationId: "operator-7",
      },
    ]);
    expect(shop.published).toEqual(["orders", "operations"]);
    const again = await shop.send("POST", `${PATH}/${id}/redrive`, { headers });
    expect(problemOf(again)).toBe("404 not-found");
    expect(shop.published).toHaveLength(2);
  });

  test("refuses to put back what is no frame, and discards it with a reason", async () => {
    const shop = openLetters();
    const broken = plainFrame("o-1");
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
    const id = shop.bury(broken, "bad_frame");
    const refusal = await shop.send("POST", `${PATH}/${id}/redrive`);
    expect(problemOf(refusal)).toBe("409 not-redrivable");
    for (const body of [{}, { reason: "" }, { reason: "x", more: 1 }]) {
      const reply = await shop.send("POST", `${PATH}/${id}/discard`, { body });
      expect(problemOf(reply)).toBe("422 invalid-request");
    }
    const body = { reason: "sender was mended" };
    const reply = await shop.send("POST", `${PATH}/${id}/discard`, { body });
    expect(reply.json).toEqual({ id, result: "discarded" });
    expect(shop.published).toEqual(["operations"]);
  });

  test("is told as the shard tells it when storage gives out", async () => {
    const shop = openLetters();
    const id = shop.bury(plainFrame("o-1"));
    const code = "storage_unavailable" as const;
    shop.state.before = () => ({ kind: "refused", code, detail: "secret" });
    const reply = await shop.send("POST", `${PATH}/${id}/redrive`);
    expect(problemOf(reply)).toBe("503 unavailable");
  });
});

describe("an act on many", () => {
  const redrive = (body: object) => ({ body: { filter: {}, ...body } });

  test("is a dry run unless it says otherwise, and a dry run does nothing", async () => {
    const shop = openLetters();
    const ids = Array.from({ length: 30 }, (_, count) => shop.bury(plainFrame(`o-${count}`)));
    for (const [path, body] of [
      ["/redrive", { filter: {} }],
      ["/discard", { filter: { reason: "poison" }, reason: "old" }],
    ] as const) {
      const reply = await shop.send("POST", PATH + path, { body });
      fits("DeadLetterAct", reply);
      const plan = { dryRun: true, matched: 30, limit: 1_000, ids: ids.slice(0, 20) };
      expect(reply.json).toEqual(plan);
    }
    expect(shop.sent).toEqual([]);
    expect((await shop.letters.extent({})).count).toBe(30);
  });

  test("goes through what fits, to its limit, and answers when it is through", async () => {
    const shop = openLetters();
    for (let count = 0; count < 30; count++) shop.bury(plainFrame(`o-${count}`));
    shop.bury(plainFrame("other"), "expired");
    const body = { filter: { reason: "poison" }, dryRun: false, limit: 20, ratePerSecond: 40 };
    const reply = await shop.after(4_000, "POST", "/redrive", { body });
    expect(reply.status).toBe(200);
    fits("DeadLetterAct", reply);
    expect(reply.json).toMatchObject({
      matched: 30,
      job: { state: "done", redriven: 20, missing: 0, refused: 0 },
    });
    expect((await shop.letters.extent({ reason: "poison" })).count).toBe(10);
    expect((await shop.letters.extent({ reason: "expired" })).count).toBe(1);
    // 40 a second: quarters of a second, ten letters each.
    expect(shop.sent.map(({ command }) => command.ids.length)).toEqual([10, 10]);
  });

  test("that takes longer than a command may is a job, at its rate", async () => {
    const shop = openLetters();
    for (let count = 0; count < 100; count++) shop.bury(plainFrame(`o-${count}`));
    const body = { filter: {}, dryRun: false, ratePerSecond: 10 };
    const reply = await shop.after(5_000, "POST", "/redrive", { body });
    expect(reply.status).toBe(202);
    fits("DeadLetterAct", reply);
    expect(shop.published.filter((topic) => topic === "orders").length).toBeWithin(48, 55);
    const location = reply.headers.get("location") ?? "";
    expect(location).toStartWith(`${PATH}/jobs/`);
    expect((await shop.send("GET", location)).json).toMatchObject({ state: "running" });
    await shop.environment.advance(6_000);
    const ended = await shop.send("GET", location);
    fits("DeadLetterJob", ended);
    expect(ended.json).toMatchObject({ state: "done", redriven: 100 });
  });

  test("leaves alone what is buried while it runs", async () => {
    const shop = openLetters();
    for (const id of ["a", "b"]) shop.bury(plainFrame(id));
    // One letter a chunk, and each that goes back fails again.
    const slow = redrive({ dryRun: false, ratePerSecond: 4 });
    shop.state.before = () => void shop.bury(plainFrame("a"));
    const reply = await shop.after(4_000, "POST", "/redrive", slow);
    expect(reply.json).toMatchObject({ job: { state: "done", redriven: 2 } });
    expect((await shop.letters.extent({})).count).toBe(2);
  });

  test("tries a chunk again that came to nothing, or half, and counts once", async () => {
    const shop = openLetters();
    const ids = ["a", "b", "c"].map((id) => shop.bury(plainFrame(id)));
    shop.state.before = (sends) => {
      if (sends === 1) throw new ShopError("SATURATED", "full", "later");
      if (sends === 2)
        return { kind: "letters", results: [{ id: ids[1] ?? 0, result: "missing" }] };
      return undefined;
    };
    const reply = await shop.after(4_000, "POST", "/redrive", redrive({ dryRun: false }));
    expect(reply.json).toMatchObject({ job: { state: "done", redriven: 2, missing: 1 } });
    expect(shop.sent.map(({ command }) => command.ids)).toEqual([
      ids,
      ids,
      [ids[0], ids[2]],
    ] as never);
  });

  test("fails when the shards give no answer, and says so without their words", async () => {
    const shop = openLetters();
    shop.bury(plainFrame("a"));
    shop.state.before = () => {
      throw new ShopError("ASK_TIMEOUT", "secret", "later");
    };
    const reply = await shop.after(5_000, "POST", "/redrive", redrive({ dryRun: false }));
    expect(reply.status).toBe(202);
    await shop.environment.advance(5_000);
    const { json, text } = await shop.send("GET", reply.headers.get("location") ?? "");
    expect(json).toMatchObject({ state: "failed", detail: expect.stringContaining("ASK_TIMEOUT") });
    expect(text).not.toContain("secret");
    expect(shop.sent).toHaveLength(6);
  });

  test("counts what cannot go back and names it", async () => {
    const shop = openLetters();
    const broken = plainFrame("o-1");
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
    const id = shop.bury(broken);
    shop.bury(plainFrame("o-2"));
    const reply = await shop.after(4_000, "POST", "/redrive", redrive({ dryRun: false }));
    const job = { state: "done", redriven: 1, refused: 1, refusedIds: [id] };
    expect(reply.json).toMatchObject({ job });
  });

  test("is refused while as many run as may, and stops when the shop does", async () => {
    const shop = openLetters();
    for (let count = 0; count < 200; count++) shop.bury(plainFrame(`o-${count}`));
    const slow = redrive({ dryRun: false, ratePerSecond: 1 });
    const running = [1, 2, 3, 4].map(() => shop.send("POST", `${PATH}/redrive`, slow));
    await shop.environment.settle();
    expect(problemOf(await shop.send("POST", `${PATH}/redrive`, slow))).toBe("503 saturated");
    shop.jobs.close();
    await shop.environment.settle();
    for (const reply of await Promise.all(running)) {
      expect(reply.json).toMatchObject({ job: { state: "stopped" } });
    }
    expect(shop.environment.pendingTimers()).toBe(0);
    expect(problemOf(await shop.send("POST", `${PATH}/redrive`, slow))).toBe("503 saturated");
  });

  test("refuses bodies that do not fit, naming the place", async () => {
    const { send } = openLetters();
    const bodies = [
      [{}, "#/filter"],
      [{ filter: { status: "x" } }, "#/filter/status"],
      [{ filter: { from: "2025-99-99T00:00:00Z" } }, "#/filter/from"],
      [{ filter: {}, limit: 10_001 }, "#/limit"],
      [{ filter: {}, ratePerSecond: 0 }, "#/ratePerSecond"],
      [{ filter: {}, dryRun: "no" }, "#/dryRun"],
    ] as const;
    for (const [body, pointer] of bodies) {
      const reply = await send("POST", `${PATH}/redrive`, { body });
      expect(problemOf(reply)).toBe("422 invalid-request");
      expect(reply.json).toMatchObject({ errors: [{ pointer }] });
    }
    expect(problemOf(await send("POST", `${PATH}/discard`, { body: { filter: {} } }))).toBe(
      "422 invalid-request",
    );
    expect(problemOf(await send("POST", `${PATH}/redrive`, { body: "{" }))).toBe(
      "400 malformed-json",
    );
  });
});

test("every example of the document fits its schema", () => {
  for (const [name, example] of Object.entries(DEAD_LETTER_EXAMPLES)) {
    const schema = DEAD_LETTER_SCHEMAS[name as DeadLetterSchemaName]; // both have the same names
    expect([name, [...Value.Errors(schema, example)]]).toEqual([name, []]);
  }
});

test("every status that the endpoints give is in the document", () => {
  const { environment: clock, letters, jobs } = openLetters();
  const limits = { bodyBytes: 1, jsonDepth: 1, commandTimeoutMs: 1 };
  const commands = { send: () => Promise.reject(new Error("unused")) };
  const routes = deadLetterRoutes({ environment: clock, limits, commands, letters, jobs });
  const statuses = Object.fromEntries(
    routes.map(({ method, path, operation }) => [
      `${method} ${path.slice(PATH.length)}`,
      Object.keys(operation?.["responses"] ?? {}),
    ]),
  );
  expect(statuses["GET "]).toEqual(expect.arrayContaining(["200", "400", "422", "503"]));
  expect(statuses["GET /:id"]).toEqual(expect.arrayContaining(["200", "400", "404"]));
  const one = ["200", "400", "404", "409", "413", "415", "422", "503", "504"];
  expect(statuses["POST /:id/redrive"]).toEqual(expect.arrayContaining(one));
  const many = ["200", "202", "400", "413", "415", "422", "503"];
  expect(statuses["POST /redrive"]).toEqual(expect.arrayContaining(many));
});
