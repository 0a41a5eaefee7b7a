/**
 * Foreign JSON is a value or `BAD_MESSAGE`, and what is too deep costs no parser anything.
 *
 * No I/O.
 */

import { expect, spyOn, test } from "bun:test";
import fc from "fast-check";

import { isShopError } from "../../runtime/errors.ts";
import { parseForeignJson } from "./foreign-json.ts";

/** As deep as msgpack may be; see `codec.ts`. */
const DEPTH_MAX = 16;

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Of containers in containers; 0: none. */
function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

function refusal(bytes: Uint8Array): string {
  try {
    parseForeignJson(bytes);
  } catch (error) {
    if (isShopError(error, "BAD_MESSAGE") && error.retry === "never") return error.message;
    throw error;
  }
  return "nothing refused";
}

test("a value is refused for its depth, not for brackets and quotes in its texts", () => {
  const text = fc.string({ unit: fc.constantFrom("{", "}", "[", "]", '"', "\\", "u", "ä") });
  const { value: tree } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      text,
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(text, tie("value"), { maxKeys: 3 }),
    ),
  }));
  fc.assert(
    fc.property(tree, fc.nat({ max: 20 }), (value, around) => {
      const json = `${"[".repeat(around)}${JSON.stringify(value)}${"]".repeat(around)}`;
      if (around + depthOf(value) > DEPTH_MAX) {
        expect(refusal(bytesOf(json))).toBe(`nested deeper than ${DEPTH_MAX}`);
      } else {
        expect(parseForeignJson(bytesOf(json))).toEqual(JSON.parse(json));
      }
    }),
  );
});

test("many beside each other are not deep", () => {
  const json = `[${Array.from({ length: 100 }, () => '{"a":[]}').join(",")}]`;
  expect(parseForeignJson(bytesOf(json))).toEqual(JSON.parse(json));
});

test.each(["[", '{"a":'])("what opens %p without end reaches no parser", (open) => {
  const parse = spyOn(JSON, "parse");
  try {
    expect(refusal(bytesOf(open.repeat(100_000)))).toBe(`nested deeper than ${DEPTH_MAX}`);
    expect(parse).not.toHaveBeenCalled();
  } finally {
    parse.mockRestore();
  }
});

test("arbitrary bytes are a value or refused", () => {
  const text = fc.string({ unit: fc.constantFrom("{", "}", "[", "]", '"', "\\", ":", ",", "1") });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), text.map(bytesOf)), (bytes) => {
      expect(refusal(bytes)).toMatch(/^(nothing refused|not JSON: .*|nested deeper than 16)$/);
    }),
  );
});
