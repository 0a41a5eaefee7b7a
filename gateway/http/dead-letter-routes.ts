/**
 * The endpoints of dead letters: list, look at, put back, throw away.
 *
 * Reads go to the read side; every act is a command to a shard, which carries it out in one
 * transaction and tells the audit under the request's correlation id. Acts on many are a dry run
 * unless the caller says otherwise. Unknown parameters and fields are refused.
 */

import { assert } from "../../runtime/errors.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { DeadLetterReads, LetterFilter } from "../../actors/dead-letters/letter-port.ts";
import type { LimitsConfig } from "../config/config-schema.ts";
import { EmptySchema, PAGE_DEFAULT, PAGE_MAX } from "./api-schemas.ts";
import type { LetterJobRequest, LetterJobs } from "./dead-letter-jobs.ts";
import { commandFor } from "./dead-letter-jobs.ts";
import {
  DISCARD_LETTER,
  DISCARD_LETTERS,
  GET_LETTER,
  GET_LETTER_JOB,
  LIST_LETTERS,
  REDRIVE_LETTER,
  REDRIVE_LETTERS,
  SUMMARIZE_LETTERS,
} from "./dead-letter-operations.ts";
import {
  DiscardOneSchema,
  DiscardSchema,
  INSTANT_PATTERN,
  LETTERS_DEFAULT,
  RATE_DEFAULT_PER_SECOND,
  RATE_MAX_PER_SECOND,
  RedriveSchema,
  SAMPLE_MAX,
} from "./dead-letter-schemas.ts";
import { letterJson, letterPageJson, letterSummaryJson, viewJob } from "./dead-letter-view.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import { jsonResponse } from "./endpoint.ts";
import type { CommandPort } from "./command-port.ts";
import { decodeCursor, encodeCursor } from "./page-cursor.ts";
import type { ProblemPart } from "./problem.ts";
import { Problem } from "./problem.ts";
import { readQuery } from "./query-string.ts";
import { readJson, readOptionalJson } from "./request-body.ts";
import { traceparentOf } from "./request-trace.ts";
import { compileBodyCheck, invalidRequest } from "./schema-check.ts";
import { describe, problemOfRefusal, saturated } from "./shop-problems.ts";

const checkRedrive = compileBodyCheck(RedriveSchema);
const checkDiscard = compileBodyCheck(DiscardSchema);
const checkDiscardOne = compileBodyCheck(DiscardOneSchema);
const checkEmpty = compileBodyCheck(EmptySchema);

const PATH = "/admin/dead-letters";
const WHOLE_NUMBER = /^[1-9][0-9]{0,15}$/;
const INSTANT = new RegExp(INSTANT_PATTERN);
const TEXTS = ["topic", "group", "reason", "key"] as const;
const TIMES = ["from", "to"] as const;

export interface DeadLetterDeps {
  readonly environment: Environment;
  readonly limits: Pick<LimitsConfig, "bodyBytes" | "jsonDepth" | "commandTimeoutMs">;
  readonly commands: CommandPort;
  readonly letters: DeadLetterReads;
  readonly jobs: LetterJobs;
}

export function deadLetterRoutes(deps: DeadLetterDeps): readonly Route[] {
  const get = (path: string, endpoint: Route["endpoint"], operation: Route["operation"]): Route =>
    route("GET", path, endpoint, operation);
  const post = (path: string, endpoint: Route["endpoint"], operation: Route["operation"]): Route =>
    route("POST", path, endpoint, operation);
  return [
    get("", (call) => list(deps, call), LIST_LETTERS),
    get("/summary", (call) => summarize(deps, call), SUMMARIZE_LETTERS),
    get("/jobs/:id", (call) => getJob(deps, call), GET_LETTER_JOB),
    get("/:id", (call) => getLetter(deps, call), GET_LETTER),
    post("/redrive", (call) => redriveMany(deps, call), REDRIVE_LETTERS),
    post("/discard", (call) => discardMany(deps, call), DISCARD_LETTERS),
    post("/:id/redrive", (call) => redriveOne(deps, call), REDRIVE_LETTER),
    post("/:id/discard", (call) => discardOne(deps, call), DISCARD_LETTER),
  ];
}

