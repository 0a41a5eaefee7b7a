/**
 * The endpoints of the audit: search, head, verify.
 *
 * They only read. Refused: unknown parameters, times that are not RFC 3339, free text that is not
 * words (400, with what is allowed), a cursor that this API did not give out.
 */

import type { AuditPage, AuditReads } from "../../actors/audit/audit-reads.ts";
import type { AuditQuery } from "../../actors/audit/audit-query.ts";
import { parseTerms } from "../../actors/audit/audit-query.ts";
import {
  VERIFY_BUDGET_MS_DEFAULT,
  VERIFY_RECORDS_DEFAULT,
} from "../../actors/audit/audit-limits.ts";
import type { AuditHead } from "../../actors/audit/audit-chain.ts";
import type { AuditView } from "../../actors/audit/audit-view.ts";
import { AUDIT_TYPES } from "../../actors/audit/audit-view.ts";
import { PAGE_DEFAULT, PAGE_MAX } from "./api-schemas.ts";
import { AUDIT_HEAD, SEARCH_AUDIT, VERIFY_AUDIT } from "./audit-operations.ts";
import type { AUDIT_PARAMETERS } from "./audit-schemas.ts";
import { AuditVerifySchema } from "./audit-schemas.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import { jsonResponse } from "./endpoint.ts";
import { INSTANT_MS_MAX, isOnCalendar } from "./instant-text.ts";
import { Problem } from "./problem.ts";
import { readQuery } from "./query-string.ts";
import type { BodyLimits } from "./request-body.ts";
import { readOptionalJson } from "./request-body.ts";
import { compileBodyCheck, invalidRequest } from "./schema-check.ts";

export interface AuditDeps {
  readonly audit: Pick<AuditReads, "search" | "head" | "verify">;
  readonly limits: BodyLimits;
}

type ParameterName = keyof typeof AUDIT_PARAMETERS;
const PARAMETERS: readonly ParameterName[] = [
  "orderId",
  "customerId",
  "type",
  "from",
  "to",
  "q",
  "limit",
  "cursor",
];
const WHOLE_NUMBER = /^[1-9][0-9]{0,9}$/;
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/;
const CURSOR = /^audit:([1-9][0-9]{0,15})$/;

const checkVerify = compileBodyCheck(AuditVerifySchema);

export function auditRoutes(deps: AuditDeps): readonly Route[] {
  const limited = { admission: "limited" } as const;
  return [
    {
      ...limited,
      method: "GET",
      path: "/v1/audit",
      endpoint: (call) => search(deps, call),
      operation: SEARCH_AUDIT,
    },
    {
      ...limited,
      method: "GET",
      path: "/v1/audit/head",
      endpoint: (call) => getHead(deps, call),
      operation: AUDIT_HEAD,
    },
    {
      ...limited,
      method: "POST",
      path: "/admin/audit/verify",
      endpoint: (call) => verify(deps, call),
      operation: VERIFY_AUDIT,
    },
  ];
}

async function search({ audit }: AuditDeps, { request }: Call): Promise<Answer> {
  const query = searchQuery(request);
  if (query instanceof Problem) return query;
  return jsonResponse(200, pageJson(await audit.search(query)));
}

async function getHead({ audit }: AuditDeps, { request }: Call): Promise<Answer> {
  const query = readQuery(request, []);
  if (query instanceof Problem) return query;
  return jsonResponse(200, JSON.stringify(headJson(await audit.head())));
}

async function verify({ audit, limits }: AuditDeps, { request }: Call): Promise<Answer> {
  const query = readQuery(request, []);
  if (query instanceof Problem) return query;
  const read = await readOptionalJson(request, limits);
  if (read instanceof Problem) return read;
  const checked = checkVerify(read.value);
  if (checked instanceof Problem) return checked;
  const { fromSeq, recordsMax, budgetMs } = checked.body;
  const verdict = await audit.verify({
    fromSeq: fromSeq ?? 1,
    recordsMax: recordsMax ?? VERIFY_RECORDS_DEFAULT,
    budgetMs: budgetMs ?? VERIFY_BUDGET_MS_DEFAULT,
  });
  const { verified, upToSeq: upTo, head, problem, nextSeq: next } = verdict;
  const ok = problem === undefined;
  return jsonResponse(
    200,
    JSON.stringify({ ok, verified, upTo, head: headJson(head), problem, next }),
  );
}

