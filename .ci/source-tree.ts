/**
 * Which files of the repository are sources, and of what kind.
 *
 * Dependencies, reports and data are left out. Paths are relative to the root, with forward
 * slashes, sorted, so that every report is the same on every machine.
 */

/** The root of the repository. */
export const ROOT = new URL("..", import.meta.url).pathname;

const FOLDERS = ["runtime", "actors", "gateway", "bench", "load", ".ci"] as const;
const COVERED_FOLDERS = ["runtime", "actors", "gateway"] as const;

/** Every TypeScript file of the house. */
export function listSources(root = ROOT): string[] {
  return scan(root, FOLDERS);
}

export function listTests(root = ROOT): string[] {
  return listSources(root).filter((path) => path.endsWith(".test.ts"));
}

/** Files that the coverage floor counts. */
export function listCovered(root = ROOT): string[] {
  return scan(root, COVERED_FOLDERS).filter((path) => !isTestCode(path));
}

/** Tests, and what only they use: shared suites, generators, files they run in other threads. */
export function isTestCode(path: string): boolean {
  return /\.(test|suite|arbitrary|fixture)\.ts$/.test(path);
}

function scan(root: string, folders: readonly string[]): string[] {
  const glob = new Bun.Glob(`{${folders.join(",")}}/**/*.ts`);
  return [...glob.scanSync({ cwd: root, dot: true })]
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => !path.includes("node_modules/"))
    .sort();
}
