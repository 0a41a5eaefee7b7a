/**
 * What a test run says about itself: counts, and every skip with its reason.
 *
 * Counts come from the JUnit report; when the run was killed before writing it they come from the
 * printed lines. A run that exits with an error is never counted as free of failures.
 */

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface TestRun {
  /** The JUnit report, or `undefined` when it was not written. */
  readonly junit: string | undefined;
  /** Everything that the run printed. */
  readonly output: string;
  readonly exitCode: number;
}

const SKIP_LINE = /^skip: (.+)$/;
const NO_REASON = "no reason given";

export function countTests(run: TestRun): TestCounts {
  const counts = run.junit === undefined ? countPrinted(run.output) : countJunit(run.junit);
  // An error while a file loads, or between tests, belongs to no test case of the report.
  const errors = Number(/^\s*(\d+) errors?$/m.exec(run.output)?.[1] ?? 0);
  const failed = counts.failed + errors;
  return { ...counts, failed: run.exitCode !== 0 && failed === 0 ? 1 : failed };
}

/** One line per skip: those that were printed as `skip: what: why`, then skipped tests. */
export function listSkips(run: TestRun): string[] {
  const printed = new Set<string>();
  for (const line of run.output.split("\n")) {
    const reason = SKIP_LINE.exec(line.trim())?.[1];
    if (reason !== undefined) printed.add(reason);
  }
  const perFile = new Map<string, string[]>();
  for (const skip of readSkippedCases(run.junit ?? "")) {
    perFile.set(skip.file, [...(perFile.get(skip.file) ?? []), skip.name]);
  }
  const lines = [...printed];
  for (const [file, names] of perFile) {
    const first = names[0] ?? "";
    const more = names.length > 1 ? ` and ${names.length - 1} more` : "";
    const reason = printed.size === 0 && !first.includes("skip:") ? `: ${NO_REASON}` : "";
    lines.push(`${file}: ${first}${more}${reason}`);
  }
  return lines;
}

function countJunit(junit: string): TestCounts {
  const root = /<testsuites [^>]*>/.exec(junit)?.[0] ?? "";
  const tests = readCount(root, "tests");
  const failed = readCount(root, "failures");
  const skipped = readCount(root, "skipped");
  return { passed: tests - failed - skipped, failed, skipped };
}

function readCount(element: string, name: string): number {
  return Number(new RegExp(`\\b${name}="(\\d+)"`).exec(element)?.[1] ?? 0);
}

function countPrinted(output: string): TestCounts {
  const count = (pattern: RegExp): number => output.match(pattern)?.length ?? 0;
  return {
    passed: count(/^\(pass\) /gm),
    failed: count(/^\(fail\) /gm),
    skipped: count(/^\((skip|todo)\) /gm),
  };
}

function readSkippedCases(junit: string): { readonly file: string; readonly name: string }[] {
  const cases = junit.matchAll(/<testcase name="([^"]*)"[^>]*? file="([^"]*)"[^>]*>\s*<skipped/g);
  return [...cases].map(([, name, file]) => ({
    name: unescapeXml(name ?? ""),
    file: unescapeXml(file ?? ""),
  }));
}

function unescapeXml(text: string): string {
  return text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&apos;", "'")
    .replaceAll("&#10;", " ")
    .replaceAll("&amp;", "&");
}
