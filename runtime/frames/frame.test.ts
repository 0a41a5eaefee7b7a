/**
 * Pins the bytes of a frame and shows that what is encoded is what is read back, by decoding and
 * by every accessor. What is hostile or damaged is in `frame-hostile.test.ts`.
 */

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import type { FrameInput } from "./frame-header.ts";

import { InvariantError, isShopError } from "../errors.ts";
import { FRAME_BYTES_MAX } from "../limits.ts";
import { FLAG_JSON, FRAME_HEADER_BYTES } from "./frame-header.ts";
import * as frames from "./frame.ts";
import { arbitraryFrame } from "./frame.arbitrary.ts";

const { decodeFrame, encodeFrame, encodeFrameInto } = frames;

const INPUT: FrameInput = {
  type: 258,
  slot: 41,
  key: "café-7",
  payload: Uint8Array.of(0x81, 0xa1, 0x61, 0x01),
  id: "0190163d-8a7f-7c3e-9f2a-1234567890ab",
  timeMs: 1_700_000_000_123,
  attempt: 3,
  flags: FLAG_JSON,
  deadlineMs: 1_700_000_005_000,
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "00f067aa0ba902b7",
  headers: { ce_source: "shop", é: "€" },
};
/** Made by Python's `struct` and `zlib` from the picture in `frame-header.ts`. */
const GOLDEN =
  "730000000101020129000300b1096c480190163d8a7f7c3e9f2a1234567890ab" +
  "4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b700b08756febc7842" +
  "0080b857febc78420700180004000000636166c3a92d3709040063655f736f75" +
  "72636573686f70020300c3a9e282ac81a16101";
const MINIMAL: FrameInput = {
  type: 1,
  slot: 0,
  key: "",
  payload: new Uint8Array(0),
  id: "00000000-0000-7000-8000-000000000000",
  timeMs: 0,
};

test("the golden frame encodes to its pinned bytes and decodes from them", () => {
  expect(Buffer.from(encodeFrame(INPUT)).toString("hex")).toBe(GOLDEN);
  const decoded: unknown = decodeFrame(new Uint8Array(Buffer.from(GOLDEN, "hex")));
  expect(decoded).toEqual({ ...INPUT, frameBytes: GOLDEN.length / 2 });
});

test("absent fields are zeros, and an empty key, headers and payload are allowed", () => {
  const bytes = encodeFrame(MINIMAL);
  expect(bytes.length).toBe(FRAME_HEADER_BYTES);
  expect(decodeFrame(bytes)).toMatchObject({
    attempt: 0,
    flags: 0,
    deadlineMs: 0,
    traceId: "0".repeat(32),
    spanId: "0".repeat(16),
    headers: {},
  });
});

test("any frame decodes to what it was made of", () => {
  fc.assert(
    fc.property(arbitraryFrame, (input) => {
      const bytes = encodeFrame(input);
      expect(decodeFrame(bytes)).toEqual({ ...input, frameBytes: bytes.length });
    }),
    { numRuns: 1_000 },
  );
});

test("every accessor reads what decoding gives, also from shared memory at an offset", () => {
  fc.assert(
    fc.property(arbitraryFrame, fc.nat(64), (input, offset) => {
      const shared = new Uint8Array(
        new SharedArrayBuffer(offset + frames.frameBytesBound(input)),
      ).fill(0xaa);
      const length = encodeFrameInto(input, shared, offset);
      const bytes = shared.subarray(offset, offset + length);
      const frame = decodeFrame(bytes);
      expect(Buffer.compare(bytes, encodeFrame(input))).toBe(0);
      expect(frames.peekFrame(shared, offset)).toBe(length);
      expect({
        frameBytes: length,
        flags: frames.frameFlags(bytes),
        type: frames.frameType(bytes),
        slot: frames.frameSlot(bytes),
        attempt: frames.frameAttempt(bytes),
        timeMs: frames.frameTimeMs(bytes),
        deadlineMs: frames.frameDeadlineMs(bytes),
        id: frames.frameId(bytes),
        traceId: frames.frameTraceId(bytes),
        spanId: frames.frameSpanId(bytes),
        key: frames.frameKey(bytes),
        headers: frames.frameHeaders(bytes),
        payload: frames.framePayload(bytes),
      }).toEqual(frame);
      for (const name of [...Object.keys(input.headers ?? {}), "no such header"]) {
        expect(frames.frameHeader(bytes, name)).toBe(input.headers?.[name]);
      }
    }),
    { numRuns: 300 },
  );
});

test("one header is found by its whole name, not by a prefix of it", () => {
  const headers = { ab: "1", a: "2", abc: "3", "é!": "4", é: "5" };
  const bytes = encodeFrame({ ...MINIMAL, headers });
  for (const [name, value] of Object.entries(headers)) {
    expect(frames.frameHeader(bytes, name)).toBe(value);
  }
  for (const name of ["", "b", "abcd", "e", "Ã"]) {
    expect(frames.frameHeader(bytes, name)).toBeUndefined();
  }
});

