/**
 * The services of one shard: each a consumer group with its handler, over the ports alone.
 *
 * Which of them run is configuration. Whatever carries the messages and keeps the rows is given;
 * nothing here knows threads, rings or databases.
 */

import type { Environment } from "../runtime/environment.ts";
import type { Frame } from "../runtime/frames/frame-header.ts";
import type { Broker } from "./brokers/broker.ts";
import type { ShopEvent } from "./contracts/messages.ts";
import type { CommandReply } from "./contracts/order-state.ts";
import type { Group } from "./contracts/topics.ts";
import type { Consumer } from "./delivery/consumer.ts";
import type { DeliveryPolicy } from "./delivery/delivery-policy.ts";
import type { Handler } from "./delivery/outcome.ts";
import type { PaymentProviderSettings } from "./shard-gateways.ts";
import type { ShardMetrics } from "./shop-metrics.ts";
import type { Store } from "./stores/unit-of-work.ts";

import { createActorSystem } from "../runtime/actors/actor-system.ts";
import { assert, isShopError, ShopError } from "../runtime/errors.ts";
import { decodeCommand } from "./command-frames.ts";
import {
  EVENTS,
  InventoryReleased,
  InventoryReserved,
  OrderCancelled,
  OrderCreated,
  OrderDelivered,
  OrderReadyToShip,
  OrderShipped,
  PaymentProcessed,
  PaymentRefunded,
  ReservationLapsed,
  ShipmentDelivered,
  ShipmentPacked,
} from "./contracts/messages.ts";
import { GROUPS } from "./contracts/topics.ts";
import { startConsumer } from "./delivery/consumer.ts";
import { causeOf, decodeEvent } from "./delivery/decode-message.ts";
import { DELIVERY_POLICY } from "./delivery/delivery-policy.ts";
import { createInventoryService, INVENTORY_SETTINGS } from "./inventory/inventory-actor.ts";
import { createOrderService } from "./order/order-service.ts";
import { createPaymentService } from "./payment/payment-actor.ts";
import { createGateways } from "./shard-gateways.ts";
import { createShippingService, SHIPPING_SETTINGS } from "./shipping/shipping-actor.ts";

/** Captures one shard waits for at one time; each holds a delivery for as long. */
const CAPTURES_MAX = 4_096;
const HANDLERS_MAX = 1_024;
const STOCK_BATCH_MAX = 128;
/** Orders that wait to be passivated. */
const ORDER_IDLE_MS = 30_000;

const PAYMENT_POLICY: DeliveryPolicy = {
  ...DELIVERY_POLICY,
  // A refund is owed until it is answered: the attempts outlast any outage that ends.
  retry: { attemptsMax: 100_000, delayMinMs: 200, delayMaxMs: 5_000, jitter: 0.2 },
  deliveriesMax: 200_000,
  creditFrames: 2 * CAPTURES_MAX,
  creditBytes: 32 * 1024 * 1024,
};

/** Events of its topics that say nothing to a service, by the number in the frame's header. */
const IGNORED_TYPES: Readonly<Partial<Record<Group, ReadonlySet<number>>>> = {
  order: allBut([
    PaymentProcessed,
    PaymentRefunded,
    InventoryReserved,
    InventoryReleased,
    ReservationLapsed,
    ShipmentPacked,
    ShipmentDelivered,
  ]),
  payment: allBut([OrderCreated, OrderCancelled]),
  inventory: allBut([OrderCreated, OrderCancelled, OrderShipped]),
  shipping: allBut([OrderReadyToShip, OrderShipped, OrderDelivered, OrderCancelled]),
};

/** The part of the configuration that a shard needs: plain values, cloneable. */
export interface ShardSettings {
  readonly slots: number;
  readonly roles: readonly Group[];
  readonly residentMax: number;
  readonly mailboxMax: number;
  readonly payment: PaymentProviderSettings;
  readonly reservationTtlMs: number;
  readonly shipping: { readonly packMs: number; readonly deliveryMs: number };
}

export interface ShardServicesOptions {
  readonly environment: Environment;
  readonly broker: Broker;
  readonly store: Store;
  readonly settings: ShardSettings;
  /** Slots this shard owns. */
  readonly partitions: readonly number[];
  readonly metrics: ShardMetrics;
  /** The timeline of an order has grown; the stock of a product is another. After the commit. */
  readonly onOrderChanged: (orderId: string) => void;
  readonly onStockChanged: (productId: string) => void;
  /** A row or record could not be read: what needs it waits until somebody mends it. */
  readonly onDamage: (detail: string) => void;
  readonly onLog: (level: "info" | "warning", text: string) => void;
  /** A consumer lost its subscription for good: the shard is of no use any more. */
  readonly onFailure: (error: unknown) => void;
}

