/**
 * Events as documents: one for each order event, and one for each batch of behaviour.
 *
 * Fields have the names of the contracts, so that the collection can be read by people and other
 * programs; amounts are 64-bit integers in minor units, never floats. What analytics does not
 * count (addresses, references) is not stored. Back from a document come the facts that went in;
 * documents are never changed, and only this file makes them.
 */

import { Binary, Long } from "mongodb";

import type { PlacingKind } from "../event-windows.ts";
import type { CountedOrderEvent, OpenOrder } from "../order-facts.ts";
import type { BehaviorWindow, EventFacts } from "./event-facts.ts";

import { InvariantError } from "../../../runtime/errors.ts";
import { dayOf } from "./event-facts.ts";
import { packRegisters, unpackRegisters } from "./sparse-registers.ts";

/** As written: amounts as `Long`. As read, the driver makes numbers of them. */
type Whole = Long | number;

interface LineDocument {
  readonly productId: string;
  readonly quantity: number;
  readonly amountMinor: Whole;
}

/** What is known of an order, in an event and in a collection of its own. */
export interface OrderFields {
  readonly segment: string;
  readonly size: string;
  readonly currency: string;
  readonly lines: readonly LineDocument[];
}

interface WindowDocument {
  readonly kind: PlacingKind;
  readonly minute: Date;
  readonly events: readonly string[];
  readonly eventCounts: readonly number[];
  readonly products: readonly string[];
  readonly productCounts: readonly number[];
  /** Registers of the sketch that are not 0. */
  readonly visitors: Binary | Uint8Array;
}

export interface EventDocument {
  readonly _id: string;
  /** What it was stored together with. */
  readonly piece: string;
  /** Of the event; `unreadable` where there is none. */
  readonly type: CountedOrderEvent["type"] | "user.behavior" | "unreadable";
  readonly storedAt: Date;
  readonly kind?: PlacingKind;
  /** The window it is counted in. */
  readonly minute?: Date;
  readonly orderId?: string;
  readonly customerId?: string;
  readonly currency?: string;
  readonly totalMinor?: Whole;
  readonly amountMinor?: Whole;
  readonly gateway?: "premium" | "standard";
  readonly status?: string;
  readonly reason?: string;
  readonly carrier?: string;
  readonly order?: OrderFields;
  /** A payment that came before its order: what needs the order is claimed by itself. */
  readonly awaitsOrder?: boolean;
  readonly batchId?: string;
  readonly windows?: readonly WindowDocument[];
}

export function documentOf(facts: EventFacts, piece: string): EventDocument {
  const base = { _id: facts.id, piece, storedAt: new Date(facts.storedAtMs) };
  switch (facts.shape) {
    case "unreadable":
      return { ...base, type: "unreadable" };
    case "behavior":
      return {
        ...base,
        type: "user.behavior",
        batchId: facts.batchId,
        windows: facts.windows.map(windowDocument),
      };
    case "order": {
      const { kind, startMs, event, order, part } = facts;
      const shared = { ...base, type: event.type, kind, minute: new Date(startMs) };
      const known = order === undefined ? {} : { order: orderFields(order) };
      const awaits = part === "own" ? { awaitsOrder: true } : {};
      return { ...shared, ...eventFields(event), ...known, ...awaits };
    }
  }
}

export function factsIn(document: EventDocument): EventFacts {
  const { _id: id, type, storedAt, kind = "counted", minute = storedAt } = document;
  const base = { id, day: dayOf(storedAt.getTime()), storedAtMs: storedAt.getTime() };
  if (type === "unreadable") return { shape: "unreadable", ...base };
  if (type === "user.behavior") {
    const windows = (document.windows ?? []).map(windowIn);
    return { shape: "behavior", ...base, batchId: document.batchId ?? "", windows };
  }
  const { order } = document;
  const known = order === undefined ? {} : { order: orderIn(order) };
  const part = document.awaitsOrder === true ? ({ part: "own" } as const) : {};
  const event = eventIn(document);
  return { shape: "order", ...base, kind, startMs: minute.getTime(), event, ...known, ...part };
}

export function orderFields({ segment, size, currency, lines }: OpenOrder): OrderFields {
  return {
    segment,
    size,
    currency,
    lines: lines.map((line) => ({ ...line, amountMinor: Long.fromNumber(line.amountMinor) })),
  };
}

export function orderIn({ segment, size, currency, lines }: OrderFields): OpenOrder {
  return {
    segment,
    size,
    currency,
    lines: lines.map((line) => ({ ...line, amountMinor: Number(line.amountMinor) })),
  };
}

function eventFields(event: CountedOrderEvent): Partial<EventDocument> {
  const { orderId } = event;
  switch (event.type) {
    case "order.created": {
      const { customerId, currency } = event;
      return { orderId, customerId, currency, totalMinor: Long.fromNumber(event.totalMinor) };
    }
    case "payment.processed": {
      const { status, currency, gateway, reason } = event;
      const amountMinor = Long.fromNumber(event.amountMinor);
      const why = reason === undefined ? {} : { reason };
      return { orderId, status, currency, gateway, amountMinor, ...why };
    }
    case "inventory.reserved":
      return { orderId, status: event.status };
    case "order.shipped":
      return { orderId, carrier: event.carrier };
  }
}

/** The event as far as it is counted: no items and no tracking number. */
function eventIn(document: EventDocument): CountedOrderEvent {
  const { type, orderId = "", currency = "", status } = document;
  switch (type) {
    case "order.created": {
      const { customerId = "", totalMinor = 0 } = document;
      return { type, orderId, customerId, currency, items: [], totalMinor: Number(totalMinor) };
    }
    case "payment.processed": {
      const { amountMinor = 0, gateway = "standard", reason } = document;
      const ended = status === "failed" ? "failed" : "completed";
      const why = reason === undefined ? {} : { reason };
      const amount = { currency, amountMinor: Number(amountMinor) };
      return { type, orderId, status: ended, gateway, ...amount, ...why };
    }
    case "inventory.reserved":
      return { type, orderId, status: status === "failed" ? "failed" : "reserved" };
    case "order.shipped":
      return { type, orderId, trackingNumber: "", carrier: document.carrier ?? "" };
    default:
      throw new InvariantError(`${type} is no order event`);
  }
}

function windowDocument({ startMs, visitors, ...counts }: BehaviorWindow): WindowDocument {
  return { ...counts, minute: new Date(startMs), visitors: new Binary(packRegisters(visitors)) };
}

function windowIn({ minute, visitors, ...counts }: WindowDocument): BehaviorWindow {
  const bytes = visitors instanceof Binary ? visitors.buffer : visitors;
  return { ...counts, startMs: minute.getTime(), visitors: unpackRegisters(bytes) };
}
