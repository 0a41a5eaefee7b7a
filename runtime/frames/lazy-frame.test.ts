/**
 * A lazy frame is the frame that decoding makes, field for field, and refuses what it refuses.
 *
 * Also here: a frame's slot and its checksum where they stand, against the plain way to them.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import type { Frame } from "./frame-header.ts";

import { frameChecksum } from "./frame-checksum.ts";
import { arbitraryFrame } from "./frame.arbitrary.ts";
import { decodeFrame, encodeFrame, frameKeySlot } from "./frame.ts";
import { lazyFrame } from "./lazy-frame.ts";
import { slotOf } from "./murmur2.ts";

test("a lazy frame answers what a decoded one does, the second time too", () => {
  fc.assert(
    fc.property(arbitraryFrame, (input) => {
      const bytes = encodeFrame(input);
      const lazy = lazyFrame(bytes);
      expect(fieldsOf(lazy)).toEqual(decodeFrame(bytes));
      expect(fieldsOf(lazy)).toEqual(decodeFrame(bytes));
    }),
  );
});

test("no bit of a frame can flip without being refused", () => {
  fc.assert(
    fc.property(arbitraryFrame, fc.nat(), (input, place) => {
      const bytes = encodeFrame(input);
      const bit = place % (8 * bytes.length);
      bytes[bit >>> 3]! ^= 1 << (bit & 7); // `!`: the remainder is within the frame
      expect(() => lazyFrame(bytes)).toThrow();
    }),
  );
});

test("the slot of a key is the same by its bytes and by its text", () => {
  fc.assert(
    fc.property(arbitraryFrame, fc.integer({ min: 1, max: 4_096 }), (input, slots) => {
      expect(frameKeySlot(encodeFrame(input), slots)).toBe(slotOf(input.key, slots));
    }),
  );
});

test("the checksum is the CRC-32 of everything but its own four bytes, wherever it stands", () => {
  const bytes = fc.uint8Array({ minLength: 80, maxLength: 400 });
  fc.assert(
    fc.property(bytes, fc.nat({ max: 20 }), (frame, at) => {
      const rest = Buffer.concat([frame.subarray(0, 12), frame.subarray(16)]);
      const around = Buffer.concat([new Uint8Array(at), frame, new Uint8Array(3)]);
      expect(frameChecksum(frame, 0, frame.length)).toBe(Bun.hash.crc32(rest));
      expect(frameChecksum(around, at, frame.length)).toBe(Bun.hash.crc32(rest));
    }),
  );
});

function fieldsOf(frame: Frame): Frame {
  const { frameBytes, flags, type, slot, attempt, timeMs, deadlineMs } = frame;
  const { id, traceId, spanId, key, headers, payload } = frame;
  const header = { frameBytes, flags, type, slot, attempt, timeMs, deadlineMs };
  return { ...header, id, traceId, spanId, key, headers, payload };
}
