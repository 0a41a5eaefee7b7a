/**
 * The last line of a test run tells the truth, whatever way the run ended.
 *
 * Reports are shortened ones of `bun test`; the int test beside this one makes real ones.
 */

import { expect, test } from "bun:test";

import { countTests, listSkips } from "./test-report.ts";

const JUNIT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="7" assertions="4" failures="1" skipped="3" time="0.02">
  <testsuite name="a.test.ts" file="a.test.ts" tests="3" failures="1" skipped="1" time="0.004">
    <testcase name="works" classname="" time="0" file="a.test.ts" line="3" assertions="1" />
    <testcase name="&lt;later&gt;" classname="" time="0" file="a.test.ts" line="4" assertions="0">
      <skipped />
    </testcase>
  </testsuite>
  <testsuite name="b.test.ts" file="b.test.ts" tests="4" failures="0" skipped="2" time="0.006">
    <testcase name="x" classname="" time="0" file="b.test.ts" line="11" assertions="0">
      <skipped message="TODO" />
    </testcase>
    <testcase name="y" classname="" time="0" file="b.test.ts" line="12" assertions="0">
      <skipped />
    </testcase>
  </testsuite>
</testsuites>`;

test("counts come from the report", () => {
  expect(countTests({ junit: JUNIT, output: "", exitCode: 1 })).toEqual({
    passed: 3,
    failed: 1,
    skipped: 3,
  });
});

test("an error outside of any test is a failure", () => {
  const output = " 3 pass\n 1 fail\n 2 errors\n";
  expect(countTests({ junit: JUNIT, output, exitCode: 1 }).failed).toBe(3);
});

test("without a report the printed lines are counted", () => {
  const output = "(pass) a [1ms]\n(pass) b\n(skip) c\n(todo) d\n(fail) e\nx (pass) f\n";
  expect(countTests({ junit: undefined, output, exitCode: 137 })).toEqual({
    passed: 2,
    failed: 1,
    skipped: 2,
  });
});

test("a run that exits with an error has at least one failure", () => {
  expect(countTests({ junit: undefined, output: "(pass) a\n", exitCode: 137 }).failed).toBe(1);
  expect(countTests({ junit: undefined, output: "(pass) a\n", exitCode: 0 }).failed).toBe(0);
});

test("skips are listed with the reasons that were printed, each once", () => {
  const output = "skip: kafka: no broker on 9092\nskip: kafka: no broker on 9092\n";
  expect(listSkips({ junit: JUNIT, output, exitCode: 0 })).toEqual([
    "kafka: no broker on 9092",
    "a.test.ts: <later>",
    "b.test.ts: x and 1 more",
  ]);
});

test("a skip for which nobody printed a reason says so", () => {
  expect(listSkips({ junit: JUNIT, output: "", exitCode: 0 })[0]).toBe(
    "a.test.ts: <later>: no reason given",
  );
});
