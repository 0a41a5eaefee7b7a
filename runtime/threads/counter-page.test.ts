/**
 * The counter page: what is counted is what is read, summed over threads; what was not declared is
 * refused. Counting from real threads is in `counter-page.int.test.ts`.
 */

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import type { MetricSpec } from "./counter-layout.ts";
import type { Sample } from "./counter-page.ts";

import { InvariantError } from "../errors.ts";
import { COUNTER_SERIES_MAX, COUNTER_THREADS_MAX, HISTOGRAM_BUCKETS_MAX } from "../limits.ts";
import { crossLabels, defineMetrics } from "./counter-layout.ts";
import { CounterWriter, createCounterPage, readCounterPage } from "./counter-page.ts";

const HELP = "for the test";
const SPECS: readonly MetricSpec[] = [
  {
    kind: "counter",
    name: "messages_total",
    help: HELP,
    series: crossLabels({ topic: ["a", "b"] }),
  },
  { kind: "gauge", name: "depth", help: HELP, combine: "sum" },
  { kind: "gauge", name: "lag_seconds", help: HELP, combine: "max" },
  { kind: "histogram", name: "duration_seconds", help: HELP, bounds: [0.1, 1, 10] },
];

function page(threads: number) {
  const layout = defineMetrics(SPECS);
  const memory = createCounterPage(layout, threads);
  const read = (name: string): Sample[] =>
    readCounterPage(memory, layout).filter((sample) => sample.name === name);
  return { layout, memory, read, writer: (at: number) => new CounterWriter(memory, layout, at) };
}

test("every declared series is read in order of declaration, zero before it is counted", () => {
  const { layout, memory } = page(2);
  const zero = { help: HELP, value: 0 };
  expect(readCounterPage(memory, layout)).toEqual([
    { ...zero, name: "messages_total", labels: { topic: "a" }, kind: "counter" },
    { ...zero, name: "messages_total", labels: { topic: "b" }, kind: "counter" },
    { ...zero, name: "depth", labels: {}, kind: "gauge" },
    { ...zero, name: "lag_seconds", labels: {}, kind: "gauge" },
    {
      name: "duration_seconds",
      labels: {},
      help: HELP,
      kind: "histogram",
      buckets: [0.1, 1, 10, Infinity].map((le) => ({ le, count: 0 })),
      sum: 0,
      count: 0,
    },
  ]);
});

test("counters of all threads are summed, and label sets kept apart", () => {
  const { read, writer } = page(3);
  for (const thread of [0, 1, 2]) {
    writer(thread).counter("messages_total", { topic: "a" }).add();
    writer(thread)
      .counter("messages_total", { topic: "b" })
      .add(thread * 0.5);
  }
  expect(read("messages_total")).toMatchObject([
    { labels: { topic: "a" }, value: 3 },
    { labels: { topic: "b" }, value: 1.5 },
  ]);
});

test("gauges are summed or the greatest is taken, as declared", () => {
  const { read, writer } = page(3);
  writer(0).gauge("depth").set(5);
  writer(2).gauge("depth").set(7);
  writer(2).gauge("depth").add(-3);
  writer(0).gauge("lag_seconds").set(0.5);
  writer(1).gauge("lag_seconds").set(2);
  expect(read("depth")).toMatchObject([{ value: 9 }]);
  expect(read("lag_seconds")).toMatchObject([{ value: 2 }]);
});

test("an observation counts in every bucket whose bound it does not exceed", () => {
  const { read, writer } = page(2);
  for (const value of [0.05, 0.1, 0.100_01, 1, 10, 11, -1]) {
    writer(0).histogram("duration_seconds").observe(value);
  }
  writer(1).histogram("duration_seconds").observe(100);
  const [sample] = read("duration_seconds");
  expect(sample).toMatchObject({
    buckets: [
      { le: 0.1, count: 3 },
      { le: 1, count: 5 },
      { le: 10, count: 6 },
      { le: Infinity, count: 8 },
    ],
    count: 8,
  });
  expect(sample?.kind === "histogram" && sample.sum).toBeCloseTo(121.250_01);
});

test("a thread that takes a dead one's place goes on where it stopped", () => {
  const { read, writer } = page(1);
  writer(0).counter("messages_total", { topic: "a" }).add(41);
  writer(0).counter("messages_total", { topic: "a" }).add();
  expect(read("messages_total")).toMatchObject([{ value: 42 }, { value: 0 }]);
});

test("any counting from any thread is read as a plain object would have counted it", () => {
  const event = fc.record({
    thread: fc.nat(3),
    topic: fc.constantFrom("a", "b"),
    amount: fc.nat(1_000),
    duration: fc.nat(20),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 50 }), (events) => {
      const { read, writer } = page(4);
      const totals = { a: 0, b: 0 };
      for (const { thread, topic, amount, duration } of events) {
        writer(thread).counter("messages_total", { topic }).add(amount);
        writer(thread).histogram("duration_seconds").observe(duration);
        totals[topic] += amount;
      }
      expect(read("messages_total")).toMatchObject([{ value: totals.a }, { value: totals.b }]);
      expect(read("duration_seconds")).toMatchObject([
        {
          count: events.length,
          sum: events.reduce((sum, { duration }) => sum + duration, 0),
          buckets: [0.1, 1, 10, Infinity].map((le) => ({
            le,
            count: events.filter(({ duration }) => duration <= le).length,
          })),
        },
      ]);
    }),
    { numRuns: 100 },
  );
});

