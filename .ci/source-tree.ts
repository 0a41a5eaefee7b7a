/**
 * Which files of the repository are sources, and of what kind.
 *
 * Dependencies, reports and data are left out. Paths are relative to the root, with forward
 * slashes, sorted, so that every report is the same on every machine.
 */

import { readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** The root of the repository. */
export const ROOT = new URL("..", import.meta.url).pathname;

const FOLDERS = ["runtime", "actors", "gateway", "bench", "load", "deploy", ".ci"] as const;
const COVERED_FOLDERS = ["runtime", "actors", "gateway"] as const;

/** They start real servers: a test that gets there by its imports is one against real servers. */
const SERVER_DOORS = ["deploy/services/test-server.ts", "deploy/services/native-services.ts"];

/** Folders and first words of file names, under `actors/`. */
const SERVER_WORDS = "kafka|redis|rabbit|rabbitmq|postgres|mongo|mongodb|elastic|elasticsearch";
const SERVER_CODE = new RegExp(`^actors/(.*/)?((${SERVER_WORDS})/|(${SERVER_WORDS})-[^/]*\\.ts$)`);

/** Every TypeScript file of the house. */
export function listSources(root = ROOT): string[] {
  return scan(root, FOLDERS);
}

export function listTests(root = ROOT): string[] {
  return listSources(root).filter((path) => path.endsWith(".test.ts"));
}

/** Tests that start real servers, themselves or by way of what they import. */
export function listServerTests(root = ROOT): string[] {
  const sources = new Set(listSources(root));
  const imports = new Map<string, readonly string[]>();
  for (const path of sources) imports.set(path, listImports(root, path));
  const reaching = new Set(SERVER_DOORS);
  for (let known = 0; known !== reaching.size;) {
    known = reaching.size;
    for (const [path, targets] of imports) {
      if (targets.some((target) => reaching.has(target))) reaching.add(path);
    }
  }
  return listTests(root).filter((path) => reaching.has(path));
}

/** True for code whose coverage is the business of the tests against real servers. */
export function isServerCode(path: string): boolean {
  return SERVER_CODE.test(path);
}

/** Files that the coverage floor counts. */
export function listCovered(root = ROOT): string[] {
  return scan(root, COVERED_FOLDERS).filter((path) => !isTestCode(path));
}

/** Tests, and what only they use: shared suites, generators, files they run in other threads. */
export function isTestCode(path: string): boolean {
  return /\.(test|suite|arbitrary|fixture)\.ts$/.test(path);
}

/** What a file imports of the repository when it runs; imports of types are not among them. */
function listImports(root: string, path: string): readonly string[] {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  return transpiler
    .scanImports(readFileSync(join(root, path), "utf8"))
    .filter((each) => each.path.startsWith("."))
    .map((each) => posix.join(posix.dirname(path), each.path));
}

function scan(root: string, folders: readonly string[]): string[] {
  const glob = new Bun.Glob(`{${folders.join(",")}}/**/*.ts`);
  return [...glob.scanSync({ cwd: root, dot: true })]
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => !path.includes("node_modules/"))
    .sort();
}
