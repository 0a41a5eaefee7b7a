/**
 * The payment gateways behind one interface, and which of them takes an order.
 *
 * Premium takes amounts strictly above 1000.00, standard the rest. A decline is an answer, not a
 * failure; a provider that cannot be reached, fails, or is too slow rejects with
 * `PROVIDER_UNAVAILABLE`, and the same call may be made again under the same idempotency key.
 */

export type GatewayName = "premium" | "standard";

export interface CaptureRequest {
  /** Same key, same effect: a repeated call gives the first answer. */
  readonly idempotencyKey: string;
  readonly orderId: string;
  readonly amountMinor: number;
  readonly currency: string;
  /** The provider's token for the customer's means of payment. */
  readonly token?: string;
}

export type CaptureResult =
  | { readonly status: "captured"; readonly reference: string }
  | { readonly status: "declined"; readonly reason: string };

export interface RefundRequest {
  readonly idempotencyKey: string;
  readonly orderId: string;
  /**
   * Idempotency key of the capture that is undone. If the provider does not know it, it must refuse
   * a capture under this key from now on: the first call may still be on its way.
   */
  readonly captureKey: string;
  /** The provider's name for the capture; absent when its answer never came. */
  readonly reference?: string;
  readonly amountMinor: number;
  readonly currency: string;
}

export interface RefundResult {
  readonly status: "refunded" | "nothing_to_refund";
  readonly reference: string;
}

/**
 * Rejects with `PROVIDER_UNAVAILABLE`, with `CIRCUIT_OPEN` when the provider was not even asked, or
 * with `CLOSED` once `signal` is aborted.
 */
export interface PaymentGateway {
  capture(request: CaptureRequest, signal: AbortSignal): Promise<CaptureResult>;
  refund(request: RefundRequest, signal: AbortSignal): Promise<RefundResult>;
}

export type PaymentGateways = Readonly<Record<GatewayName, PaymentGateway>>;

/** Amounts strictly above this go to the premium gateway, in minor units. */
export const STANDARD_AMOUNT_MINOR_MAX = 100_000;

export function gatewayFor(amountMinor: number): GatewayName {
  return amountMinor > STANDARD_AMOUNT_MINOR_MAX ? "premium" : "standard";
}

export function captureKeyOf(orderId: string): string {
  return `${orderId}:capture`;
}

export function refundKeyOf(orderId: string): string {
  return `${orderId}:refund`;
}
