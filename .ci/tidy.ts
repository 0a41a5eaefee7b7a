/**
 * The house rules over the whole repository: prints `path:line: rule: message`, one a line.
 *
 * Exits 1 when a rule is broken. Changes nothing, and knows no exemptions.
 */

import { join } from "node:path";

import { listSources, ROOT } from "./source-tree.ts";
import { checkHouse } from "./tidy/rules.ts";
import { parseSource } from "./tidy/source-file.ts";

const GUARANTEES_PATH = "runtime/README.md";

const files = await Promise.all(
  listSources().map(async (path) => parseSource(path, await readText(path))),
);
const hasGuarantees = await Bun.file(join(ROOT, GUARANTEES_PATH)).exists();
const guarantees = hasGuarantees
  ? { path: GUARANTEES_PATH, text: await readText(GUARANTEES_PATH) }
  : undefined;

const findings = checkHouse(files, guarantees);
for (const { path, line, rule, message } of findings) {
  console.log(`${path}:${line}: ${rule}: ${message}`);
}
console.log(`${files.length} files, ${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;

function readText(path: string): Promise<string> {
  return Bun.file(join(ROOT, path)).text();
}
