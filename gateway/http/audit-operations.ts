/**
 * The OpenAPI operations of the audit.
 *
 * They say what `audit-routes.ts` does; nothing else is documented here.
 */

import { operation } from "./api-operation.ts";
import { AUDIT_PARAMETERS } from "./audit-schemas.ts";

const JSON_TYPE = "application/json";
const ALWAYS = ["invalid_request", "saturated", "unavailable", "not_ready"] as const;
const HEAD_EXAMPLE = {
  count: 48_211,
  hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
};

const RECORD_EXAMPLE = {
  seq: 48_211,
  id: "0199a5a2-7c1e-7000-8000-3f6f5d6f2a10",
  type: "payment.processed",
  topic: "payments",
  partition: 12,
  sequence: 731,
  orderId: "0199a5a2-7bd0-7000-8000-1f0e7a4d9b21",
  customerId: "ada",
  at: "2025-10-02T09:30:00.000Z",
  storedAt: "2025-10-02T09:30:00.004Z",
  correlationId: "0199a5a2-7bd0-7000-8000-000000000001",
  causationId: "0199a5a2-7bd0-7000-8000-000000000002",
  data: {
    orderId: "0199a5a2-7bd0-7000-8000-1f0e7a4d9b21",
    status: "completed",
    amountMinor: 2100,
    currency: "USD",
    gateway: "standard",
    reference: "cap_a26626a2a8239264",
  },
  frameBytes: 402,
  hash: HEAD_EXAMPLE.hash,
};

export const SEARCH_AUDIT = operation({
  operationId: "searchAudit",
  summary: "Search everything that happened, newest first",
  description:
    "Every event of every topic, some moments after it was published. Conditions narrow each " +
    "other. A page may be short, or empty, and yet have a nextCursor: go on until there is none.",
  tag: "audit",
  parameters: Object.entries(AUDIT_PARAMETERS).map(([name, spec]) => ({
    name,
    in: "query",
    ...spec,
  })),
  answers: {
    200: {
      description: "One page.",
      content: {
        mediaType: JSON_TYPE,
        schema: "AuditPage",
        example: { records: [RECORD_EXAMPLE], nextCursor: "YXVkaXQ6NDgyMTE" },
      },
    },
  },
  problems: ["malformed_request", "malformed_cursor", ...ALWAYS],
});

export const AUDIT_HEAD = operation({
  operationId: "getAuditHead",
  summary: "The seal of the audit: how many records, and the hash of the last",
  description:
    "Keep it elsewhere. Whoever can rewrite the whole audit can rewrite its head, and only a " +
    "head that was kept shows it.",
  tag: "audit",
  answers: {
    200: {
      description: "The head.",
      content: { mediaType: JSON_TYPE, schema: "AuditHead", example: HEAD_EXAMPLE },
    },
  },
  problems: ALWAYS,
});

export const VERIFY_AUDIT = operation({
  operationId: "verifyAudit",
  summary: "Verify a slice of the chain",
  description:
    "Recomputes hashes from `fromSeq` on and names the first place where a record was altered, " +
    "removed, moved or put in. Go on at `next` until it is absent.",
  tag: "audit",
  body: { schema: "AuditVerify", example: { fromSeq: 1, recordsMax: 20_000 }, required: false },
  answers: {
    200: {
      description: "What was found, also when it is bad.",
      content: {
        mediaType: JSON_TYPE,
        schema: "AuditVerdict",
        example: {
          ok: true,
          verified: 20_000,
          upTo: 20_000,
          head: HEAD_EXAMPLE,
          next: 20_001,
        },
      },
    },
  },
  problems: ["malformed_json", "body_too_large", "unsupported_media_type", ...ALWAYS],
});
