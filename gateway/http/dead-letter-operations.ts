/**
 * The OpenAPI operations of dead letters, with an example of everything they take and give.
 *
 * They say what `dead-letter-routes.ts` does; a test compares the answers given with those listed
 * here.
 */

import { Type } from "@sinclair/typebox";

import type { AnswerSpec, ParameterSpec } from "./api-operation.ts";
import { operation } from "./api-operation.ts";
import { PAGE_DEFAULT, PAGE_MAX } from "./api-schemas.ts";
import type { DeadLetterSchemaName } from "./dead-letter-schemas.ts";
import type { ProblemKind } from "./problem.ts";

const ITEM_EXAMPLE = {
  id: 17,
  topic: "payments",
  group: "order",
  partition: 12,
  sequence: 4_711,
  reason: "poison",
  attempts: 12,
  firstError: "STORAGE_FAULT: the journal's disk failed",
  lastError: "InvariantError: order 0199a5a2 holds stock without an end",
  buriedAt: "2025-10-02T09:30:00.000Z",
  sizeBytes: 231,
  messageId: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a11",
  type: "payment.processed",
  key: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a10",
  createdAt: "2025-10-02T09:29:41.120Z",
};
const JOB_EXAMPLE = {
  id: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a12",
  act: "redrive",
  state: "running",
  redriven: 300,
  discarded: 0,
  missing: 2,
  refused: 1,
  refusedIds: [31],
  startedAt: "2025-10-02T10:00:00.000Z",
};
const ENDED_EXAMPLE = {
  ...JOB_EXAMPLE,
  state: "done",
  redriven: 997,
  endedAt: "2025-10-02T10:00:10.000Z",
};
const PLAN_EXAMPLE = { dryRun: true, matched: 1_000, limit: 1_000, ids: [17, 18, 21] };

