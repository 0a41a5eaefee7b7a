/**
 * What acting on letters becomes, without any storage: a table of letters and what is written.
 *
 * Whatever cannot be published again must be refused here, and take nothing with it.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import type { KeptLetter } from "./letter-port.ts";
import type { LetterCommand } from "./letter-unit.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { FRAME_BYTES_MAX } from "../../runtime/limits.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { decodeEvent } from "../delivery/decode-message.ts";
import { letterUnit } from "./letter-unit.ts";

const SLOTS = 4;
const environment = createVirtualEnvironment();
const TERMS = {
  environment,
  slots: SLOTS,
  cause: { correlationId: "c", causationId: "m", traceId: "0".repeat(32) },
};
const REDRIVE: LetterCommand = { type: "deadletter.redrive", letterKey: "1", ids: [1] };
const DISCARD: LetterCommand = { type: "deadletter.discard", letterKey: "1", ids: [1], why: "old" };

function frameOf(payloadBytes: number): Uint8Array {
  const payload = new Uint8Array(payloadBytes);
  const id = environment.newId();
  return encodeFrame({ type: 1, slot: slotOf("k", SLOTS), key: "k", payload, id, timeMs: 5 });
}

function letterOf(parts: Partial<KeptLetter> = {}): KeptLetter {
  const burial = { reason: "poison", attempts: 5, firstError: "a", lastError: "b" };
  const place = { id: 1, group: "g", topic: "orders", partition: 3, sequence: 12 };
  return { ...place, bytes: frameOf(1), burial, buriedAtMs: 0, ...parts };
}

const burialFor = (reason: string) => ({ ...letterOf().burial, reason });

const REFUSED: readonly (readonly [name: string, letter: KeptLetter, detail: string])[] = [
  ["bytes that are no frame", letterOf({ bytes: Uint8Array.of(1, 2) }), "BAD_FRAME"],
  ["a damaged letter", letterOf({ damage: "it fails its checksum" }), "it fails its checksum"],
  [
    "a frame that has no room for the header",
    letterOf({ bytes: frameOf(FRAME_BYTES_MAX - 81) }),
    "PAYLOAD_TOO_LARGE",
  ],
];

test.each([...REFUSED])("%s can be discarded, not put back", (_name, letter, detail) => {
  const { unit, results } = letterUnit(REDRIVE, [letter], TERMS);
  const refusal = { id: 1, result: "refused", detail: expect.stringContaining(detail) } as const;
  expect(results).toEqual([refusal]);
  expect([unit.outgoing, unit.deadLettersRemoved]).toEqual([[], []]);
  const discarded = letterUnit(DISCARD, [letter], TERMS);
  expect(discarded.results).toEqual([{ id: 1, result: "discarded" }]);
  expect(discarded.unit.deadLettersRemoved).toEqual([1]);
  expect(discarded.unit.outgoing.map(({ topic }) => topic)).toEqual(["operations"]);
});

test("a reason that is longer than the audit takes is cut, and one that is empty is named", () => {
  for (const [reason, told] of [
    ["x".repeat(4_096), "x".repeat(500)],
    ["", "none"],
  ] as const) {
    const { unit } = letterUnit(DISCARD, [letterOf({ burial: burialFor(reason) })], TERMS);
    const event = decodeEvent(decodeFrame(unit.outgoing[0]?.frame ?? new Uint8Array()));
    expect(event).toMatchObject({ type: "deadletter.discarded", reason: told, why: "old" });
  }
});

test("no letter is taken out without being published and told, and none is told without", () => {
  const letters = fc.uniqueArray(
    fc.record({ id: fc.integer({ min: 1, max: 1_000 }), isFrame: fc.boolean() }),
    { selector: ({ id }) => id, maxLength: 20 },
  );
  fc.assert(
    fc.property(letters, fc.boolean(), (drawn, isRedrive) => {
      const kept = drawn.map(({ id, isFrame }) =>
        letterOf({ id, ...(isFrame ? {} : { bytes: Uint8Array.of(0) }) }),
      );
      const { unit, results } = letterUnit(isRedrive ? REDRIVE : DISCARD, kept, TERMS);
      const taken = drawn.filter(({ isFrame }) => isFrame || !isRedrive).map(({ id }) => id);
      expect(unit.deadLettersRemoved).toEqual(taken);
      expect(results.map(({ id }) => id)).toEqual(drawn.map(({ id }) => id));
      const told = unit.outgoing
        .filter(({ topic }) => topic === "operations")
        .map(({ frame }) => Number(decodeFrame(frame).key));
      expect(told).toEqual(taken);
      const back = unit.outgoing.filter(({ topic }) => topic === "orders");
      expect(back).toHaveLength(isRedrive ? taken.length : 0);
    }),
  );
});
