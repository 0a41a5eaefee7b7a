/**
 * The payment service: captures what was ordered, gives back what was cancelled.
 *
 * It asks the fraud check, then the provider, and commits row and report together after the answer;
 * should the process die in between, order id and idempotency key ask again and get the same
 * answers. Without a verdict it captures nothing: the order waits, however long. A capture without
 * an answer is given up after a number of attempts and reported as failed; a refund is not given
 * up here. One order's messages must come one at a time; thousands of orders may be under way.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { FraudCheck } from "../fraud/fraud-check.ts";
import type { Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { CaptureResult, PaymentGateways, RefundResult } from "./gateways.ts";
import type { CaptureOutcome, Payment, PaymentChange, PaymentInput } from "./payment.ts";

import { assert, isShopError } from "../../runtime/errors.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { commitDecision } from "../delivery/committer.ts";
import { causeOf, encodeEvent } from "../delivery/decode-message.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { fraudOrderOf } from "../fraud/fraud-check.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { captureKeyOf, gatewayFor, refundKeyOf } from "./gateways.ts";
import { afterBlock, afterCapture, afterRefund, closedPayment, nextStep } from "./payment.ts";

export interface PaymentSettings {
  /**
   * Attempts (deliveries that ended in `PROVIDER_UNAVAILABLE`) after which a capture is abandoned.
   * Must be less than the attempts after which the consumer buries a message.
   */
  readonly captureAttemptsMax: number;
}

export const PAYMENT_SETTINGS: PaymentSettings = { captureAttemptsMax: 10 };

export interface PaymentServiceOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly slots: number;
  readonly gateways: PaymentGateways;
  /** Asked before each capture; without one every order is captured. */
  readonly fraud?: FraudCheck;
  readonly settings?: PaymentSettings;
  /** Called after each commit. Must not throw. */
  readonly onChange?: (change: PaymentChange) => void;
}

export interface PaymentService {
  /**
   * Handler of group `payment`. Rejects with `PROVIDER_UNAVAILABLE`, `CIRCUIT_OPEN` or
   * `CHECK_UNAVAILABLE` to be tried again; only the first of them counts as an attempt.
   */
  handle(message: Message<ShopEvent>, signal: AbortSignal): Promise<Outcome>;
  /** Calls to providers under way. */
  inFlight(): number;
}

const GROUP = "payment";

/** Orders that cost nothing never reach a provider. */
const FREE_CAPTURE: CaptureResult = { status: "captured", reference: "free" };
const FREE_REFUND: RefundResult = { status: "nothing_to_refund", reference: "free" };

export function createPaymentService(options: PaymentServiceOptions): PaymentService {
  const { store, environment, slots, gateways, settings = PAYMENT_SETTINGS } = options;
  let inFlight = 0;

  async function handle(message: Message<ShopEvent>, signal: AbortSignal): Promise<Outcome> {
    const { body: input, frame, delivery, attempt } = message;
    if (!isPaymentInput(input)) return ACK;

    const decide = async () => {
      const [row] = await store.load("payments", [input.orderId]);
      const stored = row === undefined ? undefined : decodePayment(row.data);
      const change = await carryOut(input, stored, attempt, signal);
      return { unit: unitOf(change, row?.version ?? 0), result: change };
    };

    function unitOf(change: PaymentChange | undefined, expectedVersion: number): UnitOfWork {
      const inbox = [{ group: GROUP, messageId: frame.id }];
      if (change === undefined) return { ...EMPTY_UNIT, inbox };
      const { payment, event, flag } = change;
      const data = encodeValue(payment);
      const rows = [{ table: "payments", key: payment.orderId, expectedVersion, data } as const];
      const cause = causeOf(frame);
      const events = [event, flag].filter((one) => one !== undefined);
      const outgoing = events.map((one) => encodeEvent(one, { environment, slots, cause }));
      return { ...EMPTY_UNIT, inbox, rows, outgoing };
    }

    const answer = await commitDecision(store, [delivery], decide);
    if (answer.kind === "duplicate") return ACK;
    if (answer.result !== undefined) options.onChange?.(answer.result);
    return SETTLED;
  }

  /** Does what is due at the provider; `undefined` when nothing is. */
  async function carryOut(
    input: PaymentInput,
    payment: Payment | undefined,
    attempt: number,
    signal: AbortSignal,
  ): Promise<PaymentChange | undefined> {
    switch (nextStep(input, payment)) {
      case "none":
        return undefined;
      case "close":
        return { payment: closedPayment(input.orderId) };
      case "capture":
        assert(input.type === "order.created", "only a created order is captured");
        return await checkAndCapture(input, attempt, signal);
      case "refund":
        assert(payment !== undefined, "only a known payment is refunded");
        return afterRefund(payment, await refund(payment, signal));
    }
  }

  async function checkAndCapture(
    order: EventOf<"order.created">,
    attempt: number,
    signal: AbortSignal,
  ): Promise<PaymentChange> {
    const isFree = order.totalMinor === 0;
    const verdict = isFree ? undefined : await options.fraud?.check(fraudOrderOf(order), signal);
    if (verdict?.decision === "block") return afterBlock(order, verdict);
    return afterCapture(order, await capture(order, attempt, signal), verdict);
  }

  async function capture(
    order: EventOf<"order.created">,
    attempt: number,
    signal: AbortSignal,
  ): Promise<CaptureOutcome> {
    const { orderId, totalMinor: amountMinor, currency, paymentMethod } = order;
    if (amountMinor === 0) return FREE_CAPTURE;
    const idempotencyKey = captureKeyOf(orderId);
    const request = { idempotencyKey, orderId, amountMinor, currency };
    const token = paymentMethod?.token;
    const gateway = gateways[gatewayFor(amountMinor)];
    try {
      return await counted(
        gateway.capture(token === undefined ? request : { ...request, token }, signal),
      );
    } catch (error) {
      const isGivenUp = attempt >= settings.captureAttemptsMax;
      if (isShopError(error, "PROVIDER_UNAVAILABLE") && isGivenUp) return { status: "unanswered" };
      throw error;
    }
  }

  async function refund(payment: Payment, signal: AbortSignal): Promise<RefundResult> {
    const { orderId, amountMinor, currency, reference, gateway } = payment;
    if (amountMinor === 0) return FREE_REFUND;
    const request = {
      idempotencyKey: refundKeyOf(orderId),
      captureKey: captureKeyOf(orderId),
      orderId,
      amountMinor,
      currency,
      ...(reference === undefined ? {} : { reference }),
    };
    return await counted(gateways[gateway].refund(request, signal));
  }

  async function counted<Result>(call: Promise<Result>): Promise<Result> {
    inFlight++;
    try {
      return await call;
    } finally {
      inFlight--;
    }
  }

  return { handle, inFlight: () => inFlight };
}

/** The payment in a row of table `payments`. */
export function decodePayment(data: Uint8Array): Payment {
  // Only this service writes this table, and the store keeps what it was given.
  return decodeValue(data) as Payment;
}

function isPaymentInput(event: ShopEvent): event is PaymentInput {
  return event.type === "order.created" || event.type === "order.cancelled";
}