export interface ShardServices {
  /** Carries out the command in a checked frame. Rejects with `SATURATED` or `BAD_MESSAGE`. */
  command(frame: Frame): Promise<CommandReply>;
  /** Finishes what is in flight within `withinMs`, gives the rest back, ends. */
  drain(withinMs: number): Promise<void>;
}

export async function startShardServices(options: ShardServicesOptions): Promise<ShardServices> {
  const { environment, store, settings, metrics } = options;
  const { slots } = settings;
  const base = { store, environment, slots };
  const system = createActorSystem(environment, {
    name: "shop",
    // The message that met it is answered by the region; this is for people.
    onFailure: (failure) => options.onLog("warning", failure.message),
  });
  const orders = createOrderService({
    store,
    slots,
    system,
    settings: {
      residentMax: settings.residentMax,
      idleMs: ORDER_IDLE_MS,
      mailboxCapacity: settings.mailboxMax,
    },
    onStep: (step) => {
      options.onOrderChanged(step.after.id);
      metrics.stepped(step);
      metrics.resident(orders.stats().resident);
    },
  });
  const inventory = createInventoryService({
    ...base,
    settings: { ...INVENTORY_SETTINGS, reservationTtlMs: settings.reservationTtlMs },
    onStockChanged(changed) {
      for (const { productId } of changed) options.onStockChanged(productId);
    },
  });
  const payments = createPaymentService({
    ...base,
    gateways: createGateways(settings.payment, options),
    settings: { captureAttemptsMax: settings.payment.captureAttemptsMax },
  });
  const shipping = createShippingService({
    ...base,
    settings: { ...SHIPPING_SETTINGS, ...settings.shipping },
  });
  const consumers = await startConsumers(options, {
    order: [{ kind: "single", concurrencyMax: HANDLERS_MAX, handle: orders.handle }],
    payment: [
      { kind: "single", concurrencyMax: CAPTURES_MAX, handle: payments.handle },
      PAYMENT_POLICY,
    ],
    inventory: [
      { kind: "batch", concurrencyMax: 1, batchMax: STOCK_BATCH_MAX, handle: inventory.handle },
    ],
    shipping: [{ kind: "single", concurrencyMax: HANDLERS_MAX, handle: shipping.handle }],
  });

  return {
    async command(frame) {
      const command = decodeCommand(frame);
      const origin = { cause: causeOf(frame), deadlineMs: frame.deadlineMs };
      switch (command.type) {
        case "order.create":
        case "order.cancel":
          return await orders.command(command, origin);
        case "inventory.set":
          return await inventory.command(command, origin);
        default:
          throw new ShopError("BAD_MESSAGE", `no service takes ${command.type}`, "never");
      }
    },
    async drain(withinMs) {
      await Promise.all(consumers.map((consumer) => consumer.drain(withinMs)));
      await orders.stop(withinMs);
      await system.stop(withinMs);
    },
  };
}

function allBut(heard: readonly { readonly number: number }[]): ReadonlySet<number> {
  return new Set(
    EVENTS.filter((contract) => !heard.includes(contract)).map(({ number }) => number),
  );
}

type Handlers = Readonly<
  Partial<Record<Group, readonly [handler: Handler<ShopEvent>, policy?: DeliveryPolicy]>>
>;

async function startConsumers(
  options: ShardServicesOptions,
  handlers: Handlers,
): Promise<readonly Consumer[]> {
  const { broker, environment, partitions, metrics, onFailure, onLog } = options;
  return await Promise.all(
    options.settings.roles.map((group) => {
      const [handler, policy] = handlers[group] ?? [];
      assert(handler !== undefined, `no service ${group}`);
      return startConsumer<ShopEvent>({
        broker,
        environment,
        group,
        topics: GROUPS[group],
        partitions,
        ignoredTypes: IGNORED_TYPES[group] ?? new Set(),
        decode: decodeEvent,
        handler,
        ...(policy === undefined ? {} : { policy }),
        onEvent(event) {
          metrics.consumed(group, event);
          if (event.kind === "retry" && isShopError(event.error, "DATA_DAMAGED")) {
            options.onDamage(event.error.message);
          }
          if (event.kind !== "buried") return;
          const { topic, partition, sequence } = event.delivery;
          const { reason, lastError } = event.burial;
          onLog(
            "warning",
            `${group} buried ${topic}/${partition}/${sequence}: ${reason}: ${lastError}`,
          );
        },
        onFailure,
      });
    }),
  );
}
