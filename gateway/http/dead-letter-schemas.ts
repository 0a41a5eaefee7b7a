/**
 * What the API takes and gives about dead letters, as TypeBox schemas.
 *
 * Objects are closed and nothing is converted. Every act over many letters has a bound on how many
 * and how fast, and is a dry run unless it says otherwise.
 */

import { Type } from "@sinclair/typebox";

import { LETTERS_PAGE_MAX } from "../../actors/dead-letters/letter-port.ts";

export const LETTERS_DEFAULT = 1_000;
export const LETTERS_MAX = 10_000;
export const RATE_DEFAULT_PER_SECOND = 100;
export const RATE_MAX_PER_SECOND = 1_000;
/** Ids that a dry run names, and refused ones that a job names. */
export const SAMPLE_MAX = 20;

const closed = { additionalProperties: false } as const;
const Count = Type.Integer({ minimum: 0 });
const LetterId = Type.Integer({ minimum: 1 });
const LetterIds = Type.Array(LetterId, { maxItems: SAMPLE_MAX });
const Instant = Type.String({ format: "date-time", description: "UTC, RFC 3339." });
const Name = Type.String({ minLength: 1, maxLength: 128 });

export const INSTANT_PATTERN =
  "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,3})?Z$";
const GivenInstant = Type.String({ pattern: INSTANT_PATTERN, description: "UTC, RFC 3339." });

export const LetterFilterSchema = Type.Object(
  {
    topic: Type.Optional(Name),
    group: Type.Optional(Name),
    reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })),
    key: Type.Optional(Type.String({ minLength: 1, maxLength: 1_024 })),
    from: Type.Optional(GivenInstant),
    to: Type.Optional(GivenInstant),
  },
  { ...closed, description: "All that is given must fit; `{}` fits every letter." },
);

const Why = Type.String({ minLength: 1, maxLength: 500, description: "Goes into the audit." });
const DryRun = Type.Boolean({ default: true, description: "Only says what would be done." });
const Limit = Type.Integer({ minimum: 1, maximum: LETTERS_MAX, default: LETTERS_DEFAULT });

export const RedriveSchema = Type.Object(
  {
    filter: LetterFilterSchema,
    dryRun: Type.Optional(DryRun),
    limit: Type.Optional(Limit),
    ratePerSecond: Type.Optional(
      Type.Integer({ minimum: 1, maximum: RATE_MAX_PER_SECOND, default: RATE_DEFAULT_PER_SECOND }),
    ),
  },
  closed,
);

export const DiscardSchema = Type.Object(
  {
    filter: LetterFilterSchema,
    reason: Why,
    dryRun: Type.Optional(DryRun),
    limit: Type.Optional(Limit),
  },
  closed,
);

export const DiscardOneSchema = Type.Object({ reason: Why }, closed);

const letterFields = {
  id: LetterId,
  topic: Type.String(),
  group: Type.String({ description: "Who gave it up." }),
  partition: Count,
  sequence: Count,
  reason: Type.String(),
  attempts: Count,
  firstError: Type.String(),
  lastError: Type.String(),
  buriedAt: Instant,
  sizeBytes: Count,
  damage: Type.Optional(
    Type.String({ description: "Why nothing of it can be relied on; it can only be discarded." }),
  ),
  messageId: Type.Optional(Type.String({ description: "This and what follows: of its frame." })),
  type: Type.Optional(Type.String()),
  key: Type.Optional(Type.String()),
  createdAt: Type.Optional(Instant),
};

const LetterItem = Type.Object(letterFields, closed);

export const LetterPageSchema = Type.Object(
  {
    letters: Type.Array(LetterItem, { maxItems: LETTERS_PAGE_MAX, description: "Oldest first." }),
    nextCursor: Type.Optional(Type.String({ description: "Absent on the last page." })),
  },
  closed,
);

export const LetterSchema = Type.Object(
  {
    ...letterFields,
    headers: Type.Optional(Type.Record(Type.String(), Type.String())),
    deadline: Type.Optional(Instant),
    traceId: Type.Optional(Type.String()),
    payload: Type.Optional(
      Type.Unknown({ description: "Decoded; means of payment and contact are hidden." }),
    ),
    undecodable: Type.Optional(
      Type.String({ description: "What is wrong with frame or payload, if anything is." }),
    ),
    bytesBase64: Type.Optional(
      Type.String({ description: "As they came. Absent when they name a field that is hidden." }),
    ),
    bytesWithheld: Type.Optional(Type.String({ description: "The field for which they are." })),
  },
  closed,
);

export const LetterSummarySchema = Type.Object(
  {
    total: Count,
    kinds: Type.Array(
      Type.Object(
        {
          topic: Type.String(),
          group: Type.String(),
          reason: Type.String(),
          count: Count,
          oldestBuriedAt: Instant,
          newestBuriedAt: Instant,
        },
        closed,
      ),
      { description: "The most frequent first." },
    ),
  },
  closed,
);

export const LetterOutcomeSchema = Type.Object(
  { id: LetterId, result: Type.Union([Type.Literal("redriven"), Type.Literal("discarded")]) },
  closed,
);

export const LetterJobSchema = Type.Object(
  {
    id: Type.String(),
    act: Type.Union([Type.Literal("redrive"), Type.Literal("discard")]),
    state: Type.Union(
      ["running", "done", "failed", "stopped"].map((state) => Type.Literal(state)),
      { description: "One that failed or was stopped is simply started again." },
    ),
    redriven: Count,
    discarded: Count,
    missing: Type.Integer({ minimum: 0, description: "Somebody else was faster." }),
    refused: Type.Integer({ minimum: 0, description: "No frames; they stay." }),
    refusedIds: LetterIds,
    startedAt: Instant,
    endedAt: Type.Optional(Instant),
    detail: Type.Optional(Type.String()),
  },
  closed,
);

export const LetterActSchema = Type.Object(
  {
    dryRun: Type.Boolean(),
    matched: Type.Integer({ minimum: 0, description: "Letters that fit the filter." }),
    limit: Type.Integer({ minimum: 1, maximum: LETTERS_MAX }),
    ids: Type.Optional(
      Type.Array(LetterId, { maxItems: SAMPLE_MAX, description: "The first of a dry run." }),
    ),
    job: Type.Optional(LetterJobSchema),
  },
  closed,
);

/** By their names under `#/components/schemas`. */
export const DEAD_LETTER_SCHEMAS = {
  DeadLetter: LetterSchema,
  DeadLetterPage: LetterPageSchema,
  DeadLetterSummary: LetterSummarySchema,
  DeadLetterOutcome: LetterOutcomeSchema,
  DeadLetterAct: LetterActSchema,
  DeadLetterJob: LetterJobSchema,
  DeadLetterRedrive: RedriveSchema,
  DeadLetterDiscard: DiscardSchema,
  DeadLetterDiscardOne: DiscardOneSchema,
} as const;

export type DeadLetterSchemaName = keyof typeof DEAD_LETTER_SCHEMAS;