test("the payload is a view, not a copy", () => {
  const bytes = encodeFrame(INPUT);
  const payload = frames.framePayload(bytes);
  expect(payload.buffer).toBe(bytes.buffer);
  expect(decodeFrame(bytes).payload.buffer).toBe(bytes.buffer);
});

test("a frame is the same whether or not it is small enough for the shared scratch", () => {
  for (const payloadBytes of [16_000, 16_304, 16_305, 17_000, 40_000]) {
    const payload = new Uint8Array(payloadBytes).fill(payloadBytes);
    expect(decodeFrame(encodeFrame({ ...MINIMAL, payload })).payload).toEqual(payload);
  }
});

test("two frames encoded one after the other do not share bytes", () => {
  const first = encodeFrame(INPUT);
  encodeFrame(MINIMAL);
  expect(Buffer.from(first).toString("hex")).toBe(GOLDEN);
});

describe("encoding refuses", () => {
  const unrepresentable: readonly (readonly [string, Partial<FrameInput>])[] = [
    ["a type of 17 bits", { type: 65_536 }],
    ["a negative slot", { slot: -1 }],
    ["half an attempt", { attempt: 0.5 }],
    ["an unknown flag", { flags: 2 }],
    ["half a flag", { flags: 1.5 }],
    ["an id in upper case", { id: "0190163D-8a7f-7c3e-9f2a-1234567890ab" }],
    ["an id without dashes", { id: "0190163d08a7f07c3e09f2a01234567890ab" }],
    ["an id of 35 digits", { id: "0190163d-8a7f-7c3e-9f2a-1234567890a" }],
    ["an id with a foreign letter", { id: "0190163d-8a7f-7c3e-9f2a-1234567890aé" }],
    ["an id with a letter beyond the table", { id: "0190163d-8a7f-7c3e-9f2a-1234567890a鍵" }],
    ["a trace id that is not hex", { traceId: "g".repeat(32) }],
    ["a trace id that is too short", { traceId: "ab" }],
    ["a span id that is too long", { spanId: "a".repeat(17) }],
    ["a time that is NaN", { timeMs: Number.NaN }],
    ["a negative time", { timeMs: -1 }],
    ["an endless deadline", { deadlineMs: Infinity }],
    ["a key with a lone surrogate", { key: "\ud800" }],
    ["a long key with a lone surrogate", { key: `${"x".repeat(100)}\ud800` }],
    ["a key of 65,536 bytes", { key: "k".repeat(65_536) }],
    ["an empty header name", { headers: { "": "x" } }],
    ["a header named __proto__", { headers: JSON.parse('{"__proto__":"x"}') }],
    ["a header name of 256 bytes", { headers: { ["n".repeat(256)]: "x" } }],
    ["a header value with a lone surrogate", { headers: { a: "\udc00" } }],
    ["headers of 65,536 bytes", { headers: { a: "x".repeat(65_532) } }],
  ];

  test.each(unrepresentable)("%s, as BAD_FRAME", (_, change) => {
    const error = thrownBy(() => encodeFrame({ ...INPUT, ...change }));
    expect(isShopError(error, "BAD_FRAME")).toBe(true);
  });

  test("a frame of one byte more than the limit, as PAYLOAD_TOO_LARGE", () => {
    const payload = new Uint8Array(FRAME_BYTES_MAX - FRAME_HEADER_BYTES);
    expect(encodeFrame({ ...MINIMAL, payload }).length).toBe(FRAME_BYTES_MAX);
    for (const key of ["k", "long".repeat(99)]) {
      const error = thrownBy(() => encodeFrame({ ...MINIMAL, payload, key }));
      expect(isShopError(error, "PAYLOAD_TOO_LARGE")).toBe(true);
    }
    const huge = { ...MINIMAL, payload: new Uint8Array(FRAME_BYTES_MAX) };
    expect(
      isShopError(
        thrownBy(() => encodeFrame(huge)),
        "PAYLOAD_TOO_LARGE",
      ),
    ).toBe(true);
  });

  test("a target without room, as a bug", () => {
    const target = new Uint8Array(FRAME_HEADER_BYTES);
    expect(encodeFrameInto(MINIMAL, target, 0)).toBe(FRAME_HEADER_BYTES);
    expect(() => encodeFrameInto(MINIMAL, target, 1)).toThrow(InvariantError);
  });
});

test("the largest key, header name and header value are taken", () => {
  const headers = { ["n".repeat(255)]: "v".repeat(65_535 - 3 - 255) };
  const input = { ...MINIMAL, key: "k".repeat(65_535), headers };
  const frame = decodeFrame(encodeFrame(input));
  expect(frame.key).toBe(input.key);
  expect(frame.headers).toEqual(headers);
});

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
