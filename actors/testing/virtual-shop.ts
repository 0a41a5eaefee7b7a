/**
 * All services of one shard on the memory ports and a virtual clock: a shop that runs in no time.
 *
 * What the services publish passes a tamperer on its way into the log, so that a test can lose,
 * repeat or damage it. Customers are told through one channel that only remembers, what the payment
 * provider answered is kept, and orders are scored in place.
 */

import type { ShopCommand } from "../contracts/messages.ts";
import type { CommandReply, OrderState } from "../contracts/order-state.ts";
import type { Outgoing } from "../brokers/broker.ts";
import type { Channel } from "../notification/channel.ts";
import type { Notification } from "../notification/notification.ts";
import type { PaymentGateway } from "../payment/gateways.ts";
import type { AroundHandler } from "../shard-consumers.ts";
import type { ForeignBroker } from "../shard-routing.ts";
import type { ShardServices, ShardSettings } from "../shard-services.ts";
import type { StoreStep } from "../stores/memory-store.ts";
import type { Table } from "../stores/unit-of-work.ts";

import type { VirtualEnvironment } from "../../runtime/virtual-environment.ts";

import { decodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import {
  CounterWriter,
  createCounterPage,
  readCounterPage,
} from "../../runtime/threads/counter-page.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { encodeCommand, keyOfCommand } from "../command-frames.ts";
import { decodeValue } from "../contracts/codec.ts";
import { TOPICS } from "../contracts/topics.ts";
import { createMemoryLetters } from "../dead-letters/memory-letters.ts";
import { createInlineScorer } from "../fraud/score-batch.ts";
import { FRAUD_THRESHOLDS } from "../fraud/thresholds.ts";
import { LEDGER_SETTINGS } from "../ledger/ledger-watch.ts";
import { SENT } from "../notification/channel.ts";
import { NOTIFICATION_SETTINGS } from "../notification/notification-policy.ts";
import { EGRESS_SETTINGS } from "../routing/egress.ts";
import { decodeOrder } from "../order/order-unit.ts";
import { outboxTopics } from "../routing/routed-frame.ts";
import { createGateways } from "../shard-gateways.ts";
import { startShardServices } from "../shard-services.ts";
import { shardMetrics } from "../shard-metrics.ts";
import { SHOP_LAYOUT } from "../shop-metrics.ts";
import { createMemoryStore } from "../stores/memory-store.ts";

export const VIRTUAL_SLOTS = 8;
const MIB = 1024 * 1024;
const MINUTE_MS = 60_000;

export const VIRTUAL_SETTINGS: ShardSettings = {
  slots: VIRTUAL_SLOTS,
  roles: ["order", "payment", "inventory", "shipping", "notification"],
  residentMax: 1_000,
  mailboxMax: 100,
  payment: {
    provider: "simulated",
    url: "",
    timeoutMs: 5_000,
    captureAttemptsMax: 3,
    latency: { kind: "lognormal", medianMs: 120, sigma: 0.3 },
    declineRate: 0,
    failureRate: 0,
    seed: 1,
  },
  reservationTtlMs: 30 * MINUTE_MS,
  shipping: { packMs: 200, deliveryMs: 5_000 },
  fraud: { ...FRAUD_THRESHOLDS, mode: "block", timeoutMs: 2_000, gatherMs: 10 },
  notification: NOTIFICATION_SETTINGS,
  ledger: LEDGER_SETTINGS,
  router: {
    ...EGRESS_SETTINGS,
    routes: [],
    unmatched: "dead_letter",
    outboxFramesMax: 1_000,
    shards: 1,
  },
  directory: "/nowhere",
  shard: 0,
};

export interface VirtualShopOptions {
  readonly seed?: number;
  readonly settings?: Partial<ShardSettings>;
  readonly payment?: Partial<ShardSettings["payment"]>;
  /** What goes into the log instead of what was published. */
  readonly tamper?: (outgoing: Outgoing) => readonly Outgoing[];
  readonly openForeign?: (environment: VirtualEnvironment) => readonly ForeignBroker[];
  readonly around?: AroundHandler;
  readonly onStoreStep?: (step: StoreStep) => void;
}

export type VirtualShop = Awaited<ReturnType<typeof startVirtualShop>>;

/** Where a shop runs, and what it left there. */
function openPorts(options: VirtualShopOptions) {
  const { tamper = (outgoing: Outgoing) => [outgoing], onStoreStep = () => undefined } = options;
  const environment = createVirtualEnvironment(options.seed ?? 1);
  const foreign = options.openForeign?.(environment) ?? [];
  const log = new MemoryLog({
    topics: [...TOPICS, ...outboxTopics(foreign.map(({ name }) => name))],
    partitions: VIRTUAL_SLOTS,
    logBytesMax: 256 * MIB,
    deadLetterBytesMax: 16 * MIB,
  });
  const broker = new MemoryBroker({ environment, log });
  const store = createMemoryStore({
    environment,
    onOutgoing: (outgoing) => void broker.publish(tamper(outgoing)),
    onAcknowledged: (deliveries) => broker.acknowledge(deliveries),
    onStep: onStoreStep,
    deadLetters: log,
  });
  return { environment, foreign, log, broker, store, letters: createMemoryLetters(log) };
}

/** A call that the payment provider answered. */
export interface ProviderAnswer {
  readonly call: "capture" | "refund";
  readonly orderId: string;
  readonly idempotencyKey: string;
  readonly amountMinor: number;
  readonly status: string;
}

/** What the services reported. */
interface Heard {
  readonly orders: string[];
  readonly products: string[];
  readonly log: string[];
  readonly imbalances: string[];
  readonly told: Notification[];
  /** Kinds of channels that were told that another may have sent what is to be sent. */
  readonly takenOver: string[];
  readonly answers: ProviderAnswer[];
}

function heardNothing(): Heard {
  const ofServices = { told: [], takenOver: [], answers: [] };
  return { orders: [], products: [], log: [], imbalances: [], ...ofServices };
}

function startServices(
  options: VirtualShopOptions,
  ports: ReturnType<typeof openPorts>,
  page: SharedArrayBuffer,
  heard: Heard,
): Promise<ShardServices> {
  const settings = { ...VIRTUAL_SETTINGS, ...options.settings };
  return startShardServices({
    ...ports,
    settings: { ...settings, payment: { ...settings.payment, ...options.payment } },
    partitions: Array.from({ length: VIRTUAL_SLOTS }, (_, slot) => slot),
    metrics: shardMetrics(new CounterWriter(page, SHOP_LAYOUT, 0)),
    onOrderChanged: (orderId) => heard.orders.push(orderId),
    onStockChanged: (productId) => heard.products.push(productId),
    onDamage: (detail) => heard.log.push(detail),
    onLog: (_level, text) => heard.log.push(text),
    onImbalance: (detail) => heard.imbalances.push(detail),
    onBalanced: () => undefined,
    createScorer: createInlineScorer,
    createChannels: () => [rememberingChannel(heard)],
    createGateways(terms, around) {
      const { premium, standard } = createGateways(terms, around);
      const remembering = (gateway: PaymentGateway) => rememberingGateway(gateway, heard.answers);
      return { premium: remembering(premium), standard: remembering(standard) };
    },
    ...(options.around === undefined ? {} : { around: options.around }),
    onFailure(error) {
      throw error;
    },
  });
}

/** Starts the services; the caller stops them with `stop`. */
export async function startVirtualShop(options: VirtualShopOptions = {}) {
  const ports = openPorts(options);
  const { environment } = ports;
  const page = createCounterPage(SHOP_LAYOUT, 1);
  const changed = heardNothing();
  const [services] = await Promise.all([
    startServices(options, ports, page, changed),
    environment.settle(),
  ]);

  async function command(one: ShopCommand): Promise<CommandReply> {
    const frame = encodeCommand(one, {
      id: environment.newId(),
      slot: slotOf(keyOfCommand(one), VIRTUAL_SLOTS),
      timeMs: environment.nowMs(),
      deadlineMs: environment.nowMs() + MINUTE_MS,
      correlationId: "story",
    });
    const reply = services.command(decodeFrame(frame));
    // A refusal comes while the clock settles; the caller hears of it after that.
    reply.catch(() => undefined);
    await environment.settle();
    return await reply;
  }

  function counted(name: string, labels: Record<string, string>): number {
    const found = readCounterPage(page, SHOP_LAYOUT).find(
      (sample) => sample.name === name && Bun.deepEquals(sample.labels, labels),
    );
    return found === undefined || found.kind === "histogram" ? Number.NaN : found.value;
  }

  return {
    ...ports,
    ...readersOf(ports),
    services,
    changed,
    command,
    counted,
    stop: async () => {
      const drained = services.drain(1_000);
      await environment.advance(10_000);
      await drained;
    },
    stock: (productId: string, available: number) =>
      command({ type: "inventory.set", productId, available, expectedVersion: 0 }),
    create: (orderId: string, quantity = 1, priceMinor = 2_500, customerId = "ada") =>
      command({
        type: "order.create",
        orderId,
        customerId,
        items: [{ productId: "cup", quantity, priceMinor }],
        totalMinor: quantity * priceMinor,
        currency: "USD",
      }),
  };
}

/** Looks into the store, past the services. */
function readersOf({ store }: Pick<ReturnType<typeof openPorts>, "store">) {
  return {
    order: async (orderId: string): Promise<OrderState> => {
      const [row] = await store.load("orders", [orderId]);
      return decodeOrder(row?.data ?? new Uint8Array());
    },
    /** The row as its service reads it. */
    rowOf: (table: Table, key: string): unknown =>
      decodeValue(store.rows(table).find((row) => row.key === key)?.data ?? new Uint8Array()),
    timeline: async (orderId: string): Promise<readonly string[]> =>
      (await store.timeline(orderId, 0)).map(({ type }) => type),
  };
}

function rememberingChannel({ told, takenOver }: Heard): Channel {
  return {
    name: "memory",
    kind: "email",
    reach: "local",
    knowsCustomers: true,
    send: async (batch) => {
      told.push(...batch);
      return batch.map(() => SENT);
    },
    takeOver: () => void takenOver.push("email"),
    close: async () => undefined,
  };
}

function rememberingGateway(gateway: PaymentGateway, answers: ProviderAnswer[]): PaymentGateway {
  return {
    async capture(request, signal) {
      const answer = await gateway.capture(request, signal);
      answers.push({ call: "capture", ...request, status: answer.status });
      return answer;
    },
    async refund(request, signal) {
      const answer = await gateway.refund(request, signal);
      answers.push({ call: "refund", ...request, status: answer.status });
      return answer;
    },
  };
}
