/**
 * Commands to the owner of an order, from the asking process to the reply, over one broker.
 *
 * Asker and owner share nothing but a broker and a store, as two processes do; time is virtual.
 */

import { beforeEach, describe, expect, test } from "bun:test";

import type { Outgoing } from "../brokers/broker.ts";
import type { ShopCommand, ShopEvent } from "../contracts/messages.ts";
import type { Message } from "../delivery/outcome.ts";
import type { OrderCommand } from "../order/order-service.ts";
import type { StoreStep } from "../stores/memory-store.ts";
import type { OwnerAnswer } from "./owner-asker.ts";

import { createActorSystem } from "../../runtime/actors/actor-system.ts";
import { ShopError } from "../../runtime/errors.ts";
import { decodeFrame, frameSlot } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { createOrderService } from "../order/order-service.ts";
import { createCommand, eventsOf, SLOTS } from "../order/delivered.suite.ts";
import { createMemoryStore } from "../stores/memory-store.ts";
import { ASKER_SETTINGS, createOwnerAsker } from "./owner-asker.ts";
import { COMMANDS_TOPIC, createOwnerHandler, decodeOwned } from "./owner-handler.ts";

const CANCEL: OrderCommand = { type: "order.cancel", orderId: "o1" };
const WHO = { correlationId: "c1" };
const LOG_BYTES_MAX = 1_000_000;

function setUp() {
  const environment = createVirtualEnvironment();
  const topics = [COMMANDS_TOPIC, "orders"];
  const limits = { logBytesMax: LOG_BYTES_MAX, deadLetterBytesMax: LOG_BYTES_MAX };
  const log = new MemoryLog({ topics, partitions: SLOTS, ...limits });
  const faults = { diskFull: false, ioFault: false, confirmsLost: false, burialsRefused: false };
  const broker = new MemoryBroker({ environment, log, faults });
  const outgoing: Outgoing[] = [];
  const commits = new Map<StoreStep, Error[]>();
  const loads = { count: 0 };
  const store = createMemoryStore({
    environment,
    onOutgoing: (each) => void outgoing.push(each),
    onAcknowledged: (refs) => void broker.acknowledge(refs),
    onStep: (step) => {
      if (step === "before_load") loads.count++;
      const fault = commits.get(step)?.shift();
      if (fault !== undefined) throw fault;
    },
  });
  const hinted: ((id: string) => void)[] = [];
  const hints = {
    tell: async (id: string) => hinted.forEach((onHint) => onHint(id)),
    listen: async (onHint: (id: string) => void) => {
      hinted.push(onHint);
      return async () => void hinted.splice(0);
    },
  };
  const published = { is: true, asked: new Array<number>() };
  /** One process that owns every slot. */
  const own = async (hears = true) => {
    const system = createActorSystem(environment, {
      name: "t",
      onFailure: (failure: unknown) => expect(failure).toBeUndefined(),
    });
    const orders = createOrderService({ store, system, slots: SLOTS });
    const handle = createOwnerHandler({
      orders,
      hints,
      published: async (slot) => {
        published.asked.push(slot);
        return published.is;
      },
    });
    const handled: Message<ShopEvent | ShopCommand>[] = [];
    if (hears) {
      await startConsumer<ShopEvent | ShopCommand>({
        broker,
        environment,
        group: "order",
        topics: [COMMANDS_TOPIC],
        decode: decodeOwned,
        handler: {
          kind: "single",
          concurrencyMax: 16,
          handle: (message, signal) => {
            handled.push(message);
            return handle(message, signal);
          },
        },
      });
    }
    return { orders, handled, handle };
  };
  const asker = createOwnerAsker({ environment, broker, store, slots: SLOTS, hints });
  /** What it comes to within `forMs`. */
  const ask = async (command = CANCEL, id?: string, forMs = 20_000): Promise<OwnerAnswer> => {
    const answer = asker.askOwner(command, id === undefined ? WHO : { ...WHO, id });
    const [outcome] = await Promise.allSettled([answer, environment.advance(forMs)]);
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  };
  return {
    environment,
    broker,
    faults,
    store,
    outgoing,
    commits,
    loads,
    published,
    hinted,
    own,
    asker,
    ask,
  };
}

let world: ReturnType<typeof setUp>;
beforeEach(() => {
  world = setUp();
});

const create = async (orders: Awaited<ReturnType<typeof world.own>>["orders"]) => {
  const cause = { correlationId: "c", causationId: "c", traceId: "0".repeat(32) };
  const reply = orders.command(createCommand("o1"), { cause, deadlineMs: 0 });
  await world.environment.settle();
  expect(await reply).toMatchObject({ kind: "order" });
};

const events = (): readonly string[] => eventsOf(world.outgoing).map(({ type }) => type);

