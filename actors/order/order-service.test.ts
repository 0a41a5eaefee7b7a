/**
 * The order service over a store in memory: what is committed, what is answered, and what a second
 * sending, a lost answer or another writer changes (nothing).
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { EventOf, ShopEvent } from "../contracts/messages.ts";
import type { CommittedStep } from "./order-actor.ts";
import type { Message } from "../delivery/outcome.ts";
import type { CommandOrigin, OrderCommand } from "./order-service.ts";
import type { StoreStep } from "../stores/memory-store.ts";

import { createActorSystem } from "../../runtime/actors/actor-system.ts";
import { InvariantError, ShopError } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { decodeValue } from "../contracts/codec.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import {
  causeFor,
  createCommand,
  delivered,
  eventsOf,
  messageOf,
  settled,
  SLOTS,
} from "./delivered.suite.ts";
import { createOrderService, ORDER_SETTINGS } from "./order-service.ts";
import { decodeOrder } from "./order-unit.ts";

const paid: EventOf<"payment.processed"> = {
  type: "payment.processed",
  orderId: "o1",
  status: "completed",
  amountMinor: 1_000,
  currency: "USD",
  gateway: "standard",
  reference: "c1",
};
const refunded: EventOf<"payment.refunded"> = {
  type: "payment.refunded",
  orderId: "o1",
  amountMinor: 1_000,
  currency: "USD",
  reference: "r1",
};

function setUp() {
  const environment = createVirtualEnvironment();
  const outgoing: Outgoing[] = [];
  const acknowledged: string[] = [];
  const steps: CommittedStep[] = [];
  const faults = new Map<StoreStep, Error[]>();
  const store = createMemoryStore({
    environment,
    onOutgoing: (each) => void outgoing.push(each),
    onAcknowledged: (refs) => void acknowledged.push(...refs.map((ref) => ref.topic)),
    onStep: (step) => {
      const fault = faults.get(step)?.shift();
      if (fault !== undefined) throw fault;
    },
  });
  /** Another shard, as far as its orders are concerned. */
  const other = (settings = ORDER_SETTINGS, onStep?: (step: CommittedStep) => void) => {
    const onFailure = (failure: unknown) => expect(failure).toBeUndefined();
    const system = createActorSystem(environment, { name: "test", onFailure });
    const options = { store, system, slots: SLOTS, settings };
    const service = createOrderService(onStep === undefined ? options : { ...options, onStep });
    return {
      system,
      command: (input: OrderCommand, from: CommandOrigin) =>
        settled(environment, service.command(input, from)),
      handle: (message: Message<ShopEvent>) => settled(environment, service.handle(message)),
      stats: () => service.stats(),
      stop: () => service.stop(),
    };
  };
  const service = other(ORDER_SETTINGS, (step) => void steps.push(step));
  const command = (input: OrderCommand, deadlineMs = 0) =>
    service.command(input, { cause: causeFor(environment), deadlineMs });
  const tell = (event: ShopEvent) => service.handle(delivered(event, "order", environment));
  const reserved = () =>
    ({
      type: "inventory.reserved",
      orderId: "o1",
      status: "reserved",
      expiresAtMs: environment.nowMs() + 1_000,
    }) as const;
  const published = () => eventsOf(outgoing).map((event) => event.type);
  return {
    environment,
    outgoing,
    acknowledged,
    steps,
    faults,
    store,
    service,
    command,
    tell,
    reserved,
    other,
    published,
  };
}

let shop: ReturnType<typeof setUp>;
beforeEach(() => {
  shop = setUp();
});

function stored(orderId = "o1") {
  const row = shop.store.rows("orders").find(({ key }) => key === orderId);
  if (row === undefined) throw new Error(`no order ${orderId}`);
  return { ...decodeOrder(row.data), rowVersion: row.version };
}

