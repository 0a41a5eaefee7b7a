/**
 * The consumers of one shard: which messages each service hears, how many at a time, how patiently.
 *
 * Which of them run is configuration. What becomes of a message is decided in `delivery/`, what it
 * means in the services.
 */

import type { Environment } from "../runtime/environment.ts";
import type { Frame } from "../runtime/frames/frame-header.ts";
import type { Broker } from "./brokers/broker.ts";
import type { ShopCommand, ShopEvent } from "./contracts/messages.ts";
import type { Group } from "./contracts/topics.ts";
import type { BurialLog } from "./delivery/burial-log.ts";
import type { Consumer } from "./delivery/consumer.ts";
import type { DeliveryPolicy } from "./delivery/delivery-policy.ts";
import type { HandleBatch, HandleOne, Handler, Message } from "./delivery/outcome.ts";
import type { RetryPolicy } from "./delivery/retry-schedule.ts";
import type { ShardMetrics } from "./shard-metrics.ts";

import { isShopError } from "../runtime/errors.ts";
import { decodeOwned } from "./commands/owner-handler.ts";
import {
  CancelOrder,
  CreateOrder,
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
import { decodeEvent } from "./delivery/decode-message.ts";
import { DELIVERY_POLICY } from "./delivery/delivery-policy.ts";
import { REDRIVEN_HEADER } from "./delivery/redrive.ts";
import { NOTIFIED_CONTRACTS } from "./notification/notification.ts";

/** Captures one shard waits for at one time; each holds a delivery for as long. */
const CAPTURES_MAX = 4_096;
const HANDLERS_MAX = 1_024;
const BATCH_MAX = 128;

/** The service itself gives up a capture, after `captureAttemptsMax` attempts, long before. */
const PROVIDER_SCHEDULE: RetryPolicy = {
  attemptsMax: 1_000,
  delayMinMs: 200,
  delayMaxMs: 5_000,
  jitter: 0.2,
};
/** What a payment may take beside the fraud check and the provider: loads, the commit. */
const PAYMENT_SLACK_MS = 10_000;

/** A payment that waits as long as its settings allow is not one that hangs. */
function paymentPolicy(waitMs: number): DeliveryPolicy {
  const handleTimeoutMs = Math.max(DELIVERY_POLICY.handleTimeoutMs, waitMs + PAYMENT_SLACK_MS);
  return {
    ...DELIVERY_POLICY,
    // More than captures may take, so that what is beyond must have ended its thread every time.
    deliveriesMax: 200,
    creditFrames: 2 * CAPTURES_MAX,
    creditBytes: 32 * 1024 * 1024,
    handleTimeoutMs,
    leaseMs: Math.max(DELIVERY_POLICY.leaseMs, 2 * handleTimeoutMs),
  };
}

/** What of its topics concerns a service, by the numbers in the frames' headers. */
const HEARD_TYPES: Readonly<Record<Group, readonly number[]>> = {
  order: numbersOf([
    PaymentProcessed,
    PaymentRefunded,
    InventoryReserved,
    InventoryReleased,
    ReservationLapsed,
    ShipmentPacked,
    ShipmentDelivered,
  ]),
  payment: numbersOf([OrderCreated, OrderCancelled]),
  inventory: numbersOf([OrderCreated, OrderCancelled, OrderShipped]),
  shipping: numbersOf([OrderReadyToShip, OrderShipped, OrderDelivered, OrderCancelled]),
  notification: numbersOf(NOTIFIED_CONTRACTS),
};

/** What each service does with a message, or with many. */
export interface ServiceHandlers {
  readonly order: HandleOne<ShopEvent>;
  readonly payment: HandleOne<ShopEvent>;
  readonly inventory: HandleBatch<ShopEvent>;
  readonly shipping: HandleOne<ShopEvent>;
  readonly notification: HandleBatch<ShopEvent>;
}

/** Put around the handler of each service, as in a chain of middleware. */
export type AroundHandler = (group: Group, next: Handler<ShopEvent>) => Handler<ShopEvent>;

export interface ShardConsumersOptions {
  readonly environment: Environment;
  readonly broker: Pick<Broker, "subscribe">;
  readonly roles: readonly Group[];
  /** Slots this shard owns; absent: those that the broker assigns. */
  readonly partitions?: readonly number[];
  /** What each group listens to; absent: as on one machine. */
  readonly topics?: Readonly<Record<Group, readonly string[]>>;
  readonly handlers: ServiceHandlers;
  /** Hears commands to orders beside their events; absent: they come by another way. */
  readonly owner?: HandleOne<ShopEvent | ShopCommand>;
  /** Longest wait of one payment for its fraud check and its provider. */
  readonly paymentWaitMs: number;
  readonly around?: AroundHandler;
  readonly metrics: Pick<ShardMetrics, "consumed" | "redriven">;
  /** What another member of the group has begun may be this one's to end. */
  readonly onAssigned?: (group: Group) => void;
  readonly onDamage: (detail: string) => void;
  readonly burials: Pick<BurialLog, "buried">;
  readonly onFailure: (error: unknown) => void;
}

export interface ShardConsumer {
  readonly group: Group;
  readonly consumer: Consumer;
}

/** Joins every group of `roles`. Rejects when the broker refuses one of them. */
export async function startShardConsumers(
  options: ShardConsumersOptions,
): Promise<readonly ShardConsumer[]> {
  const { owner, around = (_group, next) => next } = options;
  return await Promise.all(
    options.roles.map(async (group) => {
      const [handler, policy] = handlerOf(group, options.handlers, options.paymentWaitMs);
      if (group === "order" && owner !== undefined) {
        const types = [...HEARD_TYPES.order, CreateOrder.number, CancelOrder.number];
        const owning = { kind: "single", concurrencyMax: HANDLERS_MAX, handle: owner } as const;
        return await join(options, { group, types, policy, handler: owning, decode: decodeOwned });
      }
      const types = HEARD_TYPES[group];
      const surrounded = around(group, handler);
      return await join(options, {
        group,
        types,
        policy,
        handler: surrounded,
        decode: decodeEvent,
      });
    }),
  );
}

interface Service<Body> {
  readonly group: Group;
  readonly types: readonly number[];
  readonly policy: DeliveryPolicy;
  readonly handler: Handler<Body>;
  readonly decode: (frame: Frame) => Body;
}

async function join<Body>(
  options: ShardConsumersOptions,
  { group, types, policy, handler, decode }: Service<Body>,
): Promise<ShardConsumer> {
  const { environment, broker, partitions, metrics, onAssigned } = options;
  const consumer = await startConsumer<Body>({
    broker,
    environment,
    group,
    topics: (options.topics ?? GROUPS)[group],
    ...(partitions === undefined ? {} : { partitions }),
    types,
    decode,
    handler: noticing(handler, (topic) => metrics.redriven(group, topic)),
    policy,
    onEvent: (event) => {
      metrics.consumed(group, event);
      if (event.kind === "retry" && isShopError(event.error, "DATA_DAMAGED")) {
        options.onDamage(event.error.message);
      }
      if (event.kind === "buried") options.burials.buried(group, event);
    },
    ...(onAssigned === undefined ? {} : { onAssigned: () => onAssigned(group) }),
    onFailure: options.onFailure,
  });
  return { group, consumer };
}

function handlerOf(
  group: Group,
  handlers: ServiceHandlers,
  paymentWaitMs: number,
): readonly [handler: Handler<ShopEvent>, policy: DeliveryPolicy] {
  switch (group) {
    case "payment":
      return [
        { kind: "single", concurrencyMax: CAPTURES_MAX, handle: patient(handlers.payment) },
        paymentPolicy(paymentWaitMs),
      ];
    case "inventory":
    case "notification": {
      const handle = handlers[group];
      const batch = { kind: "batch", concurrencyMax: 1, batchMax: BATCH_MAX, handle } as const;
      return [batch, DELIVERY_POLICY];
    }
    case "order":
    case "shipping": {
      const handle = handlers[group];
      return [{ kind: "single", concurrencyMax: HANDLERS_MAX, handle }, DELIVERY_POLICY];
    }
  }
}

/** Tells of every attempt at a message that was put back from the dead letters. */
function noticing<Body>(next: Handler<Body>, onRedriven: (topic: string) => void): Handler<Body> {
  function look({ frame, delivery }: Message<Body>): void {
    if (REDRIVEN_HEADER in frame.headers) onRedriven(delivery.topic);
  }
  if (next.kind === "single") {
    const handle: HandleOne<Body> = (message, signal) => {
      look(message);
      return next.handle(message, signal);
    };
    return { ...next, handle };
  }
  const handle: HandleBatch<Body> = (messages, signal) => {
    for (const message of messages) look(message);
    return next.handle(messages, signal);
  };
  return { ...next, handle };
}

/**
 * A provider that does not answer is asked far longer than a bug is tried again. A refund is owed
 * until it is answered: however often it was asked for, that counts no attempt.
 */
function patient(handle: HandleOne<ShopEvent>): HandleOne<ShopEvent> {
  return async (message, signal) => {
    try {
      return await handle(message, signal);
    } catch (error) {
      if (!isShopError(error, "PROVIDER_UNAVAILABLE")) throw error;
      const blameless = message.body.type === "order.cancelled";
      return { kind: "retry", error, schedule: PROVIDER_SCHEDULE, blameless };
    }
  };
}

function numbersOf(contracts: Iterable<{ readonly number: number }>): readonly number[] {
  return Array.from(contracts, ({ number }) => number);
}
