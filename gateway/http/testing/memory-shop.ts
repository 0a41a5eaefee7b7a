/**
 * An honest shop in memory, for tests of the gateway: orders follow the real decider, stock has
 * versions, idempotency keys are kept, and every change is seen by the next read.
 *
 * It never invents an answer. Faults are injected by name: a held or failing command, a service
 * that is down, a reader that fails.
 */

import { encodeValue } from "../../../actors/contracts/codec.ts";
import { COMMANDS } from "../../../actors/contracts/messages.ts";
import type { CommandOf, ShopCommand } from "../../../actors/contracts/messages.ts";
import type {
  CommandReply,
  OrderState,
  StockState,
} from "../../../actors/contracts/order-state.ts";
import type { OrderInput } from "../../../actors/order/order.ts";
import { decide, evolve } from "../../../actors/order/order.ts";
import type { OrderReads, Row, TimelineEntry } from "../../../actors/stores/unit-of-work.ts";
import type { Environment } from "../../../runtime/environment.ts";
import { emptyPlatform } from "./empty-platform.ts";
import { ShopError } from "../../../runtime/errors.ts";
import type { CommandOptions, CommandPort } from "../command-port.ts";
import type { GatewayDeps, ServiceStatus } from "../gateway-ports.ts";

export const TEST_LIMITS: GatewayDeps["limits"] = {
  bodyBytes: 256 * 1024,
  jsonDepth: 16,
  inFlightMax: 64,
  commandTimeoutMs: 5000,
  streamsMax: 4,
  streamMs: 600_000,
};

export interface SentCommand {
  readonly command: ShopCommand;
  readonly options: CommandOptions;
}

export class MemoryShop {
  readonly deps: GatewayDeps;
  /** Every command that was sent, in order. */
  readonly sent: SentCommand[] = [];
  /** Errors that the gateway reported as unexpected. */
  readonly failures: { readonly error: unknown; readonly correlationId: string }[] = [];
  /** Reads of stock that were not answered from the cache. */
  stockLoads = 0;
  /** Awaited before a command takes effect. */
  beforeCommand: () => Promise<void> | void = () => {};
  /** Awaited before a timeline is read. */
  beforeTimeline: () => Promise<void> | void = () => {};
  isReady = true;
  paymentStatus: ServiceStatus = "up";
  readonly #environment: Environment;
  /** Another process owns every order and does not answer in time. */
  isOwnerSlow = false;
  readonly #orders = new Map<string, OrderState>();
  readonly #timelines = new Map<string, TimelineEntry[]>();
  readonly #stock = new Map<string, StockState>();
  readonly #keys = new Map<string, { readonly fingerprint: string; readonly first: OrderState }>();
  readonly #cache = new Map<string, StockState>();
  readonly #listeners = new Map<string, Set<() => void>>();

