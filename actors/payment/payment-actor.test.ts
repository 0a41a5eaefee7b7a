/**
 * The payment service over a store in memory: one capture per order whatever comes twice, fails or
 * crashes, and money back for what was cancelled.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { FraudCheck } from "../fraud/fraud-check.ts";
import type { StoreStep } from "../stores/memory-store.ts";
import type {
  CaptureRequest,
  CaptureResult,
  PaymentGateway,
  RefundRequest,
  RefundResult,
} from "./gateways.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { delivered, eventsOf, SLOTS } from "../order/delivered.suite.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { createPaymentService, decodePayment } from "./payment-actor.ts";
import { createSimulatedProvider, SIMULATED_PROVIDER } from "./simulated-provider.ts";

const { signal } = new AbortController();
const down = () => new ShopError("PROVIDER_UNAVAILABLE", "down", "later");

function orderOf(totalMinor: number, orderId = "o1"): EventOf<"order.created"> {
  return {
    type: "order.created",
    orderId,
    customerId: "ada",
    items: [{ productId: "tea", quantity: 1, priceMinor: totalMinor }],
    totalMinor,
    currency: "USD",
    paymentMethod: { type: "card", token: "tok_1" },
  };
}
const cancelled = { type: "order.cancelled", orderId: "o1", reason: "requested" } as const;

/** Answers as told, and keeps what it was asked. */
function scriptedGateway() {
  const captures: CaptureRequest[] = [];
  const refunds: RefundRequest[] = [];
  const script = {
    capture: async (): Promise<CaptureResult> => ({ status: "captured", reference: "c1" }),
    refund: async (): Promise<RefundResult> => ({ status: "refunded", reference: "r1" }),
  };
  const gateway: PaymentGateway = {
    capture: (request) => {
      captures.push(request);
      return script.capture();
    },
    refund: (request) => {
      refunds.push(request);
      return script.refund();
    },
  };
  return { gateway, captures, refunds, script };
}

function setUp() {
  const environment = createVirtualEnvironment();
  const outgoing: Outgoing[] = [];
  const faults = new Map<StoreStep, ShopError[]>();
  const store = createMemoryStore({
    environment,
    onOutgoing: (each) => void outgoing.push(each),
    onStep: (step) => {
      const fault = faults.get(step)?.shift();
      if (fault !== undefined) throw fault;
    },
  });
  const standard = scriptedGateway();
  const premium = scriptedGateway();
  const gateways = { standard: standard.gateway, premium: premium.gateway };
  const settings = { captureAttemptsMax: 3 };
  const service = createPaymentService({ store, environment, slots: SLOTS, gateways, settings });
  const tell = (event: ShopEvent, attempt = 1) =>
    service.handle(delivered(event, "payment", environment, attempt), signal);
  const payment = () => {
    const [row] = store.rows("payments");
    return row === undefined ? undefined : decodePayment(row.data);
  };
  const events = () => eventsOf(outgoing);
  return { environment, store, faults, standard, premium, service, tell, payment, events };
}

let shop: ReturnType<typeof setUp>;
beforeEach(() => {
  shop = setUp();
});

describe("an order that was created", () => {
  test("is captured under a key of its own, and reported in the same unit", async () => {
    expect(await shop.tell(orderOf(1_900))).toEqual({ kind: "settled" });
    expect(shop.standard.captures).toEqual([
      {
        idempotencyKey: "o1:capture",
        orderId: "o1",
        amountMinor: 1_900,
        currency: "USD",
        token: "tok_1",
      },
    ]);
    expect(shop.payment()).toMatchObject({ status: "completed", reference: "c1" });
    expect(shop.events()).toMatchObject([{ type: "payment.processed", status: "completed" }]);
  });
  test("goes to the premium gateway above 1000.00", async () => {
    await shop.tell(orderOf(100_000, "o1"));
    await shop.tell(orderOf(100_001, "o2"));
    expect(shop.standard.captures.map((request) => request.orderId)).toEqual(["o1"]);
    expect(shop.premium.captures.map((request) => request.orderId)).toEqual(["o2"]);
  });
  test("is captured once, however often it is announced", async () => {
    const message = delivered(orderOf(1_900), "payment", shop.environment);
    await shop.service.handle(message, signal);
    expect(shop.store.hasMark("payment", message.frame.id)).toBe(true);
    await shop.service.handle(message, signal);
    await shop.tell(orderOf(1_900));
    expect(shop.standard.captures).toHaveLength(1);
    expect(shop.events()).toHaveLength(1);
  });
  test("that costs nothing is paid without a provider", async () => {
    await shop.tell(orderOf(0));
    await shop.tell(cancelled);
    expect(shop.standard.captures).toHaveLength(0);
    expect(shop.standard.refunds).toHaveLength(0);
    expect(shop.events().map((event) => event.type)).toEqual([
      "payment.processed",
      "payment.refunded",
    ]);
  });
  test("and declined is settled, not tried again", async () => {
    shop.standard.script.capture = async () => ({ status: "declined", reason: "no funds" });
    expect(await shop.tell(orderOf(1_900))).toEqual({ kind: "settled" });
    expect(shop.events()).toMatchObject([{ status: "failed", reason: "no funds" }]);
    await shop.tell(cancelled);
    expect(shop.standard.refunds).toHaveLength(0);
  });
  test("leaves no trace when its commit fails, and asks again under the same key", async () => {
    shop.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "broken", "later")]);
    expect(shop.tell(orderOf(1_900))).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    expect(shop.payment()).toBeUndefined();
    expect(await shop.tell(orderOf(1_900), 2)).toEqual({ kind: "settled" });
    expect(shop.standard.captures.map((request) => request.idempotencyKey)).toEqual([
      "o1:capture",
      "o1:capture",
    ]);
  });
});

