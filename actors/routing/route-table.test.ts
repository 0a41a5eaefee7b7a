/**
 * The route table: what matches, in which order, and how often a payload is decoded for it.
 *
 * A naive reading of the rows is the reference that random tables are compared with.
 */

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import type { KnownWorld } from "./route-refusals.ts";
import type { RouteRow } from "./route-row.ts";
import type { FrameFields } from "./routing-world.suite.ts";

import { isShopError } from "../../runtime/errors.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { compileRoutes } from "./compile-routes.ts";
import { LOCAL } from "./route-row.ts";
import { BytesView, decodePayload, FrameView } from "./route-view.ts";
import { BUILT_IN, KNOWN, makeFrame, placesOf, TYPES } from "./routing-world.suite.ts";

const environment = createVirtualEnvironment();
const TO_ALPHA = [{ broker: "alpha", topic: "copies" }];

function compile(...configured: readonly RouteRow[]) {
  return compileRoutes({ configured, builtIn: BUILT_IN, unmatched: "dead_letter" }, KNOWN);
}

function route(row: Omit<RouteRow, "name" | "to">, fields: FrameFields, topic = "orders") {
  const table = compile({ name: "own", to: TO_ALPHA, ...row });
  const bytes = makeFrame(environment, fields);
  const fromBytes = placesOf(table.source(LOCAL).decide(new BytesView(topic, bytes)));
  const fromFrame = placesOf(table.source(LOCAL).decide(new FrameView(topic, decodeFrame(bytes))));
  expect(fromFrame).toEqual(fromBytes);
  return fromBytes[0];
}

const MATCHES: readonly [string, Omit<RouteRow, "name" | "to">, FrameFields, boolean][] = [
  ["everything, when it says nothing", {}, {}, true],
  ["a type by its name", { match: { types: ["order.created"] } }, { type: 1 }, true],
  ["no other type", { match: { types: ["order.created"] } }, { type: 2 }, false],
  ["all types that begin so", { match: { types: ["order.*"] } }, { type: 2 }, true],
  ["no type that begins otherwise", { match: { types: ["order.*"] } }, { type: 6 }, false],
  ["a topic", { match: { topics: ["orders"] } }, {}, true],
  ["no other topic", { match: { topics: ["payments"] } }, {}, false],
  ["where the frame comes from", { match: { from: [LOCAL] } }, {}, true],
  ["nothing from elsewhere", { match: { from: ["beta"] } }, {}, false],
  ["the beginning of a key", { match: { keyPrefix: "eu-" } }, { key: "eu-1" }, true],
  ["no other key", { match: { keyPrefix: "eu-" } }, { key: "us-1" }, false],
  ["a header", { match: { headers: { a: "1" } } }, { headers: { a: "1" } }, true],
  [
    "no header of another value",
    { match: { headers: { a: "1" } } },
    { headers: { a: "2" } },
    false,
  ],
  ["no frame without the header", { match: { headers: { a: "1" } } }, {}, false],
  ["the high lane", { match: { priority: "high" } }, { headers: { priority: "high" } }, true],
  ["the normal lane, named or not", { match: { priority: "normal" } }, {}, true],
  [
    "an equal field",
    { match: { payload: [{ path: "a.b", eq: 1 }] } },
    { body: { a: { b: 1 } } },
    true,
  ],
  ["no unequal field", { match: { payload: [{ path: "a", eq: 1 }] } }, { body: { a: "1" } }, false],
  [
    "an item of a list",
    { match: { payload: [{ path: "a.1", eq: "y" }] } },
    { body: { a: ["x", "y"] } },
    true,
  ],
  [
    "one of several",
    { match: { payload: [{ path: "a", in: ["x", 2] }] } },
    { body: { a: 2 } },
    true,
  ],
  [
    "none of several",
    { match: { payload: [{ path: "a", in: ["x", 2] }] } },
    { body: { a: 3 } },
    false,
  ],
  [
    "a number from below",
    { match: { payload: [{ path: "a", gte: 5 }] } },
    { body: { a: 5 } },
    true,
  ],
  [
    "no number below it",
    { match: { payload: [{ path: "a", gte: 5 }] } },
    { body: { a: 4 } },
    false,
  ],
  [
    "a number from above",
    { match: { payload: [{ path: "a", lte: 5 }] } },
    { body: { a: 5 } },
    true,
  ],
  [
    "no text as a number",
    { match: { payload: [{ path: "a", lte: 5 }] } },
    { body: { a: "4" } },
    false,
  ],
  [
    "no field of the prototype",
    { match: { payload: [{ path: "constructor.name", eq: "Object" }] } },
    {},
    false,
  ],
  [
    "only when everything holds",
    { match: { keyPrefix: "k", headers: { a: "1" } } },
    { key: "k" },
    false,
  ],
];

