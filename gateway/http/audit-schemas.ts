/**
 * What the audit's endpoints take and give, and their OpenAPI operations.
 *
 * Records show the event as it was recorded, amounts in minor units, without what must stay hidden.
 * Objects are closed: an unknown field is refused.
 */

import { Type } from "@sinclair/typebox";

import {
  QUERY_CHARS_MAX,
  VERIFY_BUDGET_MS_DEFAULT,
  VERIFY_BUDGET_MS_MAX,
  VERIFY_RECORDS_DEFAULT,
  VERIFY_RECORDS_MAX,
} from "../../actors/audit/audit-limits.ts";
import { AUDIT_TYPES } from "../../actors/audit/audit-view.ts";
import { IdSchema, PAGE_DEFAULT, PAGE_MAX } from "./api-schemas.ts";

const closed = { additionalProperties: false } as const;
const Instant = Type.String({ format: "date-time", description: "UTC, RFC 3339." });
const Seq = Type.Integer({ minimum: 1, description: "Place in the chain, without gaps." });
const Hash = Type.String({ pattern: "^[0-9a-f]{64}$", description: "SHA-256, hex." });
const Count = Type.Integer({ minimum: 0 });

const AuditRecordSchema = Type.Object(
  {
    seq: Seq,
    id: Type.Optional(Type.String({ description: "Of the message; absent when unreadable." })),
    type: Type.String({ description: "The event's type, or `unreadable`." }),
    topic: Type.String(),
    partition: Count,
    sequence: Type.Integer({ minimum: 1, description: "Place in its partition." }),
    orderId: Type.Optional(Type.String()),
    customerId: Type.Optional(Type.String()),
    at: Instant,
    storedAt: Instant,
    correlationId: Type.Optional(Type.String()),
    causationId: Type.Optional(Type.String()),
    data: Type.Optional(
      Type.Object({}, { description: "The event's fields, by its type; secrets are redacted." }),
    ),
    fault: Type.Optional(
      Type.String({ description: "Why the record cannot be taken at its word." }),
    ),
    frameBytes: Count,
    hash: Hash,
  },
  closed,
);

const AuditPageSchema = Type.Object(
  {
    records: Type.Array(AuditRecordSchema, { maxItems: PAGE_MAX }),
    nextCursor: Type.Optional(
      Type.String({
        description: "Absent on the last page. A page before it may be short, or empty.",
      }),
    ),
    newestMissing: Type.Optional(
      Type.Literal(true, {
        description:
          "What was stored last may be missing: the index could not be brought up to date.",
      }),
    ),
  },
  closed,
);

const AuditHeadSchema = Type.Object({ count: Count, hash: Hash }, closed);

export const AuditVerifySchema = Type.Object(
  {
    fromSeq: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: Number.MAX_SAFE_INTEGER,
        default: 1,
        description: "1, or the next of the slice before.",
      }),
    ),
    recordsMax: Type.Optional(
      Type.Integer({ minimum: 1, maximum: VERIFY_RECORDS_MAX, default: VERIFY_RECORDS_DEFAULT }),
    ),
    budgetMs: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: VERIFY_BUDGET_MS_MAX,
        default: VERIFY_BUDGET_MS_DEFAULT,
        description: "Time after which the slice ends.",
      }),
    ),
  },
  closed,
);

const AuditVerdictSchema = Type.Object(
  {
    ok: Type.Boolean({ description: "No problem in this slice." }),
    verified: Type.Integer({ minimum: 0, description: "Records found right." }),
    upTo: Type.Integer({ minimum: 0, description: "The last of them; 0: none." }),
    head: AuditHeadSchema,
    problem: Type.Optional(
      Type.Object(
        {
          seq: Type.Integer({ description: "The first place that is wrong." }),
          fault: Type.Union(
            (
              [
                "altered",
                "removed",
                "moved",
                "replaced",
                "tail_cut",
                "inserted",
                "head_mismatch",
              ] as const
            ).map((name) => Type.Literal(name)),
          ),
          detail: Type.String(),
        },
        closed,
      ),
    ),
    next: Type.Optional(
      Type.Integer({ minimum: 1, description: "fromSeq of the next slice; absent at the end." }),
    ),
  },
  closed,
);

/** By their names under `#/components/schemas`. */
export const AUDIT_SCHEMAS = {
  AuditPage: AuditPageSchema,
  AuditHead: AuditHeadSchema,
  AuditVerify: AuditVerifySchema,
  AuditVerdict: AuditVerdictSchema,
} as const;

export type AuditSchemaName = keyof typeof AUDIT_SCHEMAS;

/** The query parameters of a search: schema and meaning. */
export const AUDIT_PARAMETERS = {
  orderId: { description: "Only about this order.", schema: IdSchema },
  customerId: { description: "Only of this customer's orders.", schema: IdSchema },
  type: {
    description: "Only this type of event; `unreadable` for what could not be read.",
    schema: Type.Union([...AUDIT_TYPES.keys()].map((name) => Type.Literal(name))),
  },
  from: { description: "Only what happened at this time or later (RFC 3339).", schema: Instant },
  to: { description: "Only what happened before this time (RFC 3339).", schema: Instant },
  q: {
    description:
      'Words that all occur in the event; "a phrase" in quotes; a star after a word for what ' +
      "begins so. Case and diacritics do not matter.",
    schema: Type.String({ minLength: 1, maxLength: QUERY_CHARS_MAX }),
  },
  limit: {
    description: "Most records in one page.",
    schema: Type.Integer({ minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT }),
  },
  cursor: { description: "The nextCursor of the page before.", schema: Type.String() },
} as const;
