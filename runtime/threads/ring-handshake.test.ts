/**
 * The two handshakes of sleeping: first one call after the other, then at every interleaving in
 * which one side's call happens between two atomic steps of the other's. Whoever went to sleep is
 * either rung or has nothing to wake for.
 *
 * Stress alone does not find a wrong order of two atomic steps: the window is a few nanoseconds.
 * Here the steps are counted by standing in for `Atomics` while a call runs.
 */

import { expect, test } from "bun:test";

import { InvariantError } from "../errors.ts";
import { createRing } from "./ring-layout.ts";
import { RingReader, RingWriter } from "./ring.ts";

const STEPS_MAX = 12;

test("a parked reader costs one bell, however many records follow", () => {
  const memory = createRing(256);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  expect(reader.park()).toBe(true);
  expect(writer.flush()).toBe(false);
  writer.tryWrite(1);
  expect(writer.flush()).toBe(true);
  writer.tryWrite(2);
  expect(writer.flush()).toBe(false);
  expect([reader.next(), reader.next(), reader.next()]).toEqual([true, true, false]);
});

test("a reader does not sleep over a record that came before its flag", () => {
  const memory = createRing(256);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  expect(reader.next()).toBe(false);
  writer.tryWrite(1);
  expect(writer.flush()).toBe(false);
  expect(reader.park()).toBe(false);
  writer.tryWrite(2);
  expect(writer.flush()).toBe(false);
});

test("a reader sleeps although records are taken and not yet released", () => {
  const memory = createRing(256);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  writer.tryWrite(1);
  writer.flush();
  reader.next();
  expect(reader.park()).toBe(true);
  reader.unpark();
  writer.tryWrite(1);
  expect(writer.flush()).toBe(false);
});

test("a parked writer is woken when its record fits, not before", () => {
  const { writer, reader } = ringOfFour();
  reader.next();
  const first = reader.end;
  reader.next();
  expect(writer.park(24)).toBe(true);
  expect(reader.release(first)).toBe(false);
  expect(reader.release(reader.end)).toBe(true);
  expect(writer.tryWrite(9, new Uint8Array(24))).toBe(true);
  writer.flush();
  reader.next();
  expect(reader.release(reader.end)).toBe(false);
});

test("a writer does not sleep when room came before its flag", () => {
  const { writer, reader } = ringOfFour();
  expect(writer.tryWrite(9)).toBe(false);
  reader.next();
  expect(reader.release(reader.end)).toBe(false);
  expect(writer.park(8)).toBe(false);
  reader.next();
  expect(reader.release(reader.end)).toBe(false);
});

test("the room a writer waits for includes the padding before its record", () => {
  const memory = createRing(64);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  for (let index = 0; index < 6; index++) writer.tryWrite(index);
  writer.flush();
  for (let index = 0; index < 3; index++) reader.next();
  reader.release(reader.end);
  // 16 bytes are left before the end of the data, 24 at its start.
  expect(writer.freeBytes).toBe(40);
  expect(writer.tryWrite(9, new Uint8Array(24))).toBe(false);
  expect(writer.park(24)).toBe(true);
  reader.next();
  expect(reader.release(reader.end)).toBe(true);
  expect(writer.tryWrite(9, new Uint8Array(24))).toBe(true);
});

test("a writer must flush before it sleeps", () => {
  const writer = new RingWriter(createRing(64));
  writer.tryWrite(1);
  expect(() => writer.park(8)).toThrow(InvariantError);
});

test("a successor is not taken for asleep because its predecessor died so", () => {
  const { memory, writer, reader } = ringOfFour();
  writer.park(24);
  new RingWriter(memory);
  while (reader.next()) expect(reader.release(reader.end)).toBe(false);
  reader.park();
  new RingReader(memory);
  const successor = new RingWriter(memory);
  successor.tryWrite(1);
  expect(successor.flush()).toBe(false);
});

test("a reader that parks while the writer flushes is rung or sees the record", () => {
  forEachStep((step) => {
    const { writer, reader } = emptyRing();
    writer.tryWrite(1);
    let sleeps = false;
    const rings = interrupted(
      step,
      () => writer.flush(),
      () => (sleeps = reader.park()),
    );
    return { sleeps, rings, hasCause: reader.unreadBytes > 0 };
  });
});

