/**
 * What a frame costs to make, to look at, and to take apart, with msgpack and JSON beside it.
 *
 * The peers carry the same order and the same envelope fields, as one map. Every case sums
 * something it had to read or make, so that no work can be optimised away. It measures one thread
 * and warm caches; moving frames between threads is in `ring.bench.ts`.
 */

import { Packr, Unpackr } from "msgpackr";

import type { FrameInput } from "../runtime/frames/frame-header.ts";
import type { BenchCase } from "./harness.ts";

import {
  checkFrame,
  decodeFrame,
  encodeFrame,
  encodeFrameInto,
  frameBytesBound,
  frameKey,
  frameSlot,
  frameType,
} from "../runtime/frames/frame.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { runBench } from "./harness.ts";
import { orderOf } from "./ring-sender.ts";

const MESSAGES = 1_024;
const FAST_COUNT = 2_000_000;
const SLOW_COUNT = 300_000;

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });
const recordPackr = new Packr({ useRecords: true, structures: [] });

const orders = Array.from({ length: MESSAGES }, (_, index) => orderOf(index));
const payloads = orders.map((order) => new Uint8Array(packr.pack(order)));
const inputs = orders.map((order, index): FrameInput => ({
  type: 1,
  slot: order.slot,
  key: order.id,
  payload: payloads[index] ?? new Uint8Array(0),
  id: `0190163d-8a7f-7c3e-9f2a-${index.toString(16).padStart(12, "0")}`,
  timeMs: 1_700_000_000_000 + index,
}));
const maps = inputs.map(({ payload: _, ...envelope }, index) => ({
  ...envelope,
  order: orders[index],
}));
type Envelope = (typeof maps)[number];
const frames = inputs.map(encodeFrame);
const packed = maps.map((map) => new Uint8Array(packr.pack(map)));
const recorded = maps.map((map) => new Uint8Array(recordPackr.pack(map)));
const json = maps.map((map) => JSON.stringify(map));
const target = new Uint8Array(Math.max(...inputs.map(frameBytesBound)));

const slots = inputs.map(({ slot }) => slot);
const bytes = (all: readonly { readonly length: number }[]) => all.map(({ length }) => length);

const sizes = [frames, packed, json].map((all) => all[0]?.length ?? 0);

await runBench(
  [
    each("slot of a key", FAST_COUNT, slots, (at) => slotOf(inputs[at]?.key ?? "", 64)),
    each("frame: read type and slot", FAST_COUNT, slots, (at) => {
      const frame = pick(frames, at);
      return frameSlot(frame) + frameType(frame) - 1;
    }),
    each("frame: read the key", FAST_COUNT, bytes(inputs.map(({ key }) => key)), (at) => {
      return frameKey(pick(frames, at)).length;
    }),
    each("frame: check", FAST_COUNT, slots, (at) => {
      return checkFrame(pick(frames, at)) === undefined ? pick(slots, at) : -1;
    }),
    each("frame: encode", SLOW_COUNT, bytes(frames), (at) => encodeFrame(pick(inputs, at)).length),
    each("frame: encode in place", SLOW_COUNT, bytes(frames), (at) => {
      return encodeFrameInto(pick(inputs, at), target, 0);
    }),
    each("frame: decode, payload left", SLOW_COUNT, slots, (at) => {
      return decodeFrame(pick(frames, at)).slot;
    }),
    each("frame: decode, payload too", SLOW_COUNT, slots, (at) => {
      const frame = decodeFrame(pick(frames, at));
      return slotIn(unpackr.unpack(frame.payload));
    }),
    each("msgpackr maps: encode", SLOW_COUNT, bytes(packed), (at) => {
      return packr.pack(pick(maps, at)).length;
    }),
    each("msgpackr maps: decode", SLOW_COUNT, slots, (at) => {
      return slotIn(unpackr.unpack(pick(packed, at)));
    }),
    each("msgpackr records: decode", SLOW_COUNT, slots, (at) => {
      return slotIn(recordPackr.unpack(pick(recorded, at)));
    }),
    each("JSON: encode", SLOW_COUNT, bytes(json), (at) => JSON.stringify(pick(maps, at)).length),
    each("JSON: decode", SLOW_COUNT, slots, (at) => slotIn(JSON.parse(pick(json, at)))),
  ],
  {
    title: `One order: ${sizes[0]} bytes as a frame, ${sizes[1]} as msgpack, ${sizes[2]} as JSON`,
    unit: "message",
    notes: ["The frame cases check version, lengths, CRC-32 and UTF-8; the peers check nothing."],
  },
);

/** A case that does `work` for each message in turn and sums what it returns. */
function each(
  name: string,
  operations: number,
  expectedOf: readonly number[],
  work: (at: number) => number,
): BenchCase {
  let checksum = 0;
  for (let at = 0; at < operations; at++) checksum += pick(expectedOf, at & (MESSAGES - 1));
  return {
    name,
    operations,
    expected: { count: operations, checksum },
    run() {
      let sum = 0;
      let count = 0;
      for (; count < operations; count++) sum += work(count & (MESSAGES - 1));
      return { count, checksum: sum };
    },
  };
}

function pick<T>(all: readonly T[], at: number): T {
  return all[at]!; // `!`: the index is masked to the number of messages
}

function slotIn(value: Pick<Envelope, "slot">): number {
  return value.slot;
}
