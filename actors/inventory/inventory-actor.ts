/**
 * The inventory service: batches of order events against the stock, and stock set by command.
 *
 * Stock is shared by every shard, so a batch is optimistic: read, compute, commit under the
 * versions that were read, and on a conflict read again (Kung & Robinson, 1981). One batch of this
 * shard runs at a time; a batch that keeps losing waits a little longer each time and, after a
 * bounded number of tries, is given back to be retried. It never promises what it has not got.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { CommandOf, ShopEvent } from "../contracts/messages.ts";
import type { CommandReply, StockState } from "../contracts/order-state.ts";
import type { CommitResult, Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { InventoryEvent, InventoryInput, InventoryOutcome, StockRow } from "./stock.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { causeOf, encodeEvent } from "../delivery/decode-message.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import {
  changedStock,
  decodeStock,
  readSnapshot,
  reservationWrites,
  stockWrite,
} from "./stock-rows.ts";
import { applyToStock, decideSetStock, publicStock } from "./stock.ts";

export interface InventorySettings {
  readonly reservationTtlMs: number;
  /** Times one batch is computed before it is given back. */
  readonly decisionsMax: number;
  /** Longest wait between two of them; the wait doubles from 1 ms, of which a random share. */
  readonly backoffMsMax: number;
}

export const INVENTORY_SETTINGS: InventorySettings = {
  reservationTtlMs: 30 * 60_000,
  decisionsMax: 12,
  backoffMsMax: 50,
};

export interface InventoryServiceOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly slots: number;
  readonly settings?: InventorySettings;
  /** Stock as it is after a commit, for caches. Must not throw. */
  readonly onStockChanged?: (stock: readonly StockState[]) => void;
  /** Events that were published, after the commit. Must not throw. */
  readonly onPublished?: (events: readonly InventoryEvent[]) => void;
}

export interface InventoryService {
  /** Batch handler of group `inventory`. */
  handle(messages: readonly Message<ShopEvent>[]): Promise<readonly Outcome[]>;
  /** `cause.causationId` is the id of the command's own message: sent again, it acts once. */
  command(
    command: CommandOf<"inventory.set">,
    origin: { readonly cause: Cause; readonly deadlineMs: number },
  ): Promise<CommandReply>;
}

interface Task {
  readonly message: Message<ShopEvent>;
  readonly input: InventoryInput;
}

/** A batch as computed: one unit of work for `tasks`; the others need none. */
interface Batch {
  readonly unit: UnitOfWork;
  readonly tasks: readonly Task[];
  readonly stock: readonly StockRow[];
  readonly events: readonly InventoryEvent[];
}

const GROUP = "inventory";

