/**
 * JSON as strict-json takes it, held against `JSON.parse` and against slow, obvious oracles.
 *
 * What it takes must be what everybody reads; what it refuses must be what readers disagree about.
 */

import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { canonicalJson, fingerprint } from "./idempotency.ts";
import { parseStrictJson } from "./strict-json.ts";

const DEPTH = 16;

function read(text: string): unknown {
  const result = parseStrictJson(text, DEPTH);
  return "refused" in result ? result.refused : result.value;
}

function refused(text: string, depthMax = DEPTH): string | undefined {
  const result = parseStrictJson(text, depthMax);
  return "refused" in result ? result.refused : undefined;
}

const names = fc.string({ unit: "binary" }).filter((name) => name.isWellFormed());
const exact = fc.oneof(
  fc.integer(),
  fc.integer().map((cents) => cents / 100),
);
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    exact,
    names,
    fc.array(tie("tree"), { maxLength: 4 }),
    fc.dictionary(
      names.filter((name) => !["__proto__", "constructor", "prototype"].includes(name)),
      tie("tree"),
      { maxKeys: 4, noNullPrototype: true },
    ),
  ),
}));

test("every value that JSON can write, in any spacing, is read as JSON.parse reads it", () => {
  fc.assert(
    fc.property(tree, fc.constantFrom(undefined, 1, "\t"), (value, space) => {
      const text = JSON.stringify(value, null, space);
      expect(read(text)).toEqual(JSON.parse(text));
    }),
    { numRuns: 500 },
  );
});

test("any text that JSON.parse refuses is refused, and none makes it throw", () => {
  const characters = fc.constantFrom(...'{}[]:,"\\u0041 eE.-+019truefalsn'.split(""));
  fc.assert(
    fc.property(fc.array(characters, { maxLength: 24 }), (picked) => {
      const text = picked.join("");
      let parses = true;
      try {
        JSON.parse(text);
      } catch {
        parses = false;
      }
      if (!parses) expect(refused(text)).toBeString();
    }),
    { numRuns: 2000 },
  );
});

test("a name that occurs twice in one object is refused, however it is spelt", () => {
  const spelling = fc.constantFrom("a", "\\u0061");
  fc.assert(
    fc.property(
      spelling,
      spelling,
      fc.constantFrom("x", ":", "{", '\\"', "a"),
      (one, two, text) => {
        const twice = `{"${one}":1,"b":[{"c":"${text}"}],"${two}":2}`;
        expect(refused(twice)).toBe("a member name occurs twice in one object");
        expect(refused(`[{"${one}":"${text}"},{"${two}":{"${one}":2}}]`)).toBeUndefined();
      },
    ),
  );
});

test("nesting is bounded by counting brackets outside of strings", () => {
  expect(refused("[".repeat(4) + "]".repeat(4), 4)).toBeUndefined();
  expect(refused("[".repeat(5) + "]".repeat(5), 4)).toBe("nested deeper than 4");
  expect(refused('{"a":{"b":{"c":{}}}}', 4)).toBeUndefined();
  expect(refused('{"a":{"b":{"c":{"d":[]}}}}', 4)).toBe("nested deeper than 4");
  expect(refused(`["${"[".repeat(99)}"]`, 4)).toBeUndefined();
  expect(refused("[],".repeat(9), 4)).toBe("not well-formed JSON");
  expect(refused("[".repeat(1_000_000), 4)).toBe("nested deeper than 4");
});

test("names that reach for a prototype are refused at any depth", () => {
  for (const name of ["__proto__", "constructor", "prototype", "\\u005f_proto__"]) {
    expect(refused(`[{"a":{"${name}":1}}]`)).toContain("is refused");
  }
  expect(refused('{"a":"__proto__"}')).toBeUndefined();
});

test("a number is taken exactly when reading it does not change it", () => {
  const takes = ["0.1", "10.00", "1e2", "1.5E+3", "-0.07", "0.000", "0e-999", "123456789012.34"];
  const refuses = ["0.1000000000000000055", "1e-400", "1e400", "9007199254740993.5", "1.0e-999"];
  for (const literal of takes) expect(read(`[${literal}]`)).toEqual([Number(literal)]);
  for (const literal of refuses) {
    expect(refused(`{"a":${literal}}`)).toBe("a number has more digits than can be kept");
  }
});

test("two amounts that are written differently in value are never read as one", () => {
  const cents = fc.integer({ min: 0, max: 10 ** 11 });
  fc.assert(
    fc.property(
      cents,
      fc.string({ unit: fc.constantFrom("0", "1", "5", "9"), maxLength: 20 }),
      (minor, tail) => {
        const literal = `${Math.floor(minor / 100)}.${String(minor % 100).padStart(2, "0")}${tail}`;
        const value = parseStrictJson(literal, DEPTH);
        const isWhole = /^0*$/.test(tail);
        if (!("refused" in value) && !isWhole) expect(value.value).not.toBe(minor / 100);
      },
    ),
  );
});

test("strings full of backslashes and quotes end where they end", () => {
  for (const text of [
    String.raw`"\\"`,
    String.raw`"\""`,
    String.raw`"\\\""`,
    String.raw`"a\\\\"`,
  ]) {
    expect(read(`[${text},{"k":${text}}]`)).toEqual(JSON.parse(`[${text},{"k":${text}}]`));
  }
  expect(refused(String.raw`"\"`)).toBe("not well-formed JSON");
});

test("half a surrogate pair is refused, a whole one is not", () => {
  expect(refused(String.raw`"\ud83d"`)).toContain("surrogate");
  expect(refused(String.raw`{"\ud83d":1}`)).toContain("surrogate");
  expect(read(String.raw`"\ud83d\ude00"`)).toBe("😀");
  expect(read(String.raw`"\\ud83d"`)).toBe(String.raw`\ud83d`);
});

test("a large body is read in time proportional to its size", () => {
  const timeOf = (text: string) => {
    const start = performance.now();
    expect(refused(text)).toBe("not well-formed JSON");
    return performance.now() - start;
  };
  // Quadratic scanning of 256 KiB would take minutes.
  expect(timeOf(`["${'\\"'.repeat(130_000)}`)).toBeLessThan(2000);
  expect(timeOf(`["${"\\".repeat(262_000)}`)).toBeLessThan(2000);
  expect(timeOf("1.".repeat(131_000))).toBeLessThan(2000);
  expect(timeOf('"",'.repeat(87_000))).toBeLessThan(2000);
});

test("the fingerprint depends on the value and not on how it is written", () => {
  fc.assert(
    fc.property(tree, tree, (left, right) => {
      const rewritten: unknown = JSON.parse(JSON.stringify(left, null, 1));
      expect(fingerprint(rewritten)).toBe(fingerprint(JSON.parse(JSON.stringify(left))));
      const isSame = Bun.deepEquals(
        JSON.parse(canonicalJson(left)),
        JSON.parse(canonicalJson(right)),
      );
      expect(fingerprint(left) === fingerprint(right)).toBe(isSame);
    }),
  );
  expect(canonicalJson({ b: [{ d: 1, c: "x" }], a: null })).toBe(
    '{"a":null,"b":[{"c":"x","d":1}]}',
  );
  expect(fingerprint({})).toMatch(/^[0-9a-f]{64}$/);
});
