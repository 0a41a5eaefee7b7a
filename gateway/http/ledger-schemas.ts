/**
 * The schema of the ledger as the API shows it, with an example.
 *
 * Refuses fields that are not counted: a row has what both ends can vouch for, and nothing else.
 */

import { Type } from "@sinclair/typebox";

import { GROUPS, TOPICS } from "../../actors/contracts/topics.ts";
import { LEDGER_ROWS_MAX } from "../../actors/ledger/ledger-rows.ts";

const closed = { additionalProperties: false } as const;

function count(description: string) {
  return Type.Integer({ minimum: 0, description });
}

const counts = {
  published: count("Records that concern the group since the process started, backlog included."),
  acked: count("Handled, or in no need of it."),
  dead: count("Moved to the dead letters."),
  inFlight: count("Handed out and not settled, those parked included."),
  parked: count("Of those in flight: behind their key, or waiting for their retry."),
  waiting: count("Not handed out yet."),
  redriven: count("Deliveries of redriven dead letters."),
};

export const LedgerSchema = Type.Object(
  {
    balanced: Type.Boolean({
      description: "Whether every partition of every group balances, whatever the filters.",
    }),
    rows: Type.Array(
      Type.Object(
        {
          group: Type.String(),
          topic: Type.String(),
          partition: Type.Integer({
            minimum: -1,
            description: "-1: the sum of all partitions of the topic that are not listed.",
          }),
          ...counts,
          imbalance: Type.Optional(Type.String({ description: "What does not add up." })),
        },
        closed,
      ),
      {
        maxItems: LEDGER_ROWS_MAX + 2 * Object.keys(GROUPS).length * TOPICS.length,
        description: "published = acked + dead + inFlight + waiting.",
      },
    ),
    totals: Type.Array(Type.Object({ group: Type.String(), ...counts }, closed), {
      maxItems: Object.keys(GROUPS).length,
      description: "The rows' sums by group.",
    }),
  },
  closed,
);

const COUNTS = { published: 9, acked: 6, dead: 1, inFlight: 2, parked: 1, waiting: 0, redriven: 0 };

export const LEDGER_EXAMPLE = {
  balanced: true,
  rows: [{ group: "payment", topic: "orders", partition: 17, ...COUNTS }],
  totals: [{ group: "payment", ...COUNTS }],
};

/** For the list of schemas in the OpenAPI document. */
export const LEDGER_SCHEMAS = { Ledger: LedgerSchema } as const;