function route(
  method: Route["method"],
  path: string,
  endpoint: Route["endpoint"],
  operation: Route["operation"],
): Route {
  return {
    method,
    path: PATH + path,
    admission: "limited",
    endpoint,
    ...(operation === undefined ? {} : { operation }),
  };
}

async function list({ letters }: DeadLetterDeps, { request }: Call): Promise<Answer> {
  const query = readQuery(request, [...TEXTS, ...TIMES, "limit", "cursor"]);
  if (query instanceof Problem) return query;
  const filter = filterOf(Object.fromEntries(query), (name) => ({ parameter: name }));
  if (filter instanceof Problem) return filter;
  const limit = query.get("limit") ?? String(PAGE_DEFAULT);
  if (!WHOLE_NUMBER.test(limit) || Number(limit) > PAGE_MAX) {
    const detail = `must be a whole number from 1 to ${PAGE_MAX}`;
    return invalidRequest([{ parameter: "limit", detail }]);
  }
  const cursor = query.get("cursor");
  const afterId = cursor === undefined ? 0 : letterIdOf(decodeCursor(cursor)?.key ?? "");
  if (afterId === undefined) {
    const errors = [{ parameter: "cursor", detail: "must be a nextCursor of this API" }];
    return new Problem("malformed_cursor", "the cursor cannot be read", { errors });
  }
  const page = await letters.page(filter, { afterId, limit: Number(limit) });
  const last = page.isLast ? undefined : page.letters.at(-1);
  const next = last && encodeCursor({ createdAtMs: last.buriedAtMs, key: String(last.id) });
  return jsonResponse(200, letterPageJson(page.letters, next));
}

async function summarize({ letters }: DeadLetterDeps, { request }: Call): Promise<Answer> {
  const query = readQuery(request, []);
  if (query instanceof Problem) return query;
  const [kinds, { count }] = await Promise.all([letters.summary(), letters.extent({})]);
  return jsonResponse(200, letterSummaryJson(kinds, count));
}

async function getLetter({ letters }: DeadLetterDeps, { params }: Call): Promise<Answer> {
  const id = letterIdOf(params["id"] ?? "");
  const letter = id === undefined ? undefined : await letters.letter(id);
  return letter === undefined ? describe("not_found") : jsonResponse(200, letterJson(letter));
}

async function getJob({ jobs }: DeadLetterDeps, { params }: Call): Promise<Answer> {
  const job = jobs.get(params["id"] ?? "");
  return job === undefined
    ? describe("not_found")
    : jsonResponse(200, JSON.stringify(viewJob(job)));
}

async function redriveOne(deps: DeadLetterDeps, call: Call): Promise<Answer> {
  const read = await readOptionalJson(call.request, deps.limits);
  if (read instanceof Problem) return read;
  const checked = checkEmpty(read.value);
  return checked instanceof Problem ? checked : await actOnOne(deps, call, { kind: "redrive" });
}

async function discardOne(deps: DeadLetterDeps, call: Call): Promise<Answer> {
  const read = await readJson(call.request, deps.limits);
  if (read instanceof Problem) return read;
  const checked = checkDiscardOne(read.value);
  if (checked instanceof Problem) return checked;
  return await actOnOne(deps, call, { kind: "discard", why: checked.body.reason });
}

