/**
 * The order as an entity: one order's state in memory, and the shell around its decider.
 *
 * It hydrates from the store, decides, and answers only after the commit. It must be given one
 * message at a time. It trusts its memory no longer than its last commit went as planned: after a
 * conflict, a duplicate or an unclear answer it reads the row again and decides anew, a bounded
 * number of times.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { DeliveryRef } from "../brokers/broker.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { CommandOf } from "../contracts/messages.ts";
import type { OrderState } from "../contracts/order-state.ts";
import type { InboxMark, Store, Table } from "../stores/unit-of-work.ts";
import type { OrderEvent, OrderInput, Refusal } from "./order.ts";
import type { KeptAnswer, StoredOrder } from "./order-unit.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import { decide } from "./order.ts";
import { decodeKeptAnswer, decodeOrder, idempotencyRowKey, orderStep } from "./order-unit.ts";

/** Times one message is decided before it is given back as a conflict. */
const DECISIONS_MAX = 5;

/** A step that was committed, for metrics and for those who watch the order. */
export interface CommittedStep {
  readonly events: readonly OrderEvent[];
  readonly before: OrderState | undefined;
  readonly after: OrderState;
}

export interface OrderActorOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly slots: number;
  /** Called after each commit. Must not throw. */
  readonly onStep?: (step: CommittedStep) => void;
}

/** One message to one order, with what is to be committed beside its effects. */
export interface OrderMessage {
  readonly input: OrderInput;
  readonly cause: Cause;
  readonly inbox?: InboxMark;
  readonly deliveries: readonly DeliveryRef[];
}

/**
 * `committed`: something happened; deliveries are acknowledged. `unchanged`: nothing had to, or it
 * had happened before. `kept`: another order has the idempotency key, with this first answer.
 */
export type OrderAnswer =
  | { readonly kind: "committed"; readonly order: OrderState }
  | { readonly kind: "unchanged"; readonly order: OrderState }
  | { readonly kind: "kept"; readonly answer: KeptAnswer }
  | { readonly kind: "refused"; readonly refusal: Refusal };

export interface OrderActor {
  /** Rejects with the store's errors, or `VERSION_CONFLICT` when others kept writing this order. */
  receive(message: OrderMessage): Promise<OrderAnswer>;
}

/** `unread`: the row may or may not be there. */
type Memory =
  { readonly kind: "unread" } | { readonly kind: "read"; readonly stored: StoredOrder | undefined };

const UNREAD: Memory = { kind: "unread" };

export function createOrderActor(orderId: string, options: OrderActorOptions): OrderActor {
  const { store } = options;
  let memory: Memory = UNREAD;

  async function recall(): Promise<StoredOrder | undefined> {
    if (memory.kind === "read") return memory.stored;
    const [row] = await store.load("orders", [orderId]);
    const stored =
      row === undefined ? undefined : { state: decodeOrder(row.data), rowVersion: row.version };
    memory = { kind: "read", stored };
    return stored;
  }

  async function receive(message: OrderMessage): Promise<OrderAnswer> {
    let mustRead = message.input.type !== "order.create";
    for (let decisions = 0; decisions < DECISIONS_MAX; decisions++) {
      // A new order's row is almost never there, so the first try writes without looking.
      if (mustRead) await recall();
      const answer = await attempt(message);
      if (answer !== undefined) return answer;
      memory = UNREAD;
      mustRead = true;
    }
    throw new ShopError("VERSION_CONFLICT", `order ${orderId} kept changing`, "later");
  }

  /** One decision; `undefined` when it did not hold and must be made again. */
  async function attempt(message: OrderMessage): Promise<OrderAnswer | undefined> {
    const { input, cause, inbox, deliveries } = message;
    const before = memory.kind === "read" ? memory.stored : undefined;
    const { events, refusal } = decide(input, before?.state);
    if (refusal !== undefined) return { kind: "refused", refusal };
    if (events.length === 0) {
      // `decide` gives neither events nor a refusal only about an order that is there.
      return before === undefined ? undefined : { kind: "unchanged", order: before.state };
    }
    const step = orderStep(input, before, events, { ...options, cause, inbox });
    const result = await commit(() => store.commit(step.unit, deliveries));
    if (result?.kind === "committed") {
      const stored = { state: step.after, rowVersion: (before?.rowVersion ?? 0) + 1 };
      memory = { kind: "read", stored };
      options.onStep?.({ events, before: before?.state, after: step.after });
      return { kind: "committed", order: step.after };
    }
    if (result?.kind === "duplicate") return handledBefore();
    if (result?.kind === "conflict") return keptAnswer(input, result.table);
    return undefined;
  }

  /** `undefined` for a commit whose outcome only the rows can tell. */
  async function commit<Result>(call: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await call();
    } catch (error) {
      memory = UNREAD;
      if (isShopError(error, "INDETERMINATE")) return undefined;
      throw error;
    }
  }

  async function handledBefore(): Promise<OrderAnswer | undefined> {
    memory = UNREAD;
    const stored = await recall();
    return stored === undefined ? undefined : { kind: "unchanged", order: stored.state };
  }

  async function keptAnswer(input: OrderInput, table: Table): Promise<OrderAnswer | undefined> {
    if (table !== "idempotency" || !hasKey(input)) return undefined;
    const key = idempotencyRowKey(input.customerId, input.idempotency.key);
    const [row] = await store.load("idempotency", [key]);
    return row === undefined ? undefined : { kind: "kept", answer: decodeKeptAnswer(row.data) };
  }

  return { receive };
}

type CreateWithKey = CommandOf<"order.create"> &
  Required<Pick<CommandOf<"order.create">, "idempotency">>;

function hasKey(input: OrderInput): input is CreateWithKey {
  return input.type === "order.create" && input.idempotency !== undefined;
}
