/**
 * One operation of the OpenAPI document, from the schemas that its endpoint uses.
 *
 * Every operation lists every answer it can give, problems included, each with an example; the
 * problems that any request can meet are added to all of them.
 */

import type { TSchema } from "@sinclair/typebox";

import type { AuditSchemaName } from "./audit-schemas.ts";
import type { DeadLetterSchemaName } from "./dead-letter-schemas.ts";
import type { ProblemKind } from "./problem.ts";
import { Problem, PROBLEM_MEDIA_TYPE } from "./problem.ts";

type Json = Readonly<Record<string, unknown>>;

/** Name of a schema under `#/components/schemas`. */
export type SchemaName =
  | AuditSchemaName
  | DeadLetterSchemaName
  | "NewOrder"
  | "Order"
  | "OrderPage"
  | "Pending"
  | "Timeline"
  | "Stock"
  | "StockChange"
  | "Health"
  | "Problem"
  | "NotificationLedger"
  | "Ledger"
  | "NewEvents"
  | "EventsAccepted"
  | "AnalyticsRealtime"
  | "AnalyticsRows";

export interface ParameterSpec {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly description: string;
  readonly schema: TSchema;
  readonly required?: boolean;
  readonly example?: string | number;
}

export interface AnswerSpec {
  readonly description: string;
  /** Absent: no body. */
  readonly content?: {
    readonly mediaType: string;
    readonly schema: SchemaName | "text";
    readonly example: unknown;
  };
  readonly alternative?: AnswerSpec["content"];
  readonly headers?: Readonly<Record<string, string>>;
}

export interface OperationSpec {
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  readonly tag: "orders" | "inventory" | "operations" | "analytics" | "audit";
  readonly parameters?: readonly ParameterSpec[];
  readonly body?: {
    readonly schema: SchemaName;
    readonly example: unknown;
    readonly required: boolean;
  };
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  readonly problems: readonly ProblemKind[];
}

const CORRELATION_PARAMETER = {
  name: "X-Correlation-Id",
  in: "header",
  required: false,
  description: "Follows the request through the shop and comes back; made up when absent.",
  schema: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$" },
};

/** The operation, with references into `#/components`. */
export function operation(spec: OperationSpec): Json {
  const { operationId, summary, description, tag, body } = spec;
  const answers = Object.entries(spec.answers).map(([status, answer]) => [
    status,
    response(answer),
  ]);
  return {
    operationId,
    summary,
    description,
    tags: [tag],
    parameters: [...(spec.parameters ?? []).map((one) => parameter(one)), CORRELATION_PARAMETER],
    ...(body === undefined ? {} : { requestBody: requestBody(body) }),
    responses: { ...Object.fromEntries(answers), ...problemResponses(spec.problems) },
  };
}

function parameter(spec: ParameterSpec): Json {
  return { ...spec, required: spec.in === "path" || spec.required === true };
}

function requestBody(body: NonNullable<OperationSpec["body"]>): Json {
  const content = { "application/json": { schema: reference(body.schema), example: body.example } };
  return { required: body.required, content };
}

function response({ description, content, alternative, headers = {} }: AnswerSpec): Json {
  const bodies = [content, alternative].filter((one) => one !== undefined);
  return {
    description,
    headers: responseHeaders(headers),
    ...(bodies.length === 0
      ? {}
      : {
          content: Object.fromEntries(
            bodies.map(({ mediaType, schema, example }) => [
              mediaType,
              { schema: schema === "text" ? { type: "string" } : reference(schema), example },
            ]),
          ),
        }),
  };
}

function responseHeaders(headers: Readonly<Record<string, string>>): Json {
  const all = { ...headers, "X-Correlation-Id": "The caller's correlation id, or a new one." };
  return Object.fromEntries(
    Object.entries(all).map(([name, description]) => [
      name,
      { description, schema: { type: "string" } },
    ]),
  );
}

/** One response for each status; problems that share a status share it, with an example each. */
function problemResponses(kinds: readonly ProblemKind[]): Json {
  const byStatus = new Map<number, Problem[]>();
  for (const kind of new Set<ProblemKind>([...kinds, "internal"])) {
    const problem = new Problem(kind, "What happened here, in one sentence.");
    byStatus.set(problem.status, [...(byStatus.get(problem.status) ?? []), problem]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, problems]) => [
      status,
      {
        description: problems.map(({ kind }) => kind.replaceAll("_", " ")).join(", or "),
        headers: responseHeaders(
          status === 503 ? { "Retry-After": "Seconds to wait before the next attempt." } : {},
        ),
        content: {
          [PROBLEM_MEDIA_TYPE]: {
            schema: reference("Problem"),
            examples: Object.fromEntries(
              problems.map((one) => [one.kind, { value: exampleOf(one) }]),
            ),
          },
        },
      },
    ]),
  );
}

function exampleOf(problem: Problem): object {
  return problem.toJson("/v1/…", "0199a5a2-7c1e-7000-8000-3f6f5d6f2a10");
}

function reference(name: SchemaName): Json {
  return { $ref: `#/components/schemas/${name}` };
}