async function actOnOne(
  { commands, limits }: DeadLetterDeps,
  { request, params, correlationId }: Call,
  act: LetterJobRequest["act"],
): Promise<Answer> {
  const id = letterIdOf(params["id"] ?? "");
  if (id === undefined) return describe("not_found");
  const traceparent = traceparentOf(request);
  const reply = await commands.send(commandFor(act, [id]), {
    deadlineMs: limits.commandTimeoutMs,
    correlationId,
    ...(traceparent === undefined ? {} : { traceparent }),
  });
  if (reply.kind === "refused") return problemOfRefusal(reply);
  assert(reply.kind === "letters", `a letter was answered with ${reply.kind}`);
  const result = reply.results[0]?.result ?? "missing";
  if (result === "missing") return describe("not_found");
  if (result === "refused") {
    const detail = "its bytes are no frame that can be routed; it can be discarded";
    return new Problem("not_redrivable", detail);
  }
  return jsonResponse(200, JSON.stringify({ id, result }));
}

async function redriveMany(deps: DeadLetterDeps, call: Call): Promise<Answer> {
  const read = await readJson(call.request, deps.limits);
  if (read instanceof Problem) return read;
  const checked = checkRedrive(read.value);
  if (checked instanceof Problem) return checked;
  const { ratePerSecond = RATE_DEFAULT_PER_SECOND } = checked.body;
  return await actOnMany(deps, call, checked.body, { act: { kind: "redrive" }, ratePerSecond });
}

async function discardMany(deps: DeadLetterDeps, call: Call): Promise<Answer> {
  const read = await readJson(call.request, deps.limits);
  if (read instanceof Problem) return read;
  const checked = checkDiscard(read.value);
  if (checked instanceof Problem) return checked;
  const act = { kind: "discard", why: checked.body.reason } as const;
  return await actOnMany(deps, call, checked.body, { act, ratePerSecond: RATE_MAX_PER_SECOND });
}

interface GivenScope {
  readonly filter: Readonly<Partial<Record<string, string>>>;
  readonly dryRun?: boolean;
  readonly limit?: number;
}

async function actOnMany(
  { letters, jobs, limits }: DeadLetterDeps,
  { correlationId }: Call,
  { filter: given, dryRun = true, limit = LETTERS_DEFAULT }: GivenScope,
  act: Pick<LetterJobRequest, "act" | "ratePerSecond">,
): Promise<Answer> {
  const filter = filterOf(given, (name) => ({ pointer: `#/filter/${name}` }));
  if (filter instanceof Problem) return filter;
  const { count: matched } = await letters.extent(filter);
  if (dryRun) {
    const ids = await letters.ids(filter, { afterId: 0, limit: Math.min(limit, SAMPLE_MAX) });
    return jsonResponse(200, JSON.stringify({ dryRun, matched, limit, ids }));
  }
  const started = jobs.start({ ...act, filter, limit, correlationId });
  if (started === undefined) return saturated("as many jobs on dead letters run as may");
  const job = (await jobs.settled(started.id, limits.commandTimeoutMs)) ?? started;
  const text = JSON.stringify({ dryRun, matched, limit, job: viewJob(job) });
  return job.state === "running"
    ? jsonResponse(202, text, { location: `${PATH}/jobs/${job.id}` })
    : jsonResponse(200, text);
}

/** The filter in `given`, whose names are known; the times in it are still to be checked. */
function filterOf(
  given: Readonly<Partial<Record<string, string>>>,
  placeOf: (name: string) => Pick<ProblemPart, "parameter" | "pointer">,
): LetterFilter | Problem {
  const { from, to } = given;
  for (const name of TIMES) {
    const text = given[name];
    if (text === undefined || (INSTANT.test(text) && !Number.isNaN(Date.parse(text)))) continue;
    const detail = "must be a time in UTC, as 2025-10-02T09:30:00.000Z";
    return invalidRequest([{ ...placeOf(name), detail }]);
  }
  const texts = TEXTS.filter((name) => given[name] !== undefined);
  return {
    ...Object.fromEntries(texts.map((name) => [name, given[name]])),
    ...(from === undefined ? {} : { buriedFromMs: Date.parse(from) }),
    ...(to === undefined ? {} : { buriedBeforeMs: Date.parse(to) }),
  };
}

/** `undefined` when `text` is no letter's number. */
function letterIdOf(text: string): number | undefined {
  const id = WHOLE_NUMBER.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(id) ? id : undefined;
}
