/**
 * The services of one shard: each a consumer group with its handler, over the ports alone.
 *
 * Which of them run is configuration. Whatever carries the messages and keeps the rows is given;
 * nothing here knows threads, rings or databases.
 */

import type { ActorSystem } from "../runtime/actors/actor-system.ts";
import type { Environment } from "../runtime/environment.ts";
import type { Frame } from "../runtime/frames/frame-header.ts";
import type { Broker } from "./brokers/broker.ts";
import type { CommandOf, ShopCommand } from "./contracts/messages.ts";
import type { GroundOutbox, OrderOwners, ShardGround } from "./grounds/shard-ground.ts";
import type { OrderService } from "./order/order-service.ts";
import type { CommandReply } from "./contracts/order-state.ts";
import type { Group } from "./contracts/topics.ts";
import type { DeadLetterReads } from "./dead-letters/letter-port.ts";
import type { Cause } from "./delivery/decode-message.ts";
import type { Scorer } from "./fraud/score-batch.ts";
import type { ShardFraudSettings } from "./fraud/shard-fraud.ts";
import type { FraudThresholds } from "./fraud/thresholds.ts";
import type { LedgerSettings } from "./ledger/ledger-watch.ts";
import type { Channel } from "./notification/channel.ts";
import type { NotificationSettings } from "./notification/notification-policy.ts";
import type { AroundHandler } from "./shard-consumers.ts";
import type { PaymentProviderSettings } from "./shard-gateways.ts";
import type { ForeignBroker, RouterSettings } from "./shard-routing.ts";
import type { ShardMetrics } from "./shard-metrics.ts";
import type { Store } from "./stores/unit-of-work.ts";

import { createActorSystem } from "../runtime/actors/actor-system.ts";
import { createBehaviorService } from "./analytics/behavior-service.ts";
import { createOwnerHandler } from "./commands/owner-handler.ts";
import { decodeCommand } from "./command-frames.ts";
import { createLetterService } from "./dead-letters/letter-service.ts";
import { createBurialLog } from "./delivery/burial-log.ts";
import { causeOf } from "./delivery/decode-message.ts";
import { createShardFraud } from "./fraud/shard-fraud.ts";
import { outboxRefusal } from "./grounds/outbox-samples.ts";
import { createInventoryService, INVENTORY_SETTINGS } from "./inventory/inventory-actor.ts";
import { startLedgerWatch } from "./ledger/ledger-watch.ts";
import { createNotificationService } from "./notification/notification-actor.ts";
import { openChannels } from "./notification/open-channels.ts";
import { checkForeignOrders } from "./order/foreign-orders.ts";
import { createOrderService } from "./order/order-service.ts";
import { createPaymentService } from "./payment/payment-actor.ts";
import { startShardConsumers } from "./shard-consumers.ts";
import { createGateways } from "./shard-gateways.ts";
import { createShardRouting } from "./shard-routing.ts";
import { createShippingService, SHIPPING_SETTINGS } from "./shipping/shipping-actor.ts";

/** Orders that wait to be passivated. */
const ORDER_IDLE_MS = 30_000;
/** Of what a command has left, for the owner's answer. */
const OWNER_WAIT_SHARE = 0.8;

/** The part of the configuration that a shard needs: plain values, cloneable. */
export interface ShardSettings {
  readonly slots: number;
  readonly roles: readonly Group[];
  readonly residentMax: number;
  readonly mailboxMax: number;
  readonly payment: PaymentProviderSettings;
  readonly reservationTtlMs: number;
  readonly shipping: { readonly packMs: number; readonly deliveryMs: number };
  readonly fraud: ShardFraudSettings;
  readonly notification: NotificationSettings;
  readonly ledger: LedgerSettings;
  readonly router: RouterSettings;
  /** What each group listens to; absent: as on one machine. */
  readonly topics?: Readonly<Record<Group, readonly string[]>>;
  /** Where files of the shard may be, and its number in their names. */
  readonly directory: string;
  readonly shard: number;
}

