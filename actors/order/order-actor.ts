/**
 * The order as an entity: one order's state in memory, and the shell around its decider.
 *
 * It hydrates from the store, decides, and answers only after the commit. It must be given one
 * message at a time. It trusts its memory no longer than its last commit went as planned: after a
 * conflict, a duplicate or an unclear answer it reads the row again and decides anew, a bounded
 * number of times. That nothing is to be done no commit would prove wrong, and another shard may
 * have gone on with the order meanwhile: so the row is read before a message is let pass.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { DeliveryRef } from "../brokers/broker.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { CommandOf } from "../contracts/messages.ts";
import type { OrderState } from "../contracts/order-state.ts";
import type {
  CommitResult,
  InboxMark,
  RowWrite,
  Store,
  UnitOfWork,
} from "../stores/unit-of-work.ts";
import type { OrderEvent, OrderInput, Refusal } from "./order.ts";
import type { KeptAnswer, StoredOrder } from "./order-unit.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
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
  /** Makes the row that keeps the answer, for whoever asked from afar. */
  readonly answerRow?: (answer: OrderAnswer) => RowWrite;
}

/**
 * `committed`: something happened; deliveries are acknowledged. `unchanged`: nothing had to, or it
 * had happened before. `kept`: another order has the idempotency key, with this first answer.
 * `answered`: the row that keeps the answer is there already.
 */
export type OrderAnswer =
  | { readonly kind: "committed"; readonly order: OrderState }
  | { readonly kind: "unchanged"; readonly order: OrderState }
  | { readonly kind: "kept"; readonly answer: KeptAnswer }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "answered" };

/** `unread`: the row may or may not be there. */
type Memory =
  { readonly kind: "unread" } | { readonly kind: "read"; readonly stored: StoredOrder | undefined };

const UNREAD: Memory = { kind: "unread" };

/** One order. A class, not closures: thousands of them are in memory at a time. */
export class OrderActor {
  readonly #orderId: string;
  readonly #options: OrderActorOptions;
  #memory: Memory = UNREAD;
  /** The memory was read, or proved by a commit, for the message that is being decided. */
  #isCurrent = false;

  constructor(orderId: string, options: OrderActorOptions) {
    this.#orderId = orderId;
    this.#options = options;
  }

  /** Rejects with the store's errors, or `VERSION_CONFLICT` when others kept writing this order. */
  async receive(message: OrderMessage): Promise<OrderAnswer> {
    let mustRead = message.input.type !== "order.create";
    this.#isCurrent = false;
    for (let decisions = 0; decisions < DECISIONS_MAX; decisions++) {
      // A new order's row is almost never there, so the first try writes without looking.
      if (mustRead) await this.#recall();
      const attempted = await this.#attempt(message);
      const mustKeep = attempted !== undefined && message.answerRow !== undefined;
      const answer = mustKeep ? await this.#keep(message, attempted) : attempted;
      if (answer !== undefined) return answer;
      this.#memory = UNREAD;
      mustRead = true;
    }
    throw new ShopError("VERSION_CONFLICT", `order ${this.#orderId} kept changing`, "later");
  }

  async #recall(): Promise<StoredOrder | undefined> {
    if (this.#memory.kind === "read") return this.#memory.stored;
    const [row] = await this.#options.store.load("orders", [this.#orderId]);
    const stored =
      row === undefined ? undefined : { state: decodeOrder(row.data), rowVersion: row.version };
    this.#memory = { kind: "read", stored };
    this.#isCurrent = true;
    return stored;
  }

  /** One decision; `undefined` when it did not hold and must be made again. */
  async #attempt(message: OrderMessage): Promise<OrderAnswer | undefined> {
    const { input, cause, inbox, deliveries } = message;
    const before = this.#memory.kind === "read" ? this.#memory.stored : undefined;
    const { events, refusal } = decide(input, before?.state);
    if (events.length === 0 && !this.#isCurrent) return undefined;
    if (refusal !== undefined) return { kind: "refused", refusal };
    if (events.length === 0) {
      // `decide` gives neither events nor a refusal only about an order that is there.
      return before === undefined ? undefined : { kind: "unchanged", order: before.state };
    }
    const step = orderStep(input, before, events, { ...this.#options, cause, inbox });
    const answerRow = message.answerRow?.({ kind: "committed", order: step.after });
    const unit =
      answerRow === undefined ? step.unit : { ...step.unit, rows: [...step.unit.rows, answerRow] };
    const result = await this.#commit(unit, deliveries);
    if (result?.kind === "committed") {
      const stored = { state: step.after, rowVersion: (before?.rowVersion ?? 0) + 1 };
      this.#memory = { kind: "read", stored };
      this.#options.onStep?.({ events, before: before?.state, after: step.after });
      return { kind: "committed", order: step.after };
    }
    if (result?.kind === "duplicate") return this.#handledBefore();
    if (result?.kind !== "conflict") return undefined;
    if (isRow(result, answerRow)) return { kind: "answered" };
    return this.#keptAnswer(input, result.table);
  }

  /** An answer that no step carried is kept by itself; `undefined` when it must be found anew. */
  async #keep(message: OrderMessage, answer: OrderAnswer): Promise<OrderAnswer | undefined> {
    if (answer.kind === "committed" || answer.kind === "answered") return answer;
    const answerRow = message.answerRow?.(answer);
    if (answerRow === undefined) return answer;
    const unit = { ...EMPTY_UNIT, rows: [answerRow] };
    const result = await this.#commit(unit, message.deliveries);
    if (result?.kind === "committed") return answer;
    return result?.kind === "conflict" ? { kind: "answered" } : undefined;
  }

  /** `undefined` for a commit whose outcome only the rows can tell. */
  async #commit(
    unit: UnitOfWork,
    deliveries: readonly DeliveryRef[],
  ): Promise<CommitResult | undefined> {
    try {
      return await this.#options.store.commit(unit, deliveries);
    } catch (error) {
      this.#memory = UNREAD;
      if (isShopError(error, "INDETERMINATE")) return undefined;
      throw error;
    }
  }

  async #handledBefore(): Promise<OrderAnswer | undefined> {
    this.#memory = UNREAD;
    const stored = await this.#recall();
    return stored === undefined ? undefined : { kind: "unchanged", order: stored.state };
  }

  async #keptAnswer(input: OrderInput, table: string): Promise<OrderAnswer | undefined> {
    if (table !== "idempotency" || !hasKey(input)) return undefined;
    const key = idempotencyRowKey(input.customerId, input.idempotency.key);
    const [row] = await this.#options.store.load("idempotency", [key]);
    return row === undefined ? undefined : { kind: "kept", answer: decodeKeptAnswer(row.data) };
  }
}

function isRow(
  conflict: { readonly table: string; readonly key: string },
  row?: RowWrite,
): boolean {
  return row !== undefined && conflict.table === row.table && conflict.key === row.key;
}

type CreateWithKey = CommandOf<"order.create"> &
  Required<Pick<CommandOf<"order.create">, "idempotency">>;

function hasKey(input: OrderInput): input is CreateWithKey {
  return input.type === "order.create" && input.idempotency !== undefined;
}