describe("create", () => {
  test("commits row, columns, timeline and event, and answers the order", async () => {
    const reply = await shop.command(createCommand("o1"));
    expect(reply).toMatchObject({
      kind: "order",
      replayed: false,
      order: { id: "o1", version: 1 },
    });
    const page = await shop.store.orders({ customerId: "ada", status: "pending", limit: 10 });
    expect(page.map((row) => row.key)).toEqual(["o1"]);
    const [entry] = await shop.store.timeline("o1", 0);
    expect(entry).toMatchObject({ orderId: "o1", version: 1, type: "order.created" });
    expect(decodeValue(entry?.data ?? new Uint8Array())).toMatchObject({ customerId: "ada" });
    expect(shop.published()).toEqual(["order.created"]);
  });

  test("sent twice makes one order and gives the same answer", async () => {
    const first = await shop.command(createCommand("o1"));
    expect(await shop.command(createCommand("o1"))).toEqual(first);
    expect(await shop.other().command(createCommand("o1"), origin())).toEqual(first);
    expect(shop.published()).toEqual(["order.created"]);
  });

  test("sent twice with a key makes one order and gives the same answer", async () => {
    const command = createCommand("o1", { idempotency: { key: "k", fingerprint: "f" } });
    const first = await shop.command(command);
    expect(await shop.command(command)).toEqual(first);
    expect(await shop.other().command(command, origin())).toEqual(first);
  });

  test("refuses another order under a taken id", async () => {
    await shop.command(createCommand("o1"));
    const reply = await shop.command(createCommand("o1", { customerId: "bob" }));
    expect(reply).toMatchObject({ kind: "refused", code: "failed" });
  });

  test("with a used key gives the first answer again, as it was", async () => {
    const idempotency = { key: "k", fingerprint: "f" };
    const first = await shop.command(createCommand("o1", { idempotency }));
    await shop.tell(paid);
    const second = await shop.command(createCommand("o2", { idempotency }));
    expect(second).toEqual({ ...first, replayed: true } as never);
    expect(shop.store.rows("orders")).toHaveLength(1);
  });

  test("with a used key and another body is refused", async () => {
    await shop.command(createCommand("o1", { idempotency: { key: "k", fingerprint: "f" } }));
    const other = createCommand("o2", { idempotency: { key: "k", fingerprint: "g" } });
    expect(await shop.command(other)).toMatchObject({ code: "idempotency_mismatch" });
  });

  test("with one key from several shards at once makes one order", async () => {
    const idempotency = { key: "k", fingerprint: "f" };
    const replies = await Promise.all(
      ["o1", "o2", "o3"].map((id) =>
        shop.other().command(createCommand(id, { idempotency }), origin()),
      ),
    );
    const ids = replies.map((reply) => (reply.kind === "order" ? reply.order.id : reply.kind));
    expect(new Set(ids).size).toBe(1);
    expect(shop.store.rows("orders")).toHaveLength(1);
    expect(shop.published()).toEqual(["order.created"]);
  });

  test("keys are each customer's own, however they are spelled", async () => {
    for (const [at, [customerId, key]] of [
      ["a", "b:c"],
      ["a:b", "c"],
    ].entries()) {
      const idempotency = { key: key ?? "", fingerprint: "f" };
      const command = createCommand(`o${at}`, { customerId: customerId ?? "", idempotency });
      expect(await shop.command(command)).toMatchObject({ kind: "order", replayed: false });
    }
  });

  test("past its deadline is refused without effect", async () => {
    const reply = await shop.command(createCommand("o1"), shop.environment.nowMs() - 1);
    expect(reply).toMatchObject({ kind: "refused", code: "expired" });
    expect(shop.store.rows("orders")).toHaveLength(0);
  });

  test("is refused when the storage is full, and goes through afterwards", async () => {
    shop.faults.set("before_commit", [new ShopError("STORAGE_FULL", "full", "later")]);
    const refused = await shop.command(createCommand("o1"));
    expect(refused).toMatchObject({ kind: "refused", code: "storage_unavailable" });
    expect(await shop.command(createCommand("o1"))).toMatchObject({ kind: "order" });
  });

  test("whose commit is unclear asks the rows", async () => {
    const unclear = () => new ShopError("INDETERMINATE", "no answer", "later");
    shop.faults.set("after_commit", [unclear()]);
    expect(await shop.command(createCommand("o1"))).toMatchObject({ kind: "order" });
    shop.faults.set("before_commit", [unclear()]);
    expect(await shop.command(createCommand("o2"))).toMatchObject({ kind: "order" });
    expect(shop.published()).toEqual(["order.created", "order.created"]);
  });
});

describe("cancel", () => {
  test("cancels, and answers the same order when asked again", async () => {
    await shop.command(createCommand("o1"));
    const first = await shop.command({ type: "order.cancel", orderId: "o1" });
    expect(first).toMatchObject({ kind: "order", order: { status: "cancelled", version: 2 } });
    expect(await shop.command({ type: "order.cancel", orderId: "o1" })).toEqual(first);
  });
  test("of an unknown order is refused", async () => {
    const reply = await shop.command({ type: "order.cancel", orderId: "o1" });
    expect(reply).toMatchObject({ kind: "refused", code: "not_found" });
  });
});