describe("a row matches", () => {
  for (const [name, row, fields, isHit] of MATCHES) {
    test(name, () => {
      expect(route(row, fields) === "alpha/copies").toBe(isHit);
    });
  }
});

describe("of several rows", () => {
  const row = (name: string, more: Partial<RouteRow> = {}): RouteRow => ({
    name,
    to: [{ broker: "alpha", topic: "copies" }],
    ...more,
  });
  const decide = (rows: readonly RouteRow[], fields: FrameFields = {}) =>
    compile(...rows)
      .source(LOCAL)
      .decide(new BytesView("orders", makeFrame(environment, fields)));

  test("the first that matches wins", () => {
    const first = row("first", { match: { keyPrefix: "k" } });
    expect(decide([first, row("second")]).rows.map(({ name }) => name)).toEqual(["first"]);
  });
  test("one with `also` lets the next match too, and no place gets a frame twice", () => {
    const tap = row("tap", { also: true, to: [{ broker: "beta", topic: "copies" }, ...TO_ALPHA] });
    const decision = decide([tap, row("rest")]);
    expect(placesOf(decision)).toEqual(["beta/copies", "alpha/copies"]);
    expect(decision.rows.map(({ name }) => name)).toEqual(["tap", "rest"]);
  });
  test("a configured one replaces the built-in one of its name, in its place", () => {
    const table = compile(row("payments", { match: { types: ["payment.processed"] } }));
    expect(table.rows.map(({ name, isBuiltIn }) => [name, isBuiltIn])).toEqual([
      ["orders", true],
      ["payments", false],
    ]);
  });
  test("a type that nobody knows goes where no row asks for a type, or nowhere", () => {
    expect(placesOf(decide([], { type: 999 }))).toEqual([]);
    expect(
      placesOf(decide([row("any", { match: { topics: ["orders"] } })], { type: 999 })),
    ).toEqual(["alpha/copies"]);
  });
});

describe("the payload", () => {
  const counting = () => {
    let decoded = 0;
    const decode = (payload: Uint8Array, flags: number): unknown => {
      decoded++;
      return decodePayload(payload, flags);
    };
    return { decode, count: () => decoded };
  };
  const looks = (name: string, eq: number, more: object = {}): RouteRow => ({
    name,
    to: TO_ALPHA,
    match: { payload: [{ path: "a", eq }], ...more },
  });

  test("is decoded once, however many rules look inside", () => {
    const { decode, count } = counting();
    const table = compile(looks("one", 1), looks("two", 2), looks("three", 3));
    const bytes = makeFrame(environment, { body: { a: 3 } });
    const decision = table.source(LOCAL).decide(new BytesView("orders", bytes, decode));
    expect(decision.rows.map(({ name }) => name)).toEqual(["three"]);
    expect(count()).toBe(1);
  });
  test("is not decoded when no rule looks inside, or the header says no already", () => {
    const { decode, count } = counting();
    const bytes = makeFrame(environment, { key: "k" });
    const table = compile(
      looks("by-key", 1, { keyPrefix: "other" }),
      looks("by-type", 1, { types: ["order.shipped"] }),
    );
    table.source(LOCAL).decide(new BytesView("orders", bytes, decode));
    expect(count()).toBe(0);
  });
  test("that does not decode matches no rule that looks inside, and is tried once", () => {
    const { decode, count } = counting();
    const table = compile(looks("one", 1), looks("two", 2));
    for (const flags of [0, FLAG_JSON]) {
      const id = environment.newId();
      const payload = new Uint8Array([0xc1, 0x7b]);
      const bytes = encodeFrame({ type: 1, slot: 0, key: "k", id, timeMs: 1, payload, flags });
      const view = new BytesView("orders", bytes, decode);
      expect(placesOf(table.source(LOCAL).decide(view))).toEqual([`${LOCAL}/orders`]);
    }
    expect(count()).toBe(2);
  });
  test("of a foreign producer may be JSON, within the depth of msgpack", () => {
    const placesWith = (json: string): readonly string[] => {
      const payload = new TextEncoder().encode(json);
      const fields = { type: 1, slot: 0, key: "k", id: environment.newId(), timeMs: 1 };
      const view = new BytesView("orders", encodeFrame({ ...fields, payload, flags: FLAG_JSON }));
      return placesOf(compile(looks("one", 1)).source(LOCAL).decide(view));
    };
    const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;
    expect(placesWith(`{"a":1,"b":${nested(15)}}`)).toEqual(["alpha/copies"]);
    expect(placesWith(`{"a":1,"b":${nested(16)}}`)).toEqual([`${LOCAL}/orders`]);
  });
});