export interface ShardServicesOptions {
  readonly environment: Environment;
  readonly broker: Broker;
  readonly store: Store;
  readonly settings: ShardSettings;
  readonly letters: Pick<DeadLetterReads, "letter">;
  /** Brokers beside `broker`, by name. */
  readonly foreign?: readonly ForeignBroker[];
  /** Slots this shard owns; absent: those that the broker assigns. */
  readonly partitions?: readonly number[];
  readonly metrics: ShardMetrics;
  /** The timeline of an order has grown; the stock of a product is another. After the commit. */
  readonly onOrderChanged: (orderId: string) => void;
  readonly onStockChanged: (productId: string) => void;
  /** The books of a partition do not balance; all of them do again. */
  readonly onImbalance: (detail: string) => void;
  readonly onBalanced: () => void;
  /** A row or record could not be read: what needs it waits until somebody mends it. */
  readonly onDamage: (detail: string) => void;
  readonly onLog: (level: "debug" | "info" | "warning", text: string) => void;
  /** A consumer lost its subscription for good: the shard is of no use any more. */
  readonly onFailure: (error: unknown) => void;
  /** Where orders are scored; absent: on a pool of threads. */
  readonly createScorer?: (thresholds: FraudThresholds) => Scorer;
  /** Through what customers are told; absent: as configured. */
  readonly createChannels?: () => readonly Channel[];
  /** Who is asked for money; absent: as configured. */
  readonly createGateways?: typeof createGateways;
  /** Who is asked about orders that another shard may own; absent: this one owns them. */
  readonly owners?: OrderOwners;
  /** Absent: frames are at their broker once their unit is committed. */
  readonly outbox?: GroundOutbox;
  /** Absent: on the shard's store. */
  readonly createFraud?: ShardGround["createFraud"];
  readonly around?: AroundHandler;
}

export interface ShardServices {
  /** Carries out the command in a checked frame. Rejects with `SATURATED` or `BAD_MESSAGE`. */
  command(frame: Frame): Promise<CommandReply>;
  /** Finishes what is in flight within `withinMs`, gives the rest back, ends. */
  drain(withinMs: number): Promise<void>;
}

export async function startShardServices(options: ShardServicesOptions): Promise<ShardServices> {
  const { environment, settings } = options;
  const { slots, roles } = settings;
  const system = createActorSystem(environment, {
    name: "shop",
    // The message that met it is answered by the region; this is for people.
    onFailure: (failure) => options.onLog("warning", failure.message),
  });
  const burials = createBurialLog(environment, (text) => options.onLog("warning", text));
  const shared = { ...options, burials, system, slots };
  const routing = createShardRouting({ ...shared, settings: settings.router });
  const { store } = routing;
  const base = { store, environment, slots };
  const routed = { ...options, store };
  const orders = startOrders(routed, system);
  const inventory = createInventoryService({
    ...base,
    settings: { ...INVENTORY_SETTINGS, reservationTtlMs: settings.reservationTtlMs },
    onStockChanged(changed) {
      for (const { productId } of changed) options.onStockChanged(productId);
    },
  });
  const payments = startPayments(routed);
  const shipping = createShippingService({
    ...base,
    settings: { ...SHIPPING_SETTINGS, ...settings.shipping },
  });
  const notifications = startNotifications(routed);
  const foreign = checkForeignOrders(store);
  const members = await startShardConsumers({
    ...options,
    burials,
    roles,
    ...(settings.topics === undefined ? {} : { topics: settings.topics }),
    paymentWaitMs: payments.waitMs,
    ...ownerOf(options, orders),
    onAssigned(group) {
      if (group === "notification") notifications.takeOver();
    },
    handlers: {
      order: orders.handle,
      payment: foreign.one(payments.handle),
      inventory: foreign.many(inventory.handle),
      shipping: foreign.one(shipping.handle),
      notification: foreign.many(notifications.handle),
    },
  });
  const carriers = await routing.start();
  const ledger = startLedgerWatch({
    ...options,
    members: [...members, ...carriers],
    settings: settings.ledger,
  });
  const behavior = createBehaviorService(base);
  const letters = createLetterService({ ...base, letters: options.letters });

  async function carryOut(command: ShopCommand, origin: CommandOrigin): Promise<CommandReply> {
    switch (command.type) {
      case "order.create":
        routing.admit();
        admitToOutbox(options);
        return await orders.command(command, origin);
      case "order.cancel":
        if (options.owners === undefined) return await orders.command(command, origin);
        return await askOwner(options.owners, command, origin, environment);
      case "inventory.set":
        return await inventory.command(command, origin);
      case "behavior.record":
        return await behavior.command(command, origin);
      case "deadletter.redrive":
      case "deadletter.discard":
        return await letters.command(command, origin);
      case "ledger.read":
        return { kind: "ledger", rows: await ledger.rows() };
    }
  }

  return {
    command: (frame) =>
      carryOut(decodeCommand(frame), { cause: causeOf(frame), deadlineMs: frame.deadlineMs }),
    async drain(withinMs) {
      const byMs = environment.monotonicMs() + withinMs;
      const left = (): number => Math.max(0, byMs - environment.monotonicMs());
      ledger.stop();
      // Side by side: leaving a group takes its time, and there is one time for all of them.
      await Promise.all([
        routing.drainIngresses(left()),
        ...members.map(({ consumer }) => consumer.drain(left())),
      ]);
      await Promise.all([payments.close(), notifications.close()]);
      await orders.stop(left());
      await routing.drainEgresses(left());
      await system.stop(left());
      burials.close();
    },
  };
}