function searchQuery(request: Request): AuditQuery | Problem {
  const given = readQuery(request, PARAMETERS);
  if (given instanceof Problem) return given;
  const read = {
    ...readLimit(given.get("limit")),
    ...readCursor(given.get("cursor")),
    ...readType(given.get("type")),
    ...readTime("from", given.get("from")),
    ...readTime("to", given.get("to")),
    ...readWords(given.get("q")),
  };
  if (read.problem !== undefined) return read.problem;
  const { problem: _none, ...conditions } = read;
  const { fromMs, toMs } = conditions;
  if (fromMs !== undefined && toMs !== undefined && fromMs >= toMs) {
    return invalidRequest([{ parameter: "to", detail: "must be later than from" }]);
  }
  const orderId = given.get("orderId");
  const customerId = given.get("customerId");
  return {
    limit: PAGE_DEFAULT,
    ...conditions,
    ...(orderId === undefined ? {} : { orderId }),
    ...(customerId === undefined ? {} : { customerId }),
  };
}

/** A part of the query, or why there is none. */
type Part<Name extends string, Value> = { readonly [Key in Name]?: Value } & {
  readonly problem?: Problem;
};

function readLimit(text: string | undefined): Part<"limit", number> {
  if (text === undefined) return {};
  const limit = Number(text);
  if (WHOLE_NUMBER.test(text) && limit <= PAGE_MAX) return { limit };
  return refused("limit", `must be a whole number from 1 to ${PAGE_MAX}`);
}

function readCursor(text: string | undefined): Part<"beforeSeq", number> {
  if (text === undefined) return {};
  const beforeSeq = decodeSeq(text);
  if (beforeSeq !== undefined) return { beforeSeq };
  const errors = [{ parameter: "cursor", detail: "must be a nextCursor of this API" }];
  return { problem: new Problem("malformed_cursor", "the cursor cannot be read", { errors }) };
}

function readType(text: string | undefined): Part<"type", number> {
  if (text === undefined) return {};
  const type = AUDIT_TYPES.get(text);
  if (type !== undefined) return { type };
  return refused("type", `must be one of ${[...AUDIT_TYPES.keys()].join(", ")}`);
}

function readTime(
  parameter: "from" | "to",
  text: string | undefined,
): Part<"fromMs" | "toMs", number> {
  if (text === undefined) return {};
  const timeMs = RFC_3339.test(text) && isOnCalendar(text) ? Date.parse(text) : Number.NaN;
  if (!(timeMs <= INSTANT_MS_MAX)) {
    const example = "2025-10-02T09:30:00.000Z";
    return refused(parameter, `must be a time of RFC 3339 up to 9999, as ${example}`);
  }
  return parameter === "from" ? { fromMs: timeMs } : { toMs: timeMs };
}

function readWords(text: string | undefined): Part<"terms", NonNullable<AuditQuery["terms"]>> {
  if (text === undefined) return {};
  const terms = parseTerms(text);
  if (!("refused" in terms)) return { terms };
  const detail = `${terms.refused}; allowed are words, "quoted phrases" and beginnings*`;
  const errors = [{ parameter: "q", detail }];
  return { problem: new Problem("malformed_request", "q cannot be read", { errors }) };
}

function refused(parameter: string, detail: string): { readonly problem: Problem } {
  return { problem: invalidRequest([{ parameter, detail }]) };
}

function pageJson({ records, nextBeforeSeq, isStale }: AuditPage): string {
  const nextCursor = nextBeforeSeq === undefined ? undefined : encodeSeq(nextBeforeSeq);
  const shown = records.map((record) => recordJson(record));
  return JSON.stringify({ records: shown, nextCursor, newestMissing: isStale });
}

function recordJson({ atMs, storedAtMs, ...record }: AuditView): object {
  return {
    ...record,
    at: new Date(atMs).toISOString(),
    storedAt: new Date(storedAtMs).toISOString(),
  };
}

function headJson({ count, hash }: AuditHead): object {
  return { count, hash: Buffer.from(hash).toString("hex") };
}

function encodeSeq(seq: number): string {
  return Buffer.from(`audit:${seq}`, "latin1").toString("base64url");
}

/** `undefined` when `cursor` is not one of ours. */
function decodeSeq(cursor: string): number | undefined {
  const [, text] = CURSOR.exec(Buffer.from(cursor, "base64url").toString("latin1")) ?? [];
  const seq = Number(text);
  // Base64 has many spellings of one text; only our own is taken.
  return Number.isSafeInteger(seq) && encodeSeq(seq) === cursor ? seq : undefined;
}
