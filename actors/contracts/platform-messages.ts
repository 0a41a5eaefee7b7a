/**
 * The events and commands around the order pipeline: behaviour, reminders, acts of operators.
 *
 * They follow the rules of `messages.ts`, which lists them with all others.
 */

import { Type } from "@sinclair/typebox";

import { commandContract, eventContract } from "./contract.ts";
import { BEHAVIOR_EVENTS_MAX, closed, Id, Text, Time } from "./fields.ts";

const Index = Type.Integer({ minimum: 0, maximum: BEHAVIOR_EVENTS_MAX });
const indexes = Type.Array(Index, { minItems: 1, maxItems: BEHAVIOR_EVENTS_MAX });

/**
 * What visitors did, a batch at a time and column by column: an event is what stands at one index
 * of the four columns. A column of texts is a dictionary of distinct texts and a column of places
 * in it, so that a reader handles each text once, however often it occurs. Readers check what a
 * schema cannot say: columns of one length, and no place beyond its dictionary.
 */
const behaviorColumns = {
  batchId: Id,
  /** Time of the earliest event; the column has what each is later. */
  baseMs: Time,
  offsetMs: Type.Array(Time, { minItems: 1, maxItems: BEHAVIOR_EVENTS_MAX }),
  /** `page.viewed`, `cart.added`, …: the caller's own names. */
  events: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), {
    minItems: 1,
    maxItems: BEHAVIOR_EVENTS_MAX,
  }),
  event: indexes,
  customers: Type.Array(Id, { minItems: 1, maxItems: BEHAVIOR_EVENTS_MAX }),
  customer: indexes,
  products: Type.Array(Id, { maxItems: BEHAVIOR_EVENTS_MAX }),
  /** 0: about no product; otherwise one more than the place. */
  product: indexes,
};

export const UserBehavior = eventContract(
  13,
  "user.behavior",
  "behavior",
  Type.Object(behaviorColumns, closed),
  "batchId",
);

/** Who acted on which dead letter, and why: for the audit. */
const letterFields = {
  /** The letter's number, as text: the key. */
  letterKey: Id,
  group: Id,
  topic: Id,
  partition: Type.Integer({ minimum: 0 }),
  /** 0: a timer that never got as far as its topic. */
  sequence: Type.Integer({ minimum: 0 }),
  /** Of the burial. */
  reason: Text,
};

export const DeadLetterRedriven = eventContract(
  14,
  "deadletter.redriven",
  "operations",
  Type.Object(letterFields, closed),
  "letterKey",
);

export const DeadLetterDiscarded = eventContract(
  15,
  "deadletter.discarded",
  "operations",
  Type.Object({ ...letterFields, why: Text }, closed),
  "letterKey",
);

/** A durable timer: a notification that failed is due for another attempt. */
export const NotificationDue = eventContract(
  16,
  "notification.due",
  "notifications",
  Type.Object(
    {
      orderId: Id,
      /** Type of the event that is told about. */
      event: Id,
      channel: Type.Union([Type.Literal("email"), Type.Literal("sms"), Type.Literal("push")]),
      attempt: Type.Integer({ minimum: 1 }),
    },
    closed,
  ),
);

/** Rules of the fraud check fired for an order; `payment.processed` says what came of it. */
export const FraudFlagged = eventContract(
  17,
  "fraud.flagged",
  "fraud",
  Type.Object(
    {
      orderId: Id,
      customerId: Id,
      decision: Type.Union([Type.Literal("pass"), Type.Literal("block")]),
      score: Type.Integer({ minimum: 0, maximum: 100 }),
      rules: Type.Array(Id, { minItems: 1, maxItems: 64 }),
    },
    closed,
  ),
);

/**
 * Records a batch of behaviour; answered after the commit. `fingerprint`, of the body it came with,
 * makes a command that is sent again under its `batchId` count once.
 */
export const RecordBehavior = commandContract(
  104,
  "behavior.record",
  Type.Object({ ...behaviorColumns, fingerprint: Type.Optional(Id) }, closed),
  "batchId",
);

const letterIds = Type.Array(Type.Integer({ minimum: 1 }), { minItems: 1, maxItems: 100 });

/** Puts dead letters back on their topics. `letterKey` only says which shard does it. */
export const RedriveLetters = commandContract(
  105,
  "deadletter.redrive",
  Type.Object({ letterKey: Id, ids: letterIds }, closed),
  "letterKey",
);

export const DiscardLetters = commandContract(
  106,
  "deadletter.discard",
  Type.Object({ letterKey: Id, ids: letterIds, why: Text }, closed),
  "letterKey",
);

/** Asks one shard for its books; see `actors/ledger/`. */
export const ReadLedger = commandContract(
  107,
  "ledger.read",
  Type.Object({ shardKey: Id }, closed),
  "shardKey",
);