interface CommandOrigin {
  readonly cause: Cause;
  readonly deadlineMs: number;
}

/** Throws `SATURATED`, naming the broker, while too much waits for one. */
function admitToOutbox({ outbox, settings }: ShardServicesOptions): void {
  const { outboxFramesMax, shards } = settings.router;
  const framesMax = Math.ceil(outboxFramesMax / shards);
  if (outbox === undefined || outbox.depth() < framesMax) return;
  const refusal = outboxRefusal(outbox.lanes(), framesMax);
  if (refusal !== undefined) throw refusal;
}

/** Answers before the gateway gives up, so that it can say where to look. */
async function askOwner(
  owners: OrderOwners,
  command: CommandOf<"order.cancel">,
  { cause, deadlineMs }: CommandOrigin,
  environment: Environment,
): Promise<CommandReply> {
  const leftMs = deadlineMs === 0 ? undefined : deadlineMs - environment.nowMs();
  const { correlationId, traceId } = cause;
  const answer = await owners.ask(command, {
    correlationId,
    traceId,
    ...(leftMs === undefined ? {} : { waitMs: Math.max(0, leftMs * OWNER_WAIT_SHARE) }),
  });
  return answer.kind === "answered" ? answer.reply : { kind: "pending" };
}

/** The owner's side of commands, where there are owners. */
function ownerOf({ owners }: ShardServicesOptions, orders: OrderService) {
  if (owners === undefined) return {};
  const { hints } = owners;
  const published = (slot: number, withinMs: number) => owners.published(slot, withinMs);
  return { owner: createOwnerHandler({ orders, published, hints }) };
}

function startOrders(options: ShardServicesOptions, system: ActorSystem) {
  const { store, settings, metrics } = options;
  const { slots } = settings;
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
  return orders;
}

/** Payment with the check in front of it, which only a shard that captures needs. */
function startPayments(options: ShardServicesOptions) {
  const { environment, store, settings, metrics } = options;
  const fraud = settings.roles.includes("payment")
    ? (options.createFraud ?? createShardFraud)(settings.fraud, {
        ...options,
        onVerdict: metrics.judged,
      })
    : undefined;
  const gateways = options.createGateways ?? createGateways;
  const { handle } = createPaymentService({
    store,
    environment,
    slots: settings.slots,
    gateways: gateways(settings.payment, options),
    settings: { captureAttemptsMax: settings.payment.captureAttemptsMax },
    ...(fraud === undefined ? {} : { fraud }),
  });
  const waitMs = settings.fraud.timeoutMs + settings.payment.timeoutMs;
  return { handle, waitMs, close: async () => await fraud?.close() };
}

/** Channels are opened only by a shard that tells. */
function startNotifications(options: ShardServicesOptions) {
  const { environment, store, settings, metrics, onLog } = options;
  const { directory: dataDirectory, shard, roles, slots, notification } = settings;
  const open = (): readonly Channel[] =>
    options.createChannels?.() ??
    openChannels({ settings: notification, dataDirectory, shard, onLog });
  return createNotificationService({
    store,
    environment,
    slots,
    settings: notification,
    channels: roles.includes("notification") ? open() : [],
    onRecorded: metrics.notified,
    onWarning: (text) => onLog("warning", text),
  });
}