describe("a command to an order's owner", () => {
  test("is carried out there, and the asker gets the reply", async () => {
    const { orders } = await world.own();
    await create(orders);
    const answer = await world.ask();
    expect(answer).toMatchObject({
      kind: "answered",
      reply: { kind: "order", order: { id: "o1", status: "cancelled" } },
    });
    expect(events()).toEqual(["order.created", "order.cancelled"]);
    expect(world.asker.open).toBe(0);
  });

  test("is refused there, and the refusal is the reply, now and again", async () => {
    const { handled } = await world.own();
    const id = world.environment.newId();
    const refusal = { kind: "answered", reply: { kind: "refused", code: "not_found" } };
    expect(await world.ask(CANCEL, id)).toMatchObject(refusal);
    // By now the order is there, but this command was answered.
    const elsewhere = await world.own(false);
    await create(elsewhere.orders);
    expect(await world.ask(CANCEL, id)).toMatchObject(refusal);
    expect(handled).toHaveLength(2);
    expect(events()).toEqual(["order.created"]);
  });

  test("has one effect and one reply however often it is sent", async () => {
    const { orders } = await world.own();
    await create(orders);
    const id = world.environment.newId();
    const first = await world.ask(CANCEL, id);
    expect(await world.ask(CANCEL, id)).toEqual(first);
    expect(events()).toEqual(["order.created", "order.cancelled"]);
  });

  test("finds its reply though the owner does not know whether it committed it", async () => {
    const { orders } = await world.own();
    await create(orders);
    const lost = new ShopError("INDETERMINATE", "the answer was lost", "later");
    world.commits.set("after_commit", [lost]);
    expect(await world.ask()).toMatchObject({ reply: { order: { status: "cancelled" } } });
    expect(events()).toEqual(["order.created", "order.cancelled"]);
  });

  test("is tried again while the store is away", async () => {
    const { orders } = await world.own();
    await create(orders);
    const fault = new ShopError("STORAGE_FAULT", "away", "later");
    world.commits.set("before_commit", [fault, fault, fault]);
    expect(await world.ask()).toMatchObject({ reply: { order: { status: "cancelled" } } });
  });

  test("waits until what others committed for its slot is published", async () => {
    const { orders } = await world.own();
    await create(orders);
    world.published.is = false;
    expect(await world.ask()).toEqual({ kind: "pending" });
    expect(events()).toEqual(["order.created"]);
    world.published.is = true;
    await world.environment.advance(20_000);
    expect(events()).toEqual(["order.created", "order.cancelled"]);
    const [slot] = world.outgoing.map(({ frame }) => frameSlot(frame));
    expect(new Set(world.published.asked)).toEqual(new Set([slot ?? -1]));
  });

  test("that is not about an order is buried", async () => {
    const { handle } = await world.own(false);
    const body: ShopCommand = { type: "inventory.set", productId: "tea", available: 1 };
    const [created] = world.outgoing;
    expect(created).toBeUndefined();
    // Only the body is looked at.
    const message = { body } as Message<ShopCommand>;
    const outcome = await handle(message, new AbortController().signal);
    expect(outcome).toMatchObject({ kind: "bury", reason: "bad_message" });
  });
});

describe("the asker", () => {
  test("says pending when nobody answers in time, and it is carried out later", async () => {
    const answer = await world.ask(CANCEL, undefined, ASKER_SETTINGS.waitMs + 1);
    expect(answer).toEqual({ kind: "pending" });
    const { orders, handled } = await world.own();
    await create(orders);
    await world.environment.advance(1_000);
    expect(handled).toHaveLength(1);
  });

  test("never says pending of what no broker confirmed", async () => {
    world.faults.ioFault = true;
    await expect(world.ask()).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    world.faults.ioFault = false;
    await world.environment.advance(10_000);
    const { handled } = await world.own();
    await world.environment.advance(1_000);
    expect(handled).toHaveLength(0);
  });

  test("gets the reply to a command whose confirmation was lost", async () => {
    const { orders } = await world.own();
    await create(orders);
    world.faults.confirmsLost = true;
    expect(await world.ask()).toMatchObject({ reply: { order: { status: "cancelled" } } });
    expect(events()).toEqual(["order.created", "order.cancelled"]);
  });

  test("looks for all replies at once, and for none when nobody waits", async () => {
    const { environment, loads, asker } = world;
    await environment.advance(10_000);
    expect(loads.count).toBe(0);
    const asks = Array.from({ length: 50 }, () => asker.askOwner(CANCEL, WHO));
    await environment.advance(1_050);
    expect(loads.count).toBeLessThanOrEqual(10);
    await environment.advance(10_000);
    expect(await Promise.all(asks)).toHaveLength(50);
    const looked = loads.count;
    await environment.advance(10_000);
    expect(loads.count).toBe(looked);
  });

  test("needs no hint to find a reply", async () => {
    const { orders } = await world.own();
    await create(orders);
    world.hinted.splice(0);
    expect(await world.ask()).toMatchObject({ kind: "answered" });
  });

  test("refuses more than it may have open, and settles all of them when it closes", async () => {
    const { environment, broker, store } = world;
    const asker = createOwnerAsker({
      environment,
      broker,
      store,
      slots: SLOTS,
      settings: { ...ASKER_SETTINGS, openMax: 2 },
    });
    const asks = [asker.askOwner(CANCEL, WHO), asker.askOwner(CANCEL, WHO)];
    await expect(asker.askOwner(CANCEL, WHO)).rejects.toMatchObject({ code: "SATURATED" });
    await environment.settle();
    await asker.close();
    expect(await Promise.all(asks)).toEqual([{ kind: "pending" }, { kind: "pending" }]);
    await expect(asker.askOwner(CANCEL, WHO)).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("sends a frame of the order's slot that carries the id it was given", async () => {
    const id = world.environment.newId();
    const sent: Outgoing[] = [];
    const asker = createOwnerAsker({
      environment: world.environment,
      store: world.store,
      slots: SLOTS,
      broker: { publish: async (frames) => void sent.push(...frames) },
    });
    const answer = asker.askOwner(CANCEL, { ...WHO, id, waitMs: 10 });
    await world.environment.advance(10);
    await answer;
    const [only] = sent;
    expect(only?.topic).toBe(COMMANDS_TOPIC);
    expect(decodeFrame(only?.frame ?? new Uint8Array())).toMatchObject({ id, key: "o1" });
  });
});