  constructor(environment: Environment, limits: Partial<GatewayDeps["limits"]> = {}) {
    this.#environment = environment;
    const commands: CommandPort = { send: (command, options) => this.#send(command, options) };
    this.deps = {
      environment,
      limits: { ...TEST_LIMITS, ...limits },
      commands,
      platform: emptyPlatform(environment, commands),
      reads: this.#reads(),
      availability: {
        get: async (id) => this.#cached(id),
        invalidate: (id) => void this.#cache.delete(id),
      },
      health: { report: () => this.#health(), ready: () => this.isReady },
      events: { onOrder: (id, listener) => this.#listen(id, listener) },
      metricsText: async () => ({ contentType: "text/plain; version=0.0.4", body: "up 1\n" }),
      onFailure: (error, correlationId) => void this.failures.push({ error, correlationId }),
    };
  }

  get orderCount(): number {
    return this.#orders.size;
  }

  /** Listeners that have not been removed. */
  get listenerCount(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Lets `input` happen to its order, as a service or a timer would. */
  happen(input: OrderInput): void {
    let state = this.#orders.get(input.orderId);
    const entries = this.#timelines.get(input.orderId) ?? [];
    for (const event of decide(input, state).events) {
      const atMs = this.#environment.nowMs();
      state = evolve(state, event, atMs);
      const { version } = state;
      const { type } = event;
      entries.push({ orderId: input.orderId, version, type, atMs, data: encodeValue(event) });
    }
    if (state === undefined) return;
    this.#orders.set(input.orderId, state);
    this.#timelines.set(input.orderId, entries);
    for (const listener of this.#listeners.get(input.orderId) ?? []) listener();
  }

  pay(orderId: string): void {
    const paid = { status: "completed", gateway: "standard", currency: "USD" } as const;
    this.happen({ type: "payment.processed", orderId, amountMinor: 2000, ...paid });
  }

  reserve(orderId: string): void {
    const expiresAtMs = this.#environment.nowMs() + 1_800_000;
    this.happen({ type: "inventory.reserved", orderId, status: "reserved", expiresAtMs });
  }

  /** From created to delivered. */
  deliver(orderId: string): void {
    this.pay(orderId);
    this.reserve(orderId);
    const parcel = { orderId, trackingNumber: "SS1", carrier: "test" };
    this.happen({ type: "shipment.packed", ...parcel });
    this.happen({ type: "shipment.delivered", orderId, trackingNumber: "SS1" });
  }

  /** Reserves stock behind the gateway's back: the version moves, the cache does not. */
  changeStock(productId: string): void {
    const stock = this.#stock.get(productId);
    if (stock === undefined) return;
    const { available, reserved, version } = stock;
    this.#stock.set(productId, {
      ...stock,
      available: available - 1,
      reserved: reserved + 1,
      version: version + 1,
    });
  }

  async #send(command: ShopCommand, options: CommandOptions): Promise<CommandReply> {
    if (this.isOwnerSlow && command.type === "order.cancel") return { kind: "pending" };
    this.sent.push({ command, options });
    // As strict as a shard: what does not fit its contract is refused before it is handled.
    const { type, ...fields } = command;
    COMMANDS.find((contract) => contract.type === type)?.check(fields);
    await this.beforeCommand();
    switch (command.type) {
      case "order.create":
        return this.#create(command);
      case "order.cancel":
        return this.#cancel(command);
      case "inventory.set":
        return this.#setStock(command);
      case "behavior.record":
        return { kind: "recorded", events: command.offsetMs.length };
      default:
        throw new ShopError("BAD_MESSAGE", `this shop takes no ${command.type}`, "never");
    }
  }

  #create(command: CommandOf<"order.create">): CommandReply {
    const { idempotency, customerId } = command;
    const key = idempotency && `${customerId}\n${idempotency.key}`;
    const known = key === undefined ? undefined : this.#keys.get(key);
    if (known !== undefined) {
      return known.fingerprint === idempotency?.fingerprint
        ? { kind: "order", order: known.first, replayed: true }
        : { kind: "refused", code: "idempotency_mismatch", detail: "secret detail" };
    }
    this.happen(command);
    const reply = this.#orderReply(command.orderId);
    if (key !== undefined && idempotency !== undefined && reply.kind === "order") {
      this.#keys.set(key, { fingerprint: idempotency.fingerprint, first: reply.order });
    }
    return reply;
  }

  #cancel(command: CommandOf<"order.cancel">): CommandReply {
    const { refusal } = decide(command, this.#orders.get(command.orderId));
    if (refusal !== undefined) return { kind: "refused", ...refusal };
    this.happen(command);
    return this.#orderReply(command.orderId);
  }

  #setStock(command: CommandOf<"inventory.set">): CommandReply {
    const { productId, available, expectedVersion } = command;
    const before = this.#stock.get(productId);
    const version = before?.version ?? 0;
    if (before !== undefined && expectedVersion === undefined) {
      return { kind: "refused", code: "version_required", detail: "secret detail" };
    }
    if (expectedVersion !== undefined && expectedVersion !== version) {
      return { kind: "refused", code: "version_conflict", detail: "secret detail" };
    }
    const kept = before ?? { reserved: 0, shipped: 0 };
    const stock = { ...kept, productId, available, version: version + 1 };
    this.#stock.set(productId, stock);
    return { kind: "stock", stock, created: before === undefined };
  }

  #orderReply(orderId: string): CommandReply {
    const order = this.#orders.get(orderId);
    return order === undefined
      ? { kind: "refused", code: "not_found", detail: "secret detail" }
      : { kind: "order", order, replayed: false };
  }

  #reads(): OrderReads {
    return {
      order: async (id) => rowOf(id, this.#orders.get(id)),
      stock: async (id) => rowOf(id, this.#stock.get(id)),
      timeline: async (id, afterVersion) => {
        await this.beforeTimeline();
        return (this.#timelines.get(id) ?? []).filter(({ version }) => version > afterVersion);
      },
      orders: async ({ customerId, status, limit, after }) =>
        [...this.#orders.values()]
          .filter((order) => customerId === undefined || order.customerId === customerId)
          .filter((order) => status === undefined || order.status === status)
          .toSorted((left, right) => newerFirst(left, right))
          .filter(({ createdAtMs, id: key }) =>
            after === undefined
              ? true
              : newerFirst({ ...after, id: after.key }, { createdAtMs, id: key }) < 0,
          )
          .slice(0, limit)
          .flatMap((order) => rowOf(order.id, order) ?? []),
    };
  }

  #cached(productId: string): StockState | undefined {
    const cached = this.#cache.get(productId);
    if (cached !== undefined) return cached;
    this.stockLoads++;
    const stock = this.#stock.get(productId);
    if (stock !== undefined) this.#cache.set(productId, stock);
    return stock;
  }

  #health() {
    const lastCheckedMs = this.#environment.nowMs();
    const services = [
      { name: "order", status: "up", latencyMs: 1.5, errorRate: 0, lastCheckedMs },
      {
        name: "payment",
        status: this.paymentStatus,
        latencyMs: 130,
        errorRate: 0.5,
        lastCheckedMs,
      },
    ] as const;
    return { status: this.paymentStatus === "up" ? "up" : "degraded", services } as const;
  }

  #listen(orderId: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(orderId) ?? new Set();
    this.#listeners.set(orderId, listeners.add(listener));
    return () => void listeners.delete(listener);
  }
}

function rowOf(key: string, data: { readonly version: number } | undefined): Row | undefined {
  return data && { key, version: data.version, data: encodeValue(data) };
}

function newerFirst(
  left: { readonly createdAtMs: number; readonly id: string },
  right: { readonly createdAtMs: number; readonly id: string },
): number {
  return right.createdAtMs - left.createdAtMs || (right.id < left.id ? -1 : 1);
}
