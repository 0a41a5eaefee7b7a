/**
 * The records of a partition against a plain list: what is read, from anywhere, after any pruning.
 *
 * Sizes go from nothing to more than the largest segment has room for.
 */

import { expect, test } from "bun:test";
import fc from "fast-check";

import { RecordRun } from "./record-run.ts";

const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        append: fc.oneof(fc.nat({ max: 900 }), fc.constantFrom(0, 2_048, 65_536, 70_000)),
      }),
    },
    { weight: 2, arbitrary: fc.record({ dropThrough: fc.nat({ max: 80 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({ after: fc.nat({ max: 80 }), framesMax: fc.nat({ max: 9 }) }),
    },
  ),
  { maxLength: 80 },
);

test("a run reads what was appended and not dropped, in order, within its bounds", () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 4_000 }), (script, bytesMax) => {
      const run = new RecordRun();
      let model: { sequence: number; bytes: Uint8Array }[] = [];
      let tail = 0;
      for (const step of script) {
        if ("append" in step) {
          const bytes = new Uint8Array(step.append).fill(tail + 1);
          const record = run.append(bytes);
          model.push({ sequence: ++tail, bytes });
          expect(record.sequence).toBe(tail);
          expect(Buffer.compare(record.bytes, bytes)).toBe(0);
        } else if ("dropThrough" in step) {
          const gone = model.filter(({ sequence }) => sequence <= step.dropThrough);
          model = model.filter(({ sequence }) => sequence > step.dropThrough);
          const goneBytes = gone.reduce((sum, { bytes }) => sum + bytes.length, 0);
          expect(run.dropThrough(step.dropThrough)).toBe(goneBytes);
        } else {
          const found = run.read(step.after, step.framesMax, bytesMax);
          const wanted = model.filter(({ sequence }) => sequence > step.after);
          expect(found.map(({ sequence }) => sequence)).toEqual(
            within(wanted, step.framesMax, bytesMax),
          );
          for (const { sequence, bytes } of found) {
            expect(bytes.every((byte) => byte === (sequence & 0xff))).toBe(true);
          }
        }
        expect([run.first, run.tail]).toEqual([model[0]?.sequence ?? tail + 1, tail]);
        expect(run.get(run.first - 1)).toBeUndefined();
        expect(run.get(run.first)?.length).toBe(model[0]?.bytes.length);
      }
    }),
  );
});

test("a view that was given out stays as it is when its record is dropped", () => {
  const run = new RecordRun();
  const { bytes } = run.append(new Uint8Array(100).fill(7));
  run.dropThrough(1);
  for (let count = 0; count < 1_000; count++) run.append(new Uint8Array(100).fill(9));
  expect(bytes.every((byte) => byte === 7)).toBe(true);
});

/** As many sequences as the bounds allow, and one more than the bytes allow if it is the first. */
function within(
  records: readonly { readonly sequence: number; readonly bytes: Uint8Array }[],
  framesMax: number,
  bytesMax: number,
): number[] {
  let bytesLeft = bytesMax;
  const taken: number[] = [];
  for (const { sequence, bytes } of records.slice(0, framesMax)) {
    bytesLeft -= bytes.length;
    if (taken.length > 0 && bytesLeft < 0) break;
    taken.push(sequence);
  }
  return taken;
}