export function createInventoryService(options: InventoryServiceOptions): InventoryService {
  const { store, environment, slots, settings = INVENTORY_SETTINGS } = options;
  let tail: Promise<unknown> = Promise.resolve();

  /** Two batches of one shard would only conflict with each other. */
  function exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = tail.then(work, work);
    tail = done;
    return done;
  }

  async function handle(messages: readonly Message<ShopEvent>[]): Promise<readonly Outcome[]> {
    const outcomes = new Map<Message<ShopEvent>, Outcome>();
    const tasks = messages.flatMap((message) =>
      isInventoryInput(message.body) ? [{ message, input: message.body }] : [],
    );
    if (tasks.length > 0) await exclusively(() => workOff(tasks, outcomes));
    return messages.map((message) => outcomes.get(message) ?? ACK);
  }

  async function workOff(
    tasks: readonly Task[],
    outcomes: Map<Message<ShopEvent>, Outcome>,
  ): Promise<void> {
    let open = tasks;
    for (let tries = 0; tries < settings.decisionsMax; tries++) {
      if (tries > 0) await backOff(tries);
      const batch = await compute(open, outcomes);
      open = batch.tasks;
      if (open.length === 0) return;
      const result = await commit(batch.unit, open);
      if (result?.kind === "committed") {
        for (const { message } of open) outcomes.set(message, SETTLED);
        if (batch.stock.length > 0) options.onStockChanged?.(batch.stock.map(publicStock));
        if (batch.events.length > 0) options.onPublished?.(batch.events);
        return;
      }
      if (result?.kind === "duplicate") {
        const known = new Set(result.messageIds);
        open = open.filter(({ message }) => !known.has(message.frame.id));
      }
    }
    const error = new ShopError("VERSION_CONFLICT", "others kept changing the stock", "later");
    for (const { message } of open) outcomes.set(message, { kind: "retry", error });
  }

  async function compute(
    tasks: readonly Task[],
    outcomes: Map<Message<ShopEvent>, Outcome>,
  ): Promise<Batch> {
    const read = await readSnapshot(
      store,
      tasks.map((task) => task.input),
    );
    const terms = { nowMs: environment.nowMs(), reservationTtlMs: settings.reservationTtlMs };
    const applied: Task[] = [];
    const events: InventoryEvent[] = [];
    const outgoing = [];
    for (const task of tasks) {
      const { input, message } = task;
      const outcome = applyToStock(input, read.snapshot, terms);
      if (outcome.kind !== "applied") {
        outcomes.set(message, withoutEffect(outcome));
        continue;
      }
      applied.push(task);
      const { event } = outcome;
      if (event === undefined) continue;
      events.push(event);
      outgoing.push(encodeEvent(event, { environment, slots, cause: causeOf(message.frame) }));
    }
    const stock = changedStock(read);
    const orderIds = new Set(applied.map((task) => task.input.orderId));
    const unit = {
      ...EMPTY_UNIT,
      inbox: applied.map(({ message }) => ({ group: GROUP, messageId: message.frame.id })),
      rows: [...stock.map(stockWrite), ...reservationWrites(read, orderIds)],
      outgoing,
    };
    return { unit, tasks: applied, stock, events };
  }

  /** `undefined` for a commit whose outcome only the rows can tell. */
  async function commit(
    unit: UnitOfWork,
    tasks: readonly Task[],
  ): Promise<CommitResult | undefined> {
    try {
      return await store.commit(
        unit,
        tasks.map(({ message }) => message.delivery),
      );
    } catch (error) {
      if (isShopError(error, "INDETERMINATE")) return undefined;
      throw error;
    }
  }

  async function backOff(tries: number): Promise<void> {
    const longestMs = Math.min(settings.backoffMsMax, 2 ** tries);
    const { promise, resolve } = Promise.withResolvers<void>();
    environment.startTimer(environment.random() * longestMs, resolve);
    await promise;
  }

  async function setStock(
    input: CommandOf<"inventory.set">,
    messageId: string,
  ): Promise<CommandReply> {
    for (let tries = 0; tries < settings.decisionsMax; tries++) {
      const [row] = await store.load("stock", [input.productId]);
      const stored = row === undefined ? undefined : decodeStock(row);
      const decision = decideSetStock(input, stored, messageId);
      if (decision.kind === "refused") return decision;
      const { stock, created } = decision;
      if (decision.kind === "repeat") return { kind: "stock", stock: publicStock(stock), created };
      const result = await commit({ ...EMPTY_UNIT, rows: [stockWrite(stock)] }, []);
      if (result?.kind === "committed") {
        options.onStockChanged?.([publicStock(stock)]);
        return { kind: "stock", stock: publicStock(stock), created };
      }
    }
    return refused("storage_unavailable", `${input.productId} kept changing`);
  }

  async function command(
    input: CommandOf<"inventory.set">,
    origin: { readonly cause: Cause; readonly deadlineMs: number },
  ): Promise<CommandReply> {
    const { cause, deadlineMs } = origin;
    if (deadlineMs !== 0 && environment.nowMs() > deadlineMs) {
      return refused("expired", "the command waited past its deadline");
    }
    try {
      return await exclusively(() => setStock(input, cause.causationId));
    } catch (error) {
      if (!isShopError(error)) throw error;
      const code = error.retry === "later" ? "storage_unavailable" : "failed";
      return refused(code, describeError(error));
    }
  }

  return { handle, command };
}

function isInventoryInput(event: ShopEvent): event is InventoryInput {
  return (
    event.type === "order.created" ||
    event.type === "order.cancelled" ||
    event.type === "order.shipped"
  );
}

function withoutEffect(outcome: Exclude<InventoryOutcome, { kind: "applied" }>): Outcome {
  if (outcome.kind === "nothing") return ACK;
  const error = new ShopError("BAD_MESSAGE", outcome.detail, "never");
  return { kind: "bury", reason: "misplaced", error };
}

type RefusalCode = Extract<CommandReply, { kind: "refused" }>["code"];

function refused(code: RefusalCode, detail: string): CommandReply {
  return { kind: "refused", code, detail };
}
