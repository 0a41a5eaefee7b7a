/**
 * Damaged and hostile bytes: every cut, every flipped bit, every lying length is a value or a
 * `BAD_FRAME`, never a frame that was misread and never another kind of failure.
 */

import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { crc32 } from "node:zlib";

import type { FrameFault } from "./frame-header.ts";

import { isShopError } from "../errors.ts";
import { FRAME_BYTES_MAX } from "../limits.ts";
import { arbitraryFrame } from "./frame.arbitrary.ts";
import { FRAME_HEADER_BYTES } from "./frame-header.ts";
import { checkFrame, decodeFrame, encodeFrame, peekFrame } from "./frame.ts";

const SMALL = encodeFrame({
  type: 7,
  slot: 3,
  key: "order-1",
  payload: Uint8Array.of(1, 2, 3),
  id: "0190163d-8a7f-7c3e-9f2a-1234567890ab",
  timeMs: 1_700_000_000_000,
  headers: { a: "1", b: "é" },
});
const HEADERS_AT = FRAME_HEADER_BYTES + "order-1".length;

test("cut at any byte, a frame is incomplete to peek and TRUNCATED to check", () => {
  fc.assert(
    fc.property(arbitraryFrame, (input) => {
      const bytes = encodeFrame(input);
      for (let cut = 0; cut < bytes.length; cut++) {
        const head = bytes.subarray(0, cut);
        if (peekFrame(head) !== "incomplete") return false;
        if (checkFrame(head) !== "TRUNCATED") return false;
      }
      return peekFrame(bytes) === bytes.length;
    }),
    { numRuns: 50 },
  );
});

test("a stream of frames that arrives in any chunks is split where the frames end", () => {
  const frames = fc.array(arbitraryFrame, { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 200 })), (inputs, chunkBytes) => {
      const sent = inputs.map(encodeFrame);
      const stream = Buffer.concat(sent);
      const received: Uint8Array[] = [];
      let start = 0;
      let end = 0;
      for (let turn = 0; end < stream.length; turn++) {
        end = Math.min(stream.length, end + (chunkBytes[turn % chunkBytes.length] ?? 1));
        const arrived = stream.subarray(0, end);
        for (let length = peekFrame(arrived, start); typeof length === "number";) {
          received.push(new Uint8Array(arrived.subarray(start, start + length)));
          start += length;
          length = peekFrame(arrived, start);
        }
        expect(peekFrame(arrived, start)).toBe("incomplete");
      }
      expect(received).toEqual(sent);
    }),
    { numRuns: 50 },
  );
});

test("no single flipped bit goes unnoticed", () => {
  fc.assert(
    fc.property(arbitraryFrame, (input) => {
      const bytes = encodeFrame(input);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        if (checkFrame(bytes) === undefined) return false;
        bytes[bit >> 3]! ^= 1 << (bit & 7);
      }
      return checkFrame(bytes) === undefined;
    }),
    { numRuns: 30 },
  );
});

test("any other length than the true one is refused, whatever the checksum says", () => {
  for (let length = 0; length < 2 * SMALL.length; length++) {
    if (length === SMALL.length) continue;
    const bytes = sealed((view) => view.setUint32(0, length, true));
    const expected = length < SMALL.length ? "BAD_LENGTH" : "TRUNCATED";
    expect(checkFrame(bytes)).toBe(expected);
  }
});

test("a length beyond the limit is refused before anything is read or made", () => {
  for (const length of [FRAME_BYTES_MAX + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, length, true);
    expect(peekFrame(bytes)).toBe("OVERSIZE");
    expect(checkFrame(bytes)).toBe("OVERSIZE");
  }
});

test("bytes after the frame are refused", () => {
  expect(checkFrame(Buffer.concat([SMALL, Uint8Array.of(0)]))).toBe("BAD_LENGTH");
});

