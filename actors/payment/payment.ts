/**
 * One order's payment as a pure state machine: which call to the provider is due, and what its
 * answer means.
 *
 * `capturing` (no row yet) → `completed` | `declined` | `blocked` | `abandoned` → `refunded` |
 * `voided`. A capture that was given up on without an answer is `abandoned`, one that the fraud
 * check forbade is `blocked`. In both the money may have moved: nobody can say that no attempt
 * before a crash, or before the check was switched on, asked the provider. So a cancellation asks
 * for it back all the same; of a capture that never was, nothing is given back. A blocked payment
 * stays `blocked`, then with the reference of that refund. Refuses to capture twice, to refund what
 * was declined, and to capture at all once the order was cancelled.
 */

import type { EventOf } from "../contracts/messages.ts";
import type { Verdict } from "../fraud/fraud-check.ts";
import type { CaptureResult, GatewayName, RefundResult } from "./gateways.ts";

import { assert } from "../../runtime/errors.ts";
import { gatewayFor } from "./gateways.ts";

export type PaymentRowStatus =
  "completed" | "declined" | "blocked" | "abandoned" | "refunded" | "voided";

/** The row of table `payments`, by order id. */
export interface Payment {
  readonly orderId: string;
  readonly amountMinor: number;
  readonly currency: string;
  readonly gateway: GatewayName;
  readonly status: PaymentRowStatus;
  /** The provider's name for the capture. */
  readonly reference?: string;
  readonly refundReference?: string;
}

/** What payment listens to. */
export type PaymentInput = EventOf<"order.created" | "order.cancelled">;
export type PaymentEvent = EventOf<"payment.processed" | "payment.refunded">;

/** `close`: no money moved and none may: only a row that says so is due. */
export type PaymentStep = "capture" | "refund" | "close" | "none";

/** What became of a capture; `unanswered` when every attempt ended without an answer. */
export type CaptureOutcome = CaptureResult | { readonly status: "unanswered" };

/** A row and what is published with it, in one unit of work. */
export interface PaymentChange {
  readonly payment: Payment;
  readonly event?: PaymentEvent;
  /** What the fraud check found. */
  readonly flag?: EventOf<"fraud.flagged">;
}

/** What is due when `input` finds `payment`. */
export function nextStep(input: PaymentInput, payment: Payment | undefined): PaymentStep {
  if (input.type === "order.created") return payment === undefined ? "capture" : "none";
  // Its order.created was given up on; should that be redriven, it must find a closed door.
  if (payment === undefined) return "close";
  switch (payment.status) {
    case "completed":
    case "abandoned":
      return "refund";
    case "blocked":
      return payment.refundReference === undefined ? "refund" : "none";
    case "declined":
    case "refunded":
    case "voided":
      return "none";
  }
}

/**
 * The payment of `order` after its capture ended. `verdict` let it happen; without one nobody was
 * asked.
 */
export function afterCapture(
  order: EventOf<"order.created">,
  outcome: CaptureOutcome,
  verdict?: Verdict,
): PaymentChange {
  return { ...captured(order, outcome, verdict), ...flagOf(order, verdict) };
}

function captured(
  order: EventOf<"order.created">,
  outcome: CaptureOutcome,
  verdict: Verdict | undefined,
): PaymentChange {
  const payment = newPayment(order);
  const event = { type: "payment.processed", ...payment, ...riskOf(verdict) } as const;
  switch (outcome.status) {
    case "captured": {
      const { reference } = outcome;
      return {
        payment: { ...payment, status: "completed", reference },
        event: { ...event, status: "completed", reference },
      };
    }
    case "declined":
      return {
        payment: { ...payment, status: "declined" },
        event: { ...event, status: "failed", reason: outcome.reason },
      };
    case "unanswered":
      return {
        payment: { ...payment, status: "abandoned" },
        event: { ...event, status: "failed", reason: "unavailable" },
      };
  }
}

/** The payment of `order` whose capture `verdict` forbids. */
export function afterBlock(order: EventOf<"order.created">, verdict: Verdict): PaymentChange {
  const payment = newPayment(order);
  const event = { type: "payment.processed", ...payment, ...riskOf(verdict) } as const;
  return {
    payment: { ...payment, status: "blocked" },
    event: { ...event, status: "failed", reason: "fraud" },
    ...flagOf(order, verdict),
  };
}

/**
 * The payment after a refund was answered. Only a payment that was reported as completed is
 * reported as refunded, so that the events of an order always add up to its total or to nothing.
 */
export function afterRefund(payment: Payment, result: RefundResult): PaymentChange {
  const { orderId, amountMinor, currency } = payment;
  const { reference } = result;
  if (payment.status === "blocked") return { payment: { ...payment, refundReference: reference } };
  if (payment.status === "abandoned") {
    return { payment: { ...payment, status: "voided", refundReference: reference } };
  }
  assert(payment.status === "completed", `order ${orderId}: refund of a ${payment.status} payment`);
  return {
    payment: { ...payment, status: "refunded", refundReference: reference },
    event: { type: "payment.refunded", orderId, amountMinor, currency, reference },
  };
}

/** The row that keeps a cancelled order from ever being captured. */
export function closedPayment(orderId: string): Payment {
  return { orderId, amountMinor: 0, currency: "XXX", gateway: "standard", status: "voided" };
}

function newPayment({ orderId, totalMinor: amountMinor, currency }: EventOf<"order.created">) {
  return { orderId, amountMinor, currency, gateway: gatewayFor(amountMinor) };
}

function riskOf(verdict: Verdict | undefined): Pick<EventOf<"payment.processed">, "risk"> {
  if (verdict === undefined || verdict.rules.length === 0) return {};
  return { risk: { score: verdict.score, rules: [...verdict.rules] } };
}

function flagOf(
  { orderId, customerId }: EventOf<"order.created">,
  verdict: Verdict | undefined,
): Pick<PaymentChange, "flag"> {
  if (verdict === undefined || verdict.rules.length === 0) return {};
  const { decision, score, rules } = verdict;
  return {
    flag: { type: "fraud.flagged", orderId, customerId, decision, score, rules: [...rules] },
  };
}
