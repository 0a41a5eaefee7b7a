/**
 * What a decision of the order becomes in the store: one unit of work.
 *
 * Row, columns, timeline, frames, reservation timer and, for a create with a key, the idempotency
 * row. Nothing is published that is not in the timeline of the same unit. The timeline's data is
 * the event's fields without its type, which stands beside it.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { CommandOf } from "../contracts/messages.ts";
import type { OrderState } from "../contracts/order-state.ts";
import type { InboxMark, RowWrite, TimerStart, UnitOfWork } from "../stores/unit-of-work.ts";
import type { OrderEvent, OrderInput } from "./order.ts";

import { assert } from "../../runtime/errors.ts";
import { framePayload } from "../../runtime/frames/frame.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { encodeEvent } from "../delivery/decode-message.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { evolve, isDecided, reservationTimer } from "./order.ts";

/** An order as it is held in memory: its state, and the version of its row. */
export interface StoredOrder {
  readonly state: OrderState;
  /** Number of writes; not `state.version`, which counts timeline entries. */
  readonly rowVersion: number;
}

/** The first answer to a create, as kept under its idempotency key. */
export interface KeptAnswer {
  readonly orderId: string;
  readonly fingerprint: string;
  readonly order: OrderState;
}

export interface UnitTerms {
  readonly environment: Environment;
  readonly slots: number;
  readonly cause: Cause;
  /** Absent for commands, whose effects carry their own condition. */
  readonly inbox?: InboxMark | undefined;
}

export interface OrderStep {
  readonly unit: UnitOfWork;
  readonly after: OrderState;
}

/** `events` (at least one) applied to `before`, which `input` led to. */
export function orderStep(
  input: OrderInput,
  before: StoredOrder | undefined,
  events: readonly OrderEvent[],
  terms: UnitTerms,
): OrderStep {
  const { environment, slots, cause } = terms;
  const nowMs = environment.nowMs();
  let after = before?.state;
  const timeline = [];
  const outgoing = [];
  for (const event of events) {
    after = evolve(after, event, nowMs);
    const { id: orderId, version, updatedAtMs: atMs } = after;
    const { type } = event;
    let data: Uint8Array;
    if (isDecided(event)) {
      const published = encodeEvent(event, { environment, slots, cause });
      outgoing.push(published);
      // The same fields in the same encoding.
      data = framePayload(published.frame);
    } else data = encodeValue(fieldsOf(event));
    timeline.push({ orderId, version, type, atMs, data });
  }
  assert(after !== undefined, "a step without events has no unit");
  const rows = [orderRow(before?.rowVersion ?? 0, after)];
  if (input.type === "order.create" && input.idempotency !== undefined) {
    rows.push(idempotencyRow(input, input.idempotency, after));
  }
  const unit = {
    ...EMPTY_UNIT,
    inbox: terms.inbox === undefined ? [] : [terms.inbox],
    rows,
    timeline,
    outgoing,
    ...timers(input, before?.state, after, terms),
  };
  return { unit, after };
}

/** Where the first answer to a create with `key` is kept; no two customers share one. */
export function idempotencyRowKey(customerId: string, key: string): string {
  return `${customerId.length}:${customerId}:${key}`;
}

export function decodeOrder(data: Uint8Array): OrderState {
  // Only `orderRow` writes this table, and the store keeps what it was given.
  return decodeValue(data) as OrderState;
}

export function decodeKeptAnswer(data: Uint8Array): KeptAnswer {
  // Only `idempotencyRow` writes this table, and the store keeps what it was given.
  return decodeValue(data) as KeptAnswer;
}

function fieldsOf({ type: _type, ...fields }: OrderEvent): object {
  return fields;
}

function orderRow(expectedVersion: number, state: OrderState): RowWrite {
  const { id: key, customerId, status, createdAtMs } = state;
  const columns = { customerId, status, createdAtMs };
  return { table: "orders", key, expectedVersion, data: encodeValue(state), columns };
}

function idempotencyRow(
  command: CommandOf<"order.create">,
  idempotency: NonNullable<CommandOf<"order.create">["idempotency"]>,
  order: OrderState,
): RowWrite {
  const { key, fingerprint } = idempotency;
  const answer: KeptAnswer = { orderId: order.id, fingerprint, order };
  return {
    table: "idempotency",
    key: idempotencyRowKey(command.customerId, key),
    expectedVersion: 0,
    data: encodeValue(answer),
  };
}

function timers(
  input: OrderInput,
  before: OrderState | undefined,
  after: OrderState,
  terms: UnitTerms,
): Pick<UnitOfWork, "timersStarted" | "timersCancelled"> {
  const id = `lapse:${after.id}`;
  switch (reservationTimer(before, after)) {
    case "none":
      return { timersStarted: [], timersCancelled: [] };
    case "cancel":
      return { timersStarted: [], timersCancelled: [id] };
    case "start": {
      const dueAtMs = input.type === "inventory.reserved" ? input.expiresAtMs : undefined;
      assert(dueAtMs !== undefined, `order ${after.id} holds stock without an end`);
      const { environment, slots, cause } = terms;
      const event = { type: "reservation.lapsed", orderId: after.id } as const;
      const outgoing = encodeEvent(event, { environment, slots, cause });
      const start: TimerStart = { id, dueAtMs, outgoing };
      return { timersStarted: [start], timersCancelled: [] };
    }
  }
}
