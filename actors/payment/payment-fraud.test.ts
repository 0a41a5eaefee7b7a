/**
 * Payment between fraud check, circuit breaker and provider, as the consumer runs it: what holds an
 * order, what costs it an attempt, and that nothing is captured without a verdict.
 */

import { afterEach, describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { FraudCheck, FraudOrder, Verdict } from "../fraud/fraud-check.ts";
import type { CaptureResult, PaymentGateway } from "./gateways.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { GROUPS, TOPICS } from "../contracts/topics.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { decodeEvent, encodeEvent } from "../delivery/decode-message.ts";
import { DELIVERY_POLICY } from "../delivery/delivery-policy.ts";
import { createFraudCheck } from "../fraud/embedded-fraud-check.ts";
import { createInlineScorer } from "../fraud/score-batch.ts";
import { FRAUD_THRESHOLDS } from "../fraud/thresholds.ts";
import { eventsOf, SLOTS } from "../order/delivered.suite.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { guardGateway } from "./circuit-breaker.ts";
import { createPaymentService, decodePayment } from "./payment-actor.ts";

const MIB = 1024 * 1024;
const PASS: Verdict = { decision: "pass", score: 0, rules: [] };
const BLOCK: Verdict = { decision: "block", score: 100, rules: ["deny_customer"] };
const held = () => new ShopError("CHECK_UNAVAILABLE", "no verdict", "later");
const cancelled = { type: "order.cancelled", orderId: "o1", reason: "requested" } as const;

function orderOf(orderId = "o1", totalMinor = 1_900): EventOf<"order.created"> {
  return {
    type: "order.created",
    orderId,
    customerId: "ada",
    items: [{ productId: "tea", quantity: 1, priceMinor: totalMinor }],
    totalMinor,
    currency: "USD",
  };
}

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

type Scripted = (order: FraudOrder) => Promise<Verdict>;

/** Group `payment` on memory ports. `fraud` is a script, or the real check with a deny list. */
async function startShop(fraud: Scripted | "real" | "none", isGuarded = false) {
  const environment = createVirtualEnvironment();
  const log = new MemoryLog({
    topics: TOPICS,
    partitions: SLOTS,
    logBytesMax: 64 * MIB,
    deadLetterBytesMax: MIB,
  });
  const broker = new MemoryBroker({ environment, log });
  const outgoing: Outgoing[] = [];
  const store = createMemoryStore({
    environment,
    onOutgoing: (each) => void outgoing.push(each),
    onAcknowledged: (deliveries) => broker.acknowledge(deliveries),
  });
  const calls = { captures: [] as string[], refunds: [] as string[], checks: [] as string[] };
  const provider = {
    capture: async (): Promise<CaptureResult> => ({ status: "captured", reference: "c1" }),
  };
  const inner: PaymentGateway = {
    capture(request) {
      calls.captures.push(request.orderId);
      return provider.capture();
    },
    async refund(request) {
      calls.refunds.push(request.orderId);
      return { status: "nothing_to_refund", reference: "r1" };
    },
  };
  const gateway = isGuarded ? guardGateway(inner, { environment, gateway: "standard" }) : inner;
  const script = { check: typeof fraud === "function" ? fraud : async () => PASS };
  const scripted: FraudCheck = {
    check(order) {
      calls.checks.push(order.orderId);
      return script.check(order);
    },
    close: async () => {},
  };
  const deny = { ...FRAUD_THRESHOLDS.deny, customers: ["eve"] };
  const scorer = createInlineScorer({ ...FRAUD_THRESHOLDS, deny });
  const check = fraud === "real" ? createFraudCheck({ store, environment, scorer }) : scripted;
  const service = createPaymentService({
    store,
    environment,
    slots: SLOTS,
    gateways: { standard: gateway, premium: gateway },
    settings: { captureAttemptsMax: 3 },
    ...(fraud === "none" ? {} : { fraud: check }),
  });
  const starting = startConsumer<ShopEvent>({
    broker,
    environment,
    group: "payment",
    topics: GROUPS.payment,
    decode: decodeEvent,
    handler: { kind: "single", concurrencyMax: 100, handle: service.handle },
    policy: { ...DELIVERY_POLICY, deliveriesMax: 1_000 },
  });
  await environment.settle();
  const consumer = await starting;
  closers.push(async () => {
    await consumer.close();
    await check.close();
  });
  async function tell(event: ShopEvent, waitMs = 100): Promise<void> {
    await broker.publish([encodeEvent(event, { environment, slots: SLOTS })]);
    await environment.advance(waitMs);
  }
  const status = (orderId = "o1") => {
    const row = store.rows("payments").find(({ key }) => key === orderId);
    return row === undefined ? undefined : decodePayment(row.data).status;
  };
  const events = () => eventsOf(outgoing);
  return { environment, calls, provider, script, tell, status, events };
}

describe("a payment under a fraud check", () => {
  test("is captured after the verdict, which is reported when a rule fired", async () => {
    const risk = { score: 40, rules: ["customer_velocity"] };
    const shop = await startShop(async () => ({ decision: "pass", ...risk }));
    await shop.tell(orderOf());
    expect(shop.status()).toBe("completed");
    expect(shop.events()).toMatchObject([
      { status: "completed", risk },
      { type: "fraud.flagged", orderId: "o1", customerId: "ada", decision: "pass", ...risk },
    ]);
  });

  test("that is blocked fails for fraud and never reaches a provider", async () => {
    const shop = await startShop(async () => BLOCK);
    await shop.tell(orderOf());
    expect(shop.status()).toBe("blocked");
    expect(shop.events()).toMatchObject([
      { status: "failed", reason: "fraud", risk: { score: 100, rules: ["deny_customer"] } },
      { type: "fraud.flagged", decision: "block", score: 100, rules: ["deny_customer"] },
    ]);
    expect(shop.calls).toEqual({ captures: [], refunds: [], checks: ["o1"] });
  });

  test("is held for as long as there is no verdict, without losing an attempt", async () => {
    const shop = await startShop(() => Promise.reject(held()));
    await shop.tell(orderOf(), 10 * 60_000);
    expect(shop.calls.checks.length).toBeGreaterThan(DELIVERY_POLICY.retry.attemptsMax);
    expect(shop.calls.captures).toEqual([]);
    expect(shop.status()).toBeUndefined();
    expect(shop.events()).toEqual([]);
    shop.script.check = async () => PASS;
    await shop.environment.advance(10_000);
    expect(shop.status()).toBe("completed");
    expect(shop.calls.captures).toEqual(["o1"]);
  });

  test("is checked again with every attempt, and its answer lost is not asked back", async () => {
    const shop = await startShop("real");
    const answer = shop.provider.capture;
    shop.provider.capture = () => {
      shop.provider.capture = answer;
      return Promise.reject(new ShopError("PROVIDER_UNAVAILABLE", "lost", "later"));
    };
    await shop.tell(orderOf(), 10_000);
    expect(shop.calls.captures).toEqual(["o1", "o1"]);
    expect(shop.status()).toBe("completed");
  });

  test("blocked only after an attempt that asked the provider is asked back", async () => {
    const shop = await startShop(async () => PASS);
    shop.provider.capture = () => {
      // As when the check was switched on between two attempts.
      shop.script.check = async () => BLOCK;
      return Promise.reject(new ShopError("PROVIDER_UNAVAILABLE", "lost", "later"));
    };
    await shop.tell(orderOf(), 10_000);
    expect(shop.events()).toMatchObject([
      { status: "failed", reason: "fraud" },
      { type: "fraud.flagged", decision: "block" },
    ]);
    await shop.tell({ ...cancelled, reason: "payment_failed" });
    expect(shop.calls.refunds).toEqual(["o1"]);
    expect(shop.status()).toBe("blocked");
  });

  test("of an order that costs nothing is not checked", async () => {
    const shop = await startShop(() => Promise.reject(held()));
    await shop.tell(orderOf("o1", 0));
    expect(shop.status()).toBe("completed");
    expect(shop.calls.checks).toEqual([]);
  });

  test("is checked by the rules themselves: who is denied pays nothing", async () => {
    const shop = await startShop("real");
    await shop.tell(orderOf("o1"));
    await shop.tell({ ...orderOf("o2"), customerId: "eve" });
    expect([shop.status("o1"), shop.status("o2")]).toEqual(["completed", "blocked"]);
    expect(shop.calls.captures).toEqual(["o1"]);
  });
});

describe("an outage of the provider", () => {
  const down = () => Promise.reject(new ShopError("PROVIDER_UNAVAILABLE", "down", "later"));

  test("cancels no order that the provider never saw, however long it lasts", async () => {
    const shop = await startShop("none", true);
    const answer = shop.provider.capture;
    shop.provider.capture = down;
    // Their failures open the circuit; a trial each 30 s, theirs as well, keeps it open.
    for (let at = 0; at < 5; at++) await shop.tell(orderOf(`early${at}`), 0);
    await shop.environment.advance(1_000);
    const seen = new Set(shop.calls.captures);
    await shop.tell(orderOf("late"), 25_000);
    expect(seen.has("late")).toBe(false);
    expect(shop.calls.captures).not.toContain("late");
    expect(shop.status("late")).toBeUndefined();
    shop.provider.capture = answer;
    await shop.environment.advance(30_000);
    expect(shop.status("late")).toBe("completed");
  });

  test("is no attempt of the orders that the open circuit refused", async () => {
    const shop = await startShop("none", true);
    shop.provider.capture = down;
    for (let at = 0; at < 5; at++) await shop.tell(orderOf(`early${at}`), 0);
    await shop.tell(orderOf("late"), 10 * 60_000);
    // An order is given up after three calls of its own, and not before.
    const asked = (orderId: string) =>
      shop.calls.captures.filter((captured) => captured === orderId).length;
    for (const orderId of ["early0", "early1", "early2", "early3", "early4", "late"]) {
      expect([orderId, asked(orderId)]).toEqual([orderId, 3]);
      expect(shop.status(orderId)).toBe("abandoned");
    }
  });
});