describe("a provider that cannot be reached", () => {
  test("is asked again until the attempts are used up, then the capture is abandoned", async () => {
    shop.standard.script.capture = () => Promise.reject(down());
    for (const attempt of [1, 2]) {
      const handled = shop.tell(orderOf(1_900), attempt);
      expect(handled).rejects.toMatchObject({ code: "PROVIDER_UNAVAILABLE" });
      expect(shop.payment()).toBeUndefined();
    }
    expect(await shop.tell(orderOf(1_900), 3)).toEqual({ kind: "settled" });
    expect(shop.payment()?.status).toBe("abandoned");
    expect(shop.events()).toMatchObject([{ status: "failed", reason: "unavailable" }]);
  });

  test("that may have captured all the same is asked for the money until it answers", async () => {
    shop.standard.script.capture = () => Promise.reject(down());
    await shop.tell(orderOf(1_900), 3);
    const answer = shop.standard.script.refund;
    shop.standard.script.refund = () => Promise.reject(down());
    for (const attempt of [1, 2, 3, 4, 50]) {
      const handled = shop.tell(cancelled, attempt);
      expect(handled).rejects.toMatchObject({ code: "PROVIDER_UNAVAILABLE" });
    }
    shop.standard.script.refund = answer;
    expect(await shop.tell(cancelled, 51)).toEqual({ kind: "settled" });
    expect(shop.payment()?.status).toBe("voided");
    expect(shop.standard.refunds.at(-1)).toEqual({
      idempotencyKey: "o1:refund",
      captureKey: "o1:capture",
      orderId: "o1",
      amountMinor: 1_900,
      currency: "USD",
    });
    // A capture that was never reported is not reported as refunded either.
    expect(shop.events()).toHaveLength(1);
  });
});

describe("an order that was cancelled", () => {
  test("gets its money back, once", async () => {
    await shop.tell(orderOf(1_900));
    expect(await shop.tell(cancelled)).toEqual({ kind: "settled" });
    await shop.tell(cancelled);
    expect(shop.standard.refunds).toMatchObject([{ captureKey: "o1:capture", reference: "c1" }]);
    expect(shop.payment()).toMatchObject({ status: "refunded", refundReference: "r1" });
    expect(shop.events().at(-1)).toMatchObject({ type: "payment.refunded", amountMinor: 1_900 });
    expect(shop.events()).toHaveLength(2);
  });
  test("is never captured afterwards", async () => {
    await shop.tell(cancelled);
    await shop.tell(orderOf(1_900));
    expect(shop.standard.captures).toHaveLength(0);
    expect(shop.events()).toHaveLength(0);
  });
});

describe("a fraud check that was switched on", () => {
  const fraud: FraudCheck = {
    check: async () => ({ decision: "block", score: 100, rules: ["deny_customer"] }),
    close: async () => {},
  };

  test("after a crash between capture and commit leaves no money with the shop", async () => {
    const { environment, store } = shop;
    const provider = createSimulatedProvider(environment, {
      ...SIMULATED_PROVIDER,
      latency: { kind: "none" },
    });
    const gateways = { standard: provider, premium: provider };
    const start = (check?: FraudCheck) =>
      createPaymentService({
        store,
        environment,
        slots: SLOTS,
        gateways,
        ...(check === undefined ? {} : { fraud: check }),
      });
    // The process that captured dies before its commit, and the count of attempts dies with it.
    const created = delivered(orderOf(1_900), "payment", environment);
    shop.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "died", "later")]);
    expect(start().handle(created, signal)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    expect(provider.effectOf("o1:capture")).toBe("captured");
    const restarted = start(fraud);
    await restarted.handle(created, signal);
    expect(shop.payment()?.status).toBe("blocked");
    await restarted.handle(delivered(cancelled, "payment", environment), signal);
    expect(provider.effectOf("o1:capture")).toBe("refunded");
    expect(shop.payment()).toMatchObject({
      status: "blocked",
      refundReference: expect.any(String),
    });
    expect(shop.events()).toMatchObject([
      { status: "failed", reason: "fraud" },
      { type: "fraud.flagged" },
    ]);
  });
});

test("what is not about payment is acknowledged", async () => {
  const shipped = { type: "order.delivered", orderId: "o1", trackingNumber: "SS1" } as const;
  expect(await shop.tell(shipped)).toEqual({ kind: "ack" });
});

test("thousands of captures wait for their provider side by side", async () => {
  const { environment, store } = shop;
  const provider = createSimulatedProvider(environment, {
    ...SIMULATED_PROVIDER,
    latency: { kind: "fixed", delayMs: 120 },
  });
  const gateways = { standard: provider, premium: provider };
  const service = createPaymentService({ store, environment, slots: SLOTS, gateways });
  const outcomes = Array.from({ length: 3_000 }, (_, at) =>
    service.handle(delivered(orderOf(500, `o${at}`), "payment", environment), signal),
  );
  await environment.settle();
  expect(service.inFlight()).toBe(3_000);
  await environment.advance(120);
  for (const outcome of await Promise.all(outcomes)) expect(outcome).toEqual({ kind: "settled" });
  expect(service.inFlight()).toBe(0);
});