/** By schema, for the document and for the test that they fit. */
export const DEAD_LETTER_EXAMPLES = {
  DeadLetter: {
    ...ITEM_EXAMPLE,
    headers: { correlationid: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a13" },
    payload: { orderId: ITEM_EXAMPLE.key, status: "completed", amountMinor: 2_000 },
    bytesBase64: "1QAAAAEA",
  },
  DeadLetterPage: { letters: [ITEM_EXAMPLE], nextCursor: "MTc1OTM5NzQwMDAwMDoxNw" },
  DeadLetterSummary: {
    total: 3,
    kinds: [
      {
        topic: "payments",
        group: "order",
        reason: "poison",
        count: 3,
        oldestBuriedAt: "2025-10-02T09:30:00.000Z",
        newestBuriedAt: "2025-10-02T09:58:03.200Z",
      },
    ],
  },
  DeadLetterOutcome: { id: 17, result: "redriven" },
  DeadLetterAct: PLAN_EXAMPLE,
  DeadLetterJob: ENDED_EXAMPLE,
  DeadLetterRedrive: {
    filter: { topic: "payments", group: "order", reason: "poison" },
    dryRun: false,
    limit: 1_000,
    ratePerSecond: 100,
  },
  DeadLetterDiscard: { filter: { reason: "bad_frame" }, reason: "sender was mended", dryRun: true },
  DeadLetterDiscardOne: { reason: "sender was mended" },
} as const satisfies Record<DeadLetterSchemaName, unknown>;

const LETTER_ID: ParameterSpec = {
  name: "id",
  in: "path",
  description: "The letter's number.",
  schema: Type.Integer({ minimum: 1 }),
  example: 17,
};
const READ_PROBLEMS: readonly ProblemKind[] = [
  "malformed_request",
  "not_found",
  "saturated",
  "unavailable",
  "not_ready",
];
const BODY_PROBLEMS: readonly ProblemKind[] = [
  "malformed_request",
  "malformed_json",
  "body_too_large",
  "unsupported_media_type",
  "invalid_request",
];
const ACT_PROBLEMS: readonly ProblemKind[] = ["saturated", "unavailable", "not_ready", "timed_out"];
const OLDEST_FIRST =
  "Letters that are buried while it runs are left alone. The answer waits for the end as long as " +
  "for any command, and is otherwise a running job.";

export const LIST_LETTERS = operation({
  operationId: "listDeadLetters",
  summary: "List dead letters, oldest first",
  description:
    "Without bytes and payloads. A page may be shorter than the limit where letters are large.",
  tag: "operations",
  parameters: [
    query("topic", "The topic it came from.", Type.String()),
    query("group", "The group that gave it up.", Type.String()),
    query("reason", "Why: `poison`, `bad_frame`, …", Type.String()),
    query("key", "The key of its frame: of most topics, the order's id.", Type.String()),
    query("from", "Buried then or later.", Type.String({ format: "date-time" })),
    query("to", "Buried before.", Type.String({ format: "date-time" })),
    query(
      "limit",
      "Letters on a page.",
      Type.Integer({ minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT }),
    ),
    query("cursor", "The nextCursor of the page before.", Type.String()),
  ],
  answers: { 200: json("A page.", "DeadLetterPage") },
  problems: problems(READ_PROBLEMS, ["malformed_cursor", "invalid_request"], "not_found"),
});

export const SUMMARIZE_LETTERS = operation({
  operationId: "summarizeDeadLetters",
  summary: "Count dead letters by topic, group and reason",
  description: "Every letter there is; the most frequent kinds first.",
  tag: "operations",
  answers: { 200: json("The kinds.", "DeadLetterSummary") },
  problems: problems(READ_PROBLEMS, [], "not_found"),
});

export const GET_LETTER = operation({
  operationId: "getDeadLetter",
  summary: "Read a dead letter",
  description:
    "With what can be decoded of it. Means of payment and contact are hidden, and bytes that " +
    "name them are not given out.",
  tag: "operations",
  parameters: [LETTER_ID],
  answers: { 200: json("The letter.", "DeadLetter") },
  problems: problems(READ_PROBLEMS),
});

export const REDRIVE_LETTER = operation({
  operationId: "redriveDeadLetter",
  summary: "Put a dead letter back on its topic",
  description:
    "It goes to the end of its partition under its message id: groups that have handled it do " +
    "nothing. 404 also when somebody else was faster, or when this request is repeated.",
  tag: "operations",
  parameters: [LETTER_ID],
  answers: { 200: json("It is back.", "DeadLetterOutcome") },
  problems: problems([...BODY_PROBLEMS, ...ACT_PROBLEMS, "not_found", "not_redrivable"]),
});

export const DISCARD_LETTER = operation({
  operationId: "discardDeadLetter",
  summary: "Throw a dead letter away",
  description: "For good; the audit keeps what it was and why. 404 as for a redrive.",
  tag: "operations",
  parameters: [LETTER_ID],
  body: body("DeadLetterDiscardOne"),
  answers: {
    200: json("It is gone.", "DeadLetterOutcome", { id: 17, result: "discarded" }),
  },
  problems: problems([...BODY_PROBLEMS, ...ACT_PROBLEMS, "not_found"]),
});

export const REDRIVE_LETTERS = operation({
  operationId: "redriveDeadLetters",
  summary: "Put back what fits a filter, at a rate",
  description: `A dry run unless \`dryRun\` is false. ${OLDEST_FIRST}`,
  tag: "operations",
  body: body("DeadLetterRedrive"),
  answers: actAnswers(),
  problems: problems([...BODY_PROBLEMS, ...ACT_PROBLEMS], [], "timed_out"),
});

export const DISCARD_LETTERS = operation({
  operationId: "discardDeadLetters",
  summary: "Throw away what fits a filter",
  description: `A dry run unless \`dryRun\` is false. ${OLDEST_FIRST}`,
  tag: "operations",
  body: body("DeadLetterDiscard"),
  answers: actAnswers(),
  problems: problems([...BODY_PROBLEMS, ...ACT_PROBLEMS], [], "timed_out"),
});

export const GET_LETTER_JOB = operation({
  operationId: "getDeadLetterJob",
  summary: "How far is a job?",
  description: "Jobs are remembered for a while after their end, and not beyond a restart.",
  tag: "operations",
  parameters: [
    {
      name: "id",
      in: "path",
      description: "The job's id.",
      schema: Type.String(),
      example: JOB_EXAMPLE.id,
    },
  ],
  answers: { 200: json("The job.", "DeadLetterJob") },
  problems: problems(["malformed_request", "not_found", "saturated", "not_ready"]),
});

function query(name: string, description: string, schema: ParameterSpec["schema"]): ParameterSpec {
  return { name, in: "query", description, schema };
}

function body(schema: DeadLetterSchemaName) {
  return { schema, example: DEAD_LETTER_EXAMPLES[schema], required: true };
}

function json(description: string, schema: DeadLetterSchemaName, example?: unknown): AnswerSpec {
  const shown = example ?? DEAD_LETTER_EXAMPLES[schema];
  return { description, content: { mediaType: "application/json", schema, example: shown } };
}

function actAnswers() {
  const running = { dryRun: false, matched: 1_000, limit: 1_000, job: JOB_EXAMPLE };
  return {
    200: json("The dry run, or a job that has ended.", "DeadLetterAct"),
    202: {
      ...json("A job that is still running.", "DeadLetterAct", running),
      headers: { Location: "Path of the job." },
    },
  };
}

function problems(
  kinds: readonly ProblemKind[],
  more: readonly ProblemKind[] = [],
  without?: ProblemKind,
): readonly ProblemKind[] {
  return [...kinds, ...more].filter((kind) => kind !== without);
}