test("a writer that flushes while the reader parks rings or is seen", () => {
  forEachStep((step) => {
    const { writer, reader } = emptyRing();
    writer.tryWrite(1);
    let rings = false;
    const sleeps = interrupted(
      step,
      () => reader.park(),
      () => (rings = writer.flush()),
    );
    return { sleeps, rings, hasCause: reader.unreadBytes > 0 };
  });
});

test("a writer that parks while the reader releases is rung or sees the room", () => {
  forEachStep((step) => {
    const { writer, reader } = fullRing();
    reader.next();
    let sleeps = false;
    const rings = interrupted(
      step,
      () => reader.release(reader.end),
      () => (sleeps = writer.park(0)),
    );
    return { sleeps, rings, hasCause: writer.freeBytes >= 8 };
  });
});

test("a reader that releases while the writer parks rings or is seen", () => {
  forEachStep((step) => {
    const { writer, reader } = fullRing();
    reader.next();
    let rings = false;
    const sleeps = interrupted(
      step,
      () => writer.park(0),
      () => (rings = reader.release(reader.end)),
    );
    return { sleeps, rings, hasCause: writer.freeBytes >= 8 };
  });
});

test("a release that is too little, while the writer parks, does not use up its bell", () => {
  forEachStep(
    (step) => {
      const { writer, reader } = fullRing();
      let rings = false;
      const sleeps = interrupted(
        step,
        () => writer.park(24),
        () => {
          reader.next();
          reader.release(reader.end);
        },
      );
      while (reader.next()) rings = reader.release(reader.end) || rings;
      return { sleeps, rings, hasCause: writer.freeBytes >= 32 };
    },
    ["asleep"],
  );
});

interface Outcome {
  readonly sleeps: boolean;
  readonly rings: boolean;
  /** There is something to wake for. */
  readonly hasCause: boolean;
}

/** Runs `attempt` with the interruption before its first step, its second, … and after its last. */
function forEachStep(
  attempt: (step: number) => Outcome,
  endings: readonly string[] = ["asleep", "awake"],
): void {
  const seen = new Set<string>();
  for (let step = 0; step < STEPS_MAX; step++) {
    const { sleeps, rings, hasCause } = attempt(step);
    expect(hasCause).toBe(true);
    expect({ step, isStuck: sleeps && !rings }).toEqual({ step, isStuck: false });
    seen.add(sleeps ? "asleep" : "awake");
  }
  // Where there are two, the interruption did fall on either side of the decisive step.
  expect([...seen].toSorted()).toEqual([...endings]);
}

/** Runs `call`, and `other` as a whole just before the atomic step number `step` of `call`. */
function interrupted<T>(step: number, call: () => T, other: () => void): T {
  const { load, store, exchange } = Atomics;
  let steps = 0;
  let isDone = false;
  function tick(): void {
    if (steps++ !== step) return;
    isDone = true;
    restore();
    other();
    standIn();
  }
  function restore(): void {
    Object.assign(Atomics, { load, store, exchange });
  }
  function standIn(): void {
    Object.assign(Atomics, {
      load: (words: Int32Array, index: number) => (tick(), load(words, index)),
      store: (words: Int32Array, index: number, value: number) => (
        tick(),
        store(words, index, value)
      ),
      exchange: (words: Int32Array, index: number, value: number) => (
        tick(),
        exchange(words, index, value)
      ),
    });
  }
  standIn();
  try {
    return call();
  } finally {
    restore();
    if (!isDone) other();
  }
}

function emptyRing() {
  const memory = createRing(64);
  return { writer: new RingWriter(memory), reader: new RingReader(memory) };
}

function fullRing() {
  const { writer, reader } = emptyRing();
  for (let index = 0; index < 8; index++) writer.tryWrite(index);
  writer.flush();
  return { writer, reader };
}

/** A ring of 64 bytes with four published records of 16. */
function ringOfFour() {
  const memory = createRing(64);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  for (let index = 0; index < 4; index++) writer.tryWrite(index, new Uint8Array(8));
  writer.flush();
  return { memory, writer, reader };
}
