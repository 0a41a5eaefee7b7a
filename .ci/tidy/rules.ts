/**
 * All rules of the house, in one list, over one set of files.
 *
 * A rule that is not in this list does not exist. There are no exemptions here: a rule that has to
 * know an exception says so itself, with its reason.
 */

import { checkDeterminism } from "./determinism-rules.ts";
import { checkErrors } from "./error-rules.ts";
import { checkImports } from "./import-rules.ts";
import { checkInfinity, checkTraces, checkUnits } from "./name-rules.ts";
import { checkFileName, checkOpening, checkSizes, checkUniqueNames } from "./shape-rules.ts";
import { checkFocus, checkGuarantees } from "./test-rules.ts";
import { checkAssertions, checkConstructs } from "./type-rules.ts";

import type { FileRule, Finding, SourceFile } from "./source-file.ts";

const FILE_RULES: readonly FileRule[] = [
  checkImports,
  checkDeterminism,
  checkOpening,
  checkSizes,
  checkFileName,
  checkConstructs,
  checkAssertions,
  checkErrors,
  checkUnits,
  checkInfinity,
  checkTraces,
  checkFocus,
];

export interface Document {
  readonly path: string;
  readonly text: string;
}

/** Findings of all rules, by path and line. `guarantees`: the document with the table, if any. */
export function checkHouse(
  files: readonly SourceFile[],
  guarantees: Document | undefined,
): readonly Finding[] {
  const findings = [...checkUniqueNames(files)];
  for (const file of files) {
    for (const rule of FILE_RULES) findings.push(...rule(file));
  }
  if (guarantees !== undefined) {
    const tests = new Map<string, string>();
    for (const file of files) if (file.isTest) tests.set(file.path, file.text);
    findings.push(...checkGuarantees(guarantees.path, guarantees.text, tests));
  }
  return findings.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1));
}