describe("reports", () => {
  beforeEach(async () => {
    await shop.command(createCommand("o1"));
  });

  test("lead to two entries and one event in one unit", async () => {
    expect(await shop.tell(paid)).toEqual({ kind: "settled" });
    expect(await shop.tell(shop.reserved())).toEqual({ kind: "settled" });
    expect(stored()).toMatchObject({ status: "ready_to_ship", version: 4, rowVersion: 3 });
    const timeline = await shop.store.timeline("o1", 1);
    expect(timeline.map(({ version, type }) => [version, type])).toEqual([
      [2, "payment.processed"],
      [3, "inventory.reserved"],
      [4, "order.ready_to_ship"],
    ]);
    expect(shop.published()).toEqual(["order.created", "order.ready_to_ship"]);
    expect(shop.acknowledged).toEqual(["payments", "inventory"]);
    expect(shop.steps.map((step) => step.events.length)).toEqual([1, 1, 2]);
  });

  test("delivered again change nothing", async () => {
    const message = delivered(paid, "order", shop.environment);
    expect(await shop.service.handle(message)).toEqual({ kind: "settled" });
    expect(shop.store.hasMark("order", message.frame.id)).toBe(true);
    const before = stored();
    expect(await shop.service.handle(message)).toEqual({ kind: "ack" });
    expect(await shop.other().handle(message)).toEqual({ kind: "ack" });
    expect(stored()).toEqual(before);
  });

  test("delivered again to one who does not know yet are stopped by the inbox", async () => {
    // The other shard has the order in memory from before the payment.
    const other = shop.other();
    await other.command(createCommand("o1"), origin());
    const message = delivered(paid, "order", shop.environment);
    await shop.service.handle(message);
    expect(await other.handle(message)).toEqual({ kind: "ack" });
    expect(stored().version).toBe(2);
  });

  test("of one order from several shards are decided anew on a conflict", async () => {
    const other = shop.other();
    await other.command(createCommand("o1"), origin());
    await shop.tell(paid);
    const message = delivered(shop.reserved(), "order", shop.environment);
    expect(await other.handle(message)).toEqual({ kind: "settled" });
    expect(stored()).toMatchObject({ status: "ready_to_ship", version: 4 });
  });

  test("mean what they mean to the order as it is now, not as this shard last saw it", async () => {
    // The slot is another shard's for a while, and comes back.
    const other = shop.other();
    for (const event of [paid, shop.reserved()]) {
      await other.handle(delivered(event, "order", shop.environment));
    }
    expect(stored().status).toBe("ready_to_ship");
    const packed = { type: "shipment.packed", orderId: "o1", trackingNumber: "t1" } as const;
    await shop.tell({ ...packed, carrier: "simulated" });
    expect(stored().status).toBe("shipped");
  });

  test("are not refused because the order was not there before", async () => {
    const early = await shop.command({ type: "order.cancel", orderId: "o2" });
    expect(early).toMatchObject({ kind: "refused", code: "not_found" });
    await shop.other().command(createCommand("o2"), origin());
    expect(await shop.tell({ ...paid, orderId: "o2" })).toMatchObject({ kind: "settled" });
    expect(stored("o2").paymentStatus).toBe("completed");
  });

  test("whose commit is unclear take effect once", async () => {
    const unclear = new ShopError("INDETERMINATE", "no answer", "later");
    shop.faults.set("after_commit", [unclear]);
    expect(await shop.tell(paid)).toEqual({ kind: "ack" });
    expect(stored().version).toBe(2);
  });

  test("that meet a storage fault are tried again by the consumer", async () => {
    shop.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "broken", "later")]);
    const message = delivered(paid, "order", shop.environment);
    const attempt = shop.service.handle(message);
    expect(attempt).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    expect(await shop.service.handle(message)).toEqual({ kind: "settled" });
  });

  test("about an unknown order are buried", async () => {
    const outcome = await shop.tell({ ...paid, orderId: "o9" });
    expect(outcome).toMatchObject({ kind: "bury", reason: "unknown_order" });
  });

  test("that mean nothing to an order are acknowledged", async () => {
    expect(await shop.tell(refunded)).toEqual({ kind: "ack" });
    expect(
      await shop.tell({ type: "order.cancelled", orderId: "o1", reason: "requested" }),
    ).toEqual({ kind: "ack" });
  });

  test("and a cancel at the same moment follow one another", async () => {
    const [, reply] = await Promise.all([
      shop.tell(paid),
      shop.command({ type: "order.cancel", orderId: "o1" }),
      shop.tell(shop.reserved()),
    ]);
    expect(reply).toMatchObject({ kind: "order" });
    expect(stored()).toMatchObject({ status: "cancelled", version: 4, rowVersion: 4 });
  });

  test("keep what started them as their cause", async () => {
    const message = delivered(paid, "order", shop.environment);
    await shop.service.handle(delivered(shop.reserved(), "order", shop.environment));
    await shop.service.handle(message);
    const last = shop.outgoing.at(-1);
    if (last === undefined) throw new Error("nothing was published");
    const { headers } = messageOf(last, "shipping").frame;
    expect(headers).toMatchObject({ causationid: message.frame.id });
  });
});