const FORGERIES: readonly (readonly [FrameFault, string, (view: DataView) => void])[] = [
  ["BAD_VERSION", "a version of its own", (view) => view.setUint8(4, 2)],
  ["BAD_VERSION", "a flag nobody knows", (view) => view.setUint8(5, 0x80)],
  ["BAD_TIME", "a NaN time", (view) => view.setFloat64(56, Number.NaN, true)],
  ["BAD_TIME", "a negative deadline", (view) => view.setFloat64(64, -1, true)],
  ["BAD_TIME", "an endless deadline", (view) => view.setFloat64(64, Infinity, true)],
  ["BAD_LENGTH", "a key beyond the frame", (view) => view.setUint16(72, 0xffff, true)],
  ["BAD_LENGTH", "headers one byte longer", (view) => view.setUint16(74, 12, true)],
  ["BAD_LENGTH", "a payload of 4 GiB", (view) => view.setUint32(76, 0xffff_ffff, true)],
  ["BAD_LENGTH", "a payload that wraps 2^32", (view) => view.setUint32(76, 0xffff_fff0, true)],
  ["BAD_KEY", "a key that is no UTF-8", (view) => view.setUint8(FRAME_HEADER_BYTES, 0xff)],
  ["BAD_KEY", "an overlong key", (view) => view.setUint16(FRAME_HEADER_BYTES, 0x80c0, true)],
  ["BAD_HEADERS", "a name of no bytes", (view) => view.setUint8(HEADERS_AT, 0)],
  ["BAD_HEADERS", "a name beyond the run", (view) => view.setUint8(HEADERS_AT, 255)],
  ["BAD_HEADERS", "a value beyond the run", (view) => view.setUint16(HEADERS_AT + 1, 99, true)],
  ["BAD_HEADERS", "a rest that is no header", (view) => view.setUint16(HEADERS_AT + 1, 5, true)],
  ["BAD_HEADERS", "a repeated name", (view) => view.setUint8(HEADERS_AT + 8, 0x61)],
  ["BAD_HEADERS", "a name that is no UTF-8", (view) => view.setUint8(HEADERS_AT + 3, 0x80)],
  ["BAD_HEADERS", "a value that is no UTF-8", (view) => view.setUint8(HEADERS_AT + 4, 0xc3)],
];

test.each(FORGERIES)("%s: %s, under a checksum that fits", (fault, _, forge) => {
  const bytes = sealed(forge);
  expect(checkFrame(bytes)).toBe(fault);
  const error = thrownBy(bytes);
  expect(isShopError(error, "BAD_FRAME") && error.message).toStartWith(fault);
});

test("a header named __proto__ is refused", () => {
  const honest = encodeFrame({ ...decodeFrame(SMALL), headers: { __proto_x: "1" } });
  const at = Buffer.from(honest).indexOf("__proto_x");
  const forged = seal(honest, () => honest.set(Buffer.from("__proto__"), at));
  expect(checkFrame(forged)).toBe("BAD_HEADERS");
});

test("a repeated name is found among many", () => {
  const headers = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`n${at + 10}`, ""]));
  const honest = encodeFrame({ ...decodeFrame(SMALL), headers });
  expect(checkFrame(honest)).toBeUndefined();
  const at = Buffer.from(honest).indexOf("n49");
  expect(checkFrame(seal(honest, () => honest.set(Buffer.from("n12"), at)))).toBe("BAD_HEADERS");
});

test("whatever garbage is accepted under a fitting checksum reads the same after encoding", () => {
  const edit = fc.tuple(fc.nat(), fc.nat(255));
  const edits = fc.array(edit, { minLength: 1, maxLength: 6 });
  let accepted = 0;
  fc.assert(
    fc.property(arbitraryFrame, edits, (input, changes) => {
      const honest = encodeFrame(input);
      const bytes = seal(honest, () => {
        for (const [at, value] of changes) honest[4 + (at % (honest.length - 4))] = value;
      });
      if (checkFrame(bytes) !== undefined) {
        expect(isShopError(thrownBy(bytes), "BAD_FRAME")).toBe(true);
        return;
      }
      accepted++;
      const frame = decodeFrame(bytes);
      expect(decodeFrame(encodeFrame(frame))).toEqual(frame);
    }),
    { numRuns: 3_000 },
  );
  expect(accepted).toBeGreaterThan(100);
});

test("noise is never a frame and never anything but BAD_FRAME", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (noise) => {
      peekFrame(noise);
      expect(checkFrame(noise)).toBeDefined();
      expect(isShopError(thrownBy(noise), "BAD_FRAME")).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

/** A copy of `SMALL`, changed by `forge`, under a checksum that fits. */
function sealed(forge: (view: DataView) => void): Uint8Array {
  const bytes = SMALL.slice();
  return seal(bytes, () => forge(new DataView(bytes.buffer)));
}

function seal(bytes: Uint8Array, change: () => void): Uint8Array {
  change();
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(12, crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))), true);
  return bytes;
}

function thrownBy(bytes: Uint8Array): unknown {
  try {
    decodeFrame(bytes);
  } catch (error) {
    return error;
  }
  return undefined;
}