describe("counting refuses", () => {
  const { memory, writer } = page(1);
  const refused: readonly (readonly [string, () => unknown])[] = [
    ["a name that was not declared", () => writer(0).counter("other_total")],
    [
      "a label value that was not declared",
      () => writer(0).counter("messages_total", { topic: "c" }),
    ],
    ["labels where none were declared", () => writer(0).gauge("depth", { topic: "a" })],
    ["no labels where some were declared", () => writer(0).counter("messages_total")],
    ["a gauge as a counter", () => writer(0).counter("depth")],
    ["a counter as a histogram", () => writer(0).histogram("messages_total", { topic: "a" })],
    ["to go down", () => writer(0).counter("messages_total", { topic: "a" }).add(-1)],
    ["NaN", () => writer(0).counter("messages_total", { topic: "a" }).add(Number.NaN)],
    ["infinity", () => writer(0).counter("messages_total", { topic: "a" }).add(Infinity)],
    ["an endless gauge", () => writer(0).gauge("depth").add(Infinity)],
    ["a gauge of NaN", () => writer(0).gauge("depth").set(Number.NaN)],
    ["a gauge by NaN", () => writer(0).gauge("depth").add(Number.NaN)],
    ["to observe NaN", () => writer(0).histogram("duration_seconds").observe(Number.NaN)],
    ["to observe infinity", () => writer(0).histogram("duration_seconds").observe(Infinity)],
    ["a thread without a section", () => writer(1)],
    ["a page of another declaration", () => new CounterWriter(memory, defineMetrics([]), 0)],
    ["to read by another declaration", () => readCounterPage(memory, defineMetrics([]))],
    ["no section at all", () => createCounterPage(defineMetrics(SPECS), 0)],
    ["too many sections", () => createCounterPage(defineMetrics([]), COUNTER_THREADS_MAX + 1)],
  ];
  test.each(refused)("%s", (_, run) => {
    expect(run).toThrow(InvariantError);
  });

  test("and nothing refused has left a trace", () => {
    const { layout } = page(1);
    const values = readCounterPage(memory, layout).map((sample) =>
      sample.kind === "histogram" ? sample.sum + sample.count : sample.value,
    );
    expect(values.every((value) => value === 0)).toBe(true);
  });
});

describe("declaring refuses", () => {
  const counter = { kind: "counter", name: "n", help: HELP } as const;
  const histogram = { kind: "histogram", name: "n", help: HELP } as const;
  const many = Array.from({ length: COUNTER_SERIES_MAX + 1 }, (_, at) => ({ at: `${at}` }));
  const bounds = Array.from({ length: HISTOGRAM_BUCKETS_MAX }, (_, at) => at);
  const refused: readonly (readonly [string, readonly MetricSpec[]])[] = [
    ["a name twice", [counter, { ...counter, series: [{ a: "1" }] }]],
    ["a name with a space", [{ ...counter, name: "a b" }]],
    [
      "a label set twice",
      [
        {
          ...counter,
          series: [
            { a: "1", b: "2" },
            { b: "2", a: "1" },
          ],
        },
      ],
    ],
    ["label sets of different names", [{ ...counter, series: [{ a: "1" }, { b: "1" }] }]],
    ["a label with a dash", [{ ...counter, series: [{ "a-b": "1" }] }]],
    ["the label of buckets", [{ ...histogram, bounds: [1], series: [{ le: "1" }] }]],
    ["a histogram without bounds", [{ ...histogram, bounds: [] }]],
    ["bounds that do not ascend", [{ ...histogram, bounds: [1, 1] }]],
    ["a bound without end", [{ ...histogram, bounds: [1, Infinity] }]],
    ["a bound that is NaN", [{ ...histogram, bounds: [Number.NaN] }]],
    ["too many buckets", [{ ...histogram, bounds }]],
    ["too many series", [{ ...counter, series: many }]],
  ];
  test.each(refused)("%s", (_, specs) => {
    expect(() => defineMetrics(specs)).toThrow(InvariantError);
  });
});

test("labels combine to all sets, and their order does not matter when counting", () => {
  expect(crossLabels({ a: ["1", "2"], b: ["x"] })).toEqual([
    { a: "1", b: "x" },
    { a: "2", b: "x" },
  ]);
  const layout = defineMetrics([
    { kind: "counter", name: "n", help: HELP, series: crossLabels({ a: ["1"], b: ["x"] }) },
  ]);
  expect(layout.find("counter", "n", { b: "x", a: "1" }).firstCell).toBe(0);
});

test("no two threads count on the same cache line", () => {
  const { layout, memory } = page(3);
  expect((layout.cellsPerThread * 8) % 64).toBe(0);
  expect(memory.byteLength).toBe(64 + 3 * layout.cellsPerThread * 8);
});