describe("the reservation's timer", () => {
  beforeEach(async () => {
    await shop.command(createCommand("o1"));
    await shop.tell(shop.reserved());
  });

  test("cancels an unpaid order when it is due, not before", async () => {
    await shop.environment.advance(999);
    expect(shop.published()).toEqual(["order.created"]);
    await shop.environment.advance(1);
    const [, lapsed] = shop.outgoing;
    if (lapsed === undefined) throw new Error("the timer did not fire");
    expect(lapsed.topic).toBe("inventory");
    await shop.service.handle(messageOf(lapsed, "order"));
    expect(stored()).toMatchObject({ status: "cancelled", cancelReason: "reservation_expired" });
  });

  test("is gone once the order is paid", async () => {
    await shop.tell(paid);
    expect(shop.store.timerIds()).toEqual([]);
    await shop.environment.advance(60_000);
    expect(shop.published()).toEqual(["order.created", "order.ready_to_ship"]);
  });

  test("is gone once the order is cancelled", async () => {
    await shop.command({ type: "order.cancel", orderId: "o1" });
    expect(shop.store.timerIds()).toEqual([]);
  });
});

describe("a failure", () => {
  test("that is a bug ends the incarnation, and the next message finds a new one", async () => {
    shop.faults.set("before_commit", [new InvariantError("a bug")]);
    expect(shop.command(createCommand("o1"))).rejects.toThrow("a bug");
    expect(shop.service.stats().failures).toBe(1);
    expect(await shop.command(createCommand("o1"))).toMatchObject({ kind: "order" });
    expect(shop.service.stats().started).toBe(2);
  });
  test("that can be expected leaves the order in memory", async () => {
    shop.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "broken", "later")]);
    await shop.command(createCommand("o1"));
    await shop.command(createCommand("o1"));
    expect(shop.service.stats()).toMatchObject({ failures: 0, started: 1 });
  });
});

describe("room", () => {
  test("is limited: with every order busy the next is refused, and finds room later", async () => {
    const shard = shop.other({ residentMax: 1, idleMs: 1_000, mailboxCapacity: 1 });
    const replies = await Promise.allSettled([
      shard.command(createCommand("o1"), origin()),
      shard.command(createCommand("o2"), origin()),
    ]);
    expect(replies.map((reply) => reply.status)).toEqual(["fulfilled", "rejected"]);
    expect(replies[1]).toMatchObject({ reason: { code: "SATURATED" } });
    expect(await shard.command(createCommand("o2"), origin())).toMatchObject({ kind: "order" });
    expect(shard.stats()).toMatchObject({ resident: 1, passivated: 1 });
  });

  test("is given back by orders that were idle for a while", async () => {
    await shop.command(createCommand("o1"));
    expect(shop.service.stats().resident).toBe(1);
    await shop.environment.advance(ORDER_SETTINGS.idleMs);
    expect(shop.service.stats().resident).toBe(0);
    expect(await shop.tell(paid)).toEqual({ kind: "settled" });
  });

  test("is refused once the service has stopped", async () => {
    await settled(shop.environment, shop.service.stop());
    const late = shop.command(createCommand("o1"));
    expect(late).rejects.toMatchObject({ code: "CLOSED" });
  });
});

function origin() {
  return { cause: causeFor(shop.environment), deadlineMs: 0 };
}
