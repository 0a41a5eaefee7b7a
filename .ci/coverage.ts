/**
 * Line coverage with no blind spot: a file that no test loads counts as uncovered.
 *
 * Reads the LCOV report of `bun test` and the tree of sources. Bun measures test processes but not
 * worker threads and subprocesses; a file that runs only there may be exempt, with a reason, and an
 * exemption that is no longer needed is refused.
 */

/** Share of lines that must be covered. */
const COVERAGE_FLOOR = 0.9;

export interface FileCoverage {
  readonly path: string;
  readonly lines: number;
  readonly linesCovered: number;
}

export interface CoverageVerdict {
  readonly lines: number;
  readonly linesCovered: number;
  /** Files with the most uncovered lines first; fully covered files are left out. */
  readonly worst: readonly FileCoverage[];
  /** One sentence per reason to fail; empty when the floor holds. */
  readonly problems: readonly string[];
}

/** Reads the `SF`, `DA` records of an LCOV report; a file that is listed twice is merged. */
export function parseLcov(text: string): Map<string, FileCoverage> {
  const hits = new Map<string, Map<number, number>>();
  let current = new Map<number, number>();
  for (const line of text.split("\n")) {
    if (line.startsWith("SF:")) {
      const path = line.slice(3).trim().replaceAll("\\", "/");
      current = hits.get(path) ?? new Map<number, number>();
      hits.set(path, current);
    } else if (line.startsWith("DA:")) {
      const [lineNumber, count] = line.slice(3).split(",").map(Number);
      if (lineNumber === undefined || count === undefined) continue;
      current.set(lineNumber, (current.get(lineNumber) ?? 0) + count);
    }
  }
  const files = new Map<string, FileCoverage>();
  for (const [path, lines] of hits) {
    const linesCovered = [...lines.values()].filter((count) => count > 0).length;
    files.set(path, { path, lines: lines.size, linesCovered });
  }
  return files;
}

/** Lines of `source` that exist at run time: types, comments, imports and blank lines do not. */
export function countRuntimeLines(source: string): number {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  return transpiler
    .transformSync(source)
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^(import\b|export \{)/.test(line)).length;
}

/** Judges all `sources` (path → text) against the floor. `exempt`: path → reason. */
export function judgeCoverage(
  measured: ReadonlyMap<string, FileCoverage>,
  sources: ReadonlyMap<string, string>,
  exempt: ReadonlyMap<string, string>,
): CoverageVerdict {
  const problems: string[] = [];
  const counted: FileCoverage[] = [];
  for (const [path, source] of sources) {
    const file = measured.get(path) ?? { path, lines: countRuntimeLines(source), linesCovered: 0 };
    if (!exempt.has(path)) counted.push(file);
    else if (shareOf(file.linesCovered, file.lines) >= COVERAGE_FLOOR) {
      problems.push(`coverage-exempt.json: ${path} is covered without an exemption; remove it`);
    }
  }
  for (const [path, reason] of exempt) {
    if (!sources.has(path)) problems.push(`coverage-exempt.json: ${path} does not exist`);
    if (reason.trim() === "") problems.push(`coverage-exempt.json: ${path} has no reason`);
  }
  const lines = sum(counted.map((file) => file.lines));
  const linesCovered = sum(counted.map((file) => file.linesCovered));
  if (shareOf(linesCovered, lines) < COVERAGE_FLOOR) {
    const share = percent(linesCovered, lines);
    problems.push(`coverage is ${share} of lines, the floor is ${COVERAGE_FLOOR * 100} %`);
  }
  const worst = counted
    .filter((file) => file.linesCovered < file.lines)
    .sort((a, b) => b.lines - b.linesCovered - (a.lines - a.linesCovered));
  return { lines, linesCovered, worst, problems };
}

/** `part` of `whole` as text: "93.4 %". */
export function percent(part: number, whole: number): string {
  return `${(shareOf(part, whole) * 100).toFixed(1)} %`;
}

function shareOf(part: number, whole: number): number {
  return whole === 0 ? 1 : part / whole;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