const TOPICS = ["orders", "payments", "elsewhere"];
const rowOf = fc.record({
  match: fc.record(
    {
      from: fc.subarray([LOCAL, "alpha"], { minLength: 1 }),
      topics: fc.subarray(["orders", "payments"], { minLength: 1 }),
      types: fc.subarray(["order.created", "order.*", "payment.processed"], { minLength: 1 }),
      keyPrefix: fc.constantFrom("a", "ab"),
      headers: fc.constantFrom({ h: "1" }, { h: "2" }, { h: "1", i: "1" }),
      payload: fc.constantFrom(
        [{ path: "n", gte: 5 }],
        [{ path: "n", eq: 5 }],
        [{ path: "n", lte: 2 }],
      ),
    },
    { requiredKeys: [] },
  ),
  also: fc.boolean(),
});
const frameOf = fc.record({
  from: fc.constantFrom(LOCAL, "alpha", "beta"),
  topic: fc.constantFrom(...TOPICS),
  type: fc.constantFrom(1, 2, 6, 77),
  key: fc.constantFrom("a", "ab", "b"),
  headers: fc.constantFrom({}, { h: "1" }, { h: "2" }, { h: "1", i: "1" }),
  n: fc.constantFrom(1, 5, 9),
});

/** Each broker may have any topic. */
const ANYWHERE: KnownWorld = {
  brokers: new Map([LOCAL, "alpha", "beta"].map((broker) => [broker, {}])),
  types: TYPES,
};

/** Reads the rows from top to bottom, as their description says. */
function naive(
  rows: readonly RouteRow[],
  frame: typeof frameOf extends fc.Arbitrary<infer F> ? F : never,
) {
  const names: string[] = [];
  const typeName = new Map([
    [1, "order.created"],
    [2, "order.shipped"],
    [6, "payment.processed"],
  ]);
  for (const { name, match = {}, also } of rows) {
    const own: string = typeName.get(frame.type) ?? "";
    const headers: Readonly<Record<string, string>> = frame.headers;
    const [payload] = match.payload ?? [];
    const holds =
      (match.from?.includes(frame.from) ?? true) &&
      (match.topics?.includes(frame.topic) ?? true) &&
      (match.types?.some((type) =>
        type === "order.*" ? own.startsWith("order.") : own === type,
      ) ??
        true) &&
      frame.key.startsWith(match.keyPrefix ?? "") &&
      Object.entries(match.headers ?? {}).every(([header, value]) => headers[header] === value) &&
      (payload === undefined ||
        ("gte" in payload && frame.n >= payload.gte) ||
        ("lte" in payload && frame.n <= payload.lte) ||
        ("eq" in payload && frame.n === payload.eq));
    if (!holds) continue;
    names.push(name);
    if (also !== true) break;
  }
  return names;
}

test("any table decides as a reading of its rows from top to bottom does", () => {
  fc.assert(
    fc.property(
      fc.array(rowOf, { maxLength: 8 }),
      fc.array(frameOf, { maxLength: 20 }),
      (made, frames) => {
        const rows = made.map((row, at): RouteRow => ({ name: `r${at}`, to: TO_ALPHA, ...row }));
        let table;
        try {
          const builtIn: readonly RouteRow[] = [];
          table = compileRoutes({ configured: rows, builtIn, unmatched: "dead_letter" }, ANYWHERE);
        } catch (error) {
          // A row that can never match is refused: leaving it out changes no decision.
          if (!isShopError(error, "BAD_CONFIGURATION")) throw error;
          expect(error.message).toContain("can never match");
          table = compileRoutes(
            { configured: [], builtIn: rows, unmatched: "dead_letter" },
            ANYWHERE,
          );
        }
        for (const frame of frames) {
          const { topic, n, from, ...fields } = frame;
          const bytes = makeFrame(environment, { ...fields, body: { n } });
          const decision = table.source(from).decide(new BytesView(topic, bytes));
          expect(decision.rows.map(({ name }) => name)).toEqual(naive(rows, frame));
        }
      },
    ),
    { numRuns: 300 },
  );
});
