/**
 * What a query may be, what it becomes, and which records it means.
 *
 * No text may become syntax of the database, and what is refused must say what is allowed.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import {
  driverOf,
  ftsExpression,
  matchesColumns,
  matchesTerms,
  parseTerms,
} from "./audit-query.ts";
import { foldText, wordsOf } from "./audit-text.ts";

function termsOf(text: string) {
  const terms = parseTerms(text);
  if ("refused" in terms) throw new Error(terms.refused);
  return terms;
}

describe("free text", () => {
  test.each([
    ["ada berlin", '"ada" AND "berlin"'],
    ['"ada lovelace" berl*', '"ada lovelace" AND "berl" *'],
    ["Zoë STRASSE", '"zoe" AND "strasse"'],
    ["coffee-beans-1kg", '"coffee beans 1kg"'],
    ["coffee-bean*", '"coffee bean" *'],
    ["NOT near(a b) OR text:x", '"not" AND "near a" AND "b" AND "or" AND "text x"'],
    ["^first {x} 'y';--z", '"first" AND "x" AND "y z"'],
  ])("%p is %p", (text, expression) => {
    expect(ftsExpression(termsOf(text))).toBe(expression);
  });

  test.each([
    ["", "at least one word"],
    ["   ", "at least one word"],
    ["- -", "letters or digits"],
    ['""', "letters or digits"],
    ['ada "love', "not closed"],
    ["a*b", "only at the end"],
    ["*ada", "only at the end"],
    ['"ada lov*"', "only at the end"],
    ["ad*", "at least 3"],
    ["*", "letters or digits"],
    ["a ".repeat(17), "at most 16 words"],
    ["a".repeat(201), "at most 200"],
  ])("%p is refused and says what is allowed", (text, reason) => {
    expect(parseTerms(text)).toEqual({ refused: expect.stringContaining(reason) });
  });

  test("never becomes anything but quoted letters and digits", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        const terms = parseTerms(text);
        if ("refused" in terms) return;
        expect(ftsExpression(terms)).toMatch(
          /^"[\p{L}\p{N}\p{Co} ]+"( \*)?( AND "[\p{L}\p{N}\p{Co} ]+"( \*)?)*$/u,
        );
      }),
    );
  });

  test("finds a text by each of its words, by its beginnings and by itself as a phrase", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-zäöéñ0-9 .,-]{1,40}$/), (text) => {
        const words = wordsOf(text);
        fc.pre(words.length > 0 && words.length <= 16);
        for (const word of words) expect(matchesTerms([text], termsOf(word))).toBe(true);
        expect(matchesTerms([text], termsOf(`"${text}"`))).toBe(true);
        const long = words.find((word) => word.length >= 4);
        if (long === undefined) return;
        expect(matchesTerms([text], termsOf(`${long.slice(0, 3)}*`))).toBe(true);
      }),
    );
  });

  test("folded text has the same words, whatever it was written in", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(wordsOf(foldText(text))).toEqual(wordsOf(text));
      }),
    );
  });

  test("a phrase does not reach from one text into the next", () => {
    const texts = ["ada", "lovelace street"];
    expect(matchesTerms(texts, termsOf("ada lovelace"))).toBe(true);
    expect(matchesTerms(texts, termsOf('"ada lovelace"'))).toBe(false);
    expect(matchesTerms(texts, termsOf('"lovelace street"'))).toBe(true);
    expect(matchesTerms(texts, termsOf("love"))).toBe(false);
  });
});

describe("conditions", () => {
  const record = { type: 1, orderId: "o", customerId: "c", atMs: 10 };

  test.each([
    [{}, true],
    [{ orderId: "o", customerId: "c", type: 1, fromMs: 10, toMs: 11 }, true],
    [{ orderId: "x" }, false],
    [{ customerId: "x" }, false],
    [{ type: 2 }, false],
    [{ fromMs: 11 }, false],
    [{ toMs: 10 }, false],
  ])("%p on one record: %p", (query, isMatch) => {
    expect(matchesColumns(record, { limit: 1, ...query })).toBe(isMatch);
  });

  test("the narrowest one drives", () => {
    const terms = termsOf("ada");
    expect(driverOf({ limit: 1, orderId: "o", customerId: "c", terms, type: 1 })).toBe("order");
    expect(driverOf({ limit: 1, customerId: "c", terms, type: 1 })).toBe("customer");
    expect(driverOf({ limit: 1, terms, type: 1 })).toBe("words");
    expect(driverOf({ limit: 1, type: 1 })).toBe("type");
    expect(driverOf({ limit: 1, fromMs: 1 })).toBe("all");
  });
});
