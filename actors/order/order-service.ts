/**
 * The order service: commands from the gateway and reports from the other services, each to the
 * actor of its order.
 *
 * A command is always answered: with the order, or with a refusal that says why. A report about an
 * order that does not exist is buried, never dropped. Both doors may be used at once; one order's
 * messages still run one at a time.
 */

import type { ActorSystem } from "../../runtime/actors/actor-system.ts";
import type { EntityRegionStats } from "../../runtime/actors/entity-region.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { CommandOf, ShopEvent } from "../contracts/messages.ts";
import type { CommandReply, OrderState } from "../contracts/order-state.ts";
import type { RowWrite, Store } from "../stores/unit-of-work.ts";
import type { CommittedStep, OrderAnswer, OrderMessage } from "./order-actor.ts";
import type { OrderInput } from "./order.ts";

import { createEntityRegion } from "../../runtime/actors/entity-region.ts";
import { assert, describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { causeOf } from "../delivery/decode-message.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { OrderActor } from "./order-actor.ts";

export type OrderCommand = CommandOf<"order.create" | "order.cancel">;

export interface OrderSettings {
  /** Most orders in memory at once. */
  readonly residentMax: number;
  /** An order without messages for this long is passivated. */
  readonly idleMs: number;
  /** Messages of one order that may wait. */
  readonly mailboxCapacity: number;
}

export const ORDER_SETTINGS: OrderSettings = {
  residentMax: 20_000,
  idleMs: 30_000,
  mailboxCapacity: 256,
};

export interface OrderServiceOptions {
  readonly store: Store;
  /** Where the orders live: the shard's. */
  readonly system: ActorSystem;
  readonly slots: number;
  readonly settings?: OrderSettings;
  /** Called after each commit. Must not throw. */
  readonly onStep?: (step: CommittedStep) => void;
}

export interface CommandOrigin {
  readonly cause: Cause;
  /** Milliseconds since the epoch after which nobody waits for the answer; 0: no such time. */
  readonly deadlineMs: number;
}

/** The row that keeps the reply to a command. */
export type KeepReply = (reply: CommandReply) => RowWrite;

export interface OrderService {
  /**
   * Rejects with `SATURATED` when there is no room for the order, with `CLOSED` once the service
   * stops; everything else that can be expected is a reply. The same command sent again has the
   * same effect and gives the same order.
   */
  command(command: OrderCommand, origin: CommandOrigin): Promise<CommandReply>;
  /**
   * A command that came as a message: what `command` would answer is committed beside its effects
   * as the row that `keep` makes of it. Rejects as the store does, to be tried again.
   */
  carryOut(message: Message<OrderCommand>, keep: KeepReply): Promise<Outcome>;
  /** Handler of group `order`. */
  handle(message: Message<ShopEvent>): Promise<Outcome>;
  stats(): EntityRegionStats;
  /** Takes nothing new and ends what is under way; how many orders the deadline abandoned. */
  stop(deadlineMs?: number): Promise<number>;
}

/** A message with the one who waits for its answer. */
interface Errand {
  readonly message: OrderMessage;
  readonly resolve: (answer: OrderAnswer) => void;
  readonly reject: (error: unknown) => void;
}

const GROUP = "order";

export function createOrderService(options: OrderServiceOptions): OrderService {
  const { store, system, slots, settings = ORDER_SETTINGS, onStep } = options;
  const { environment } = system;
  const actorOptions = {
    store,
    environment,
    slots,
    ...(onStep === undefined ? {} : { onStep }),
  };
  const region = createEntityRegion<Errand>(system, {
    ...settings,
    type: "order",
    create: (orderId) => {
      const actor = new OrderActor(orderId, actorOptions);
      return { receive: (errand) => run(actor, errand) };
    },
    failed: (errand, error) => errand.reject(error),
  });

  function deliver(message: OrderMessage): Promise<OrderAnswer> {
    const { orderId } = message.input;
    const { promise, resolve, reject } = Promise.withResolvers<OrderAnswer>();
    const told = region.tell(orderId, { message, resolve, reject });
    if (told === "stopped") reject(new ShopError("CLOSED", "the orders are closing", "later"));
    else if (told !== "accepted") {
      reject(new ShopError("SATURATED", `order ${orderId}: ${told}`, "later"));
    }
    return promise;
  }

  async function command(input: OrderCommand, origin: CommandOrigin): Promise<CommandReply> {
    const { cause, deadlineMs } = origin;
    if (deadlineMs !== 0 && environment.nowMs() > deadlineMs) {
      return refused("expired", "the command waited past its deadline");
    }
    try {
      return replyTo(input, await deliver({ input, cause, deliveries: [] }));
    } catch (error) {
      if (!isShopError(error)) throw error;
      if (error.code === "SATURATED" || error.code === "CLOSED") throw error;
      const code = error.retry === "later" ? "storage_unavailable" : "failed";
      return refused(code, describeError(error));
    }
  }

  async function carryOut(message: Message<OrderCommand>, keep: KeepReply): Promise<Outcome> {
    const { body: input, frame, delivery } = message;
    const answer = await deliver({
      input,
      cause: causeOf(frame),
      deliveries: [delivery],
      answerRow: (found) => keep(replyTo(input, found)),
    });
    return answer.kind === "answered" ? ACK : SETTLED;
  }

  async function handle(message: Message<ShopEvent>): Promise<Outcome> {
    const { body: input, frame, delivery } = message;
    if (!isReport(input)) return ACK;
    const inbox = { group: GROUP, messageId: frame.id };
    const answer = await deliver({ input, cause: causeOf(frame), inbox, deliveries: [delivery] });
    switch (answer.kind) {
      case "committed":
        return SETTLED;
      case "unchanged":
      case "kept":
      case "answered":
        return ACK;
      case "refused": {
        const error = new ShopError("BAD_MESSAGE", answer.refusal.detail, "never");
        return { kind: "bury", reason: "unknown_order", error };
      }
    }
  }

  return {
    command,
    carryOut,
    handle,
    stats: region.stats.bind(region),
    stop: region.stop.bind(region),
  };
}

/** What can be expected is the sender's to know; a bug is also the end of this incarnation. */
async function run(actor: OrderActor, errand: Errand): Promise<void> {
  try {
    errand.resolve(await actor.receive(errand.message));
  } catch (error) {
    if (!isShopError(error)) throw error;
    errand.reject(error);
  }
}

function replyTo(command: OrderCommand, answer: OrderAnswer): CommandReply {
  switch (answer.kind) {
    case "refused":
      return { kind: "refused", ...answer.refusal };
    case "committed":
      return { kind: "order", order: answer.order, replayed: false };
    case "unchanged":
      if (command.type === "order.create" && !isSameOrder(command, answer.order)) {
        return refused("failed", `order id ${command.orderId} is taken`);
      }
      return { kind: "order", order: answer.order, replayed: false };
    case "answered":
      assert(false, "only a message has its answer kept");
    case "kept": {
      const { orderId, fingerprint, order } = answer.answer;
      if (command.type !== "order.create" || command.idempotency?.fingerprint !== fingerprint) {
        return refused("idempotency_mismatch", "the key came with another body before");
      }
      return { kind: "order", order, replayed: orderId !== command.orderId };
    }
  }
}

function isSameOrder(command: CommandOf<"order.create">, order: OrderState): boolean {
  return (
    command.customerId === order.customerId &&
    command.totalMinor === order.totalMinor &&
    command.currency === order.currency &&
    Bun.deepEquals(command.items, order.items)
  );
}

function isReport(event: ShopEvent): event is Extract<OrderInput, ShopEvent> {
  switch (event.type) {
    case "payment.processed":
    case "payment.refunded":
    case "inventory.reserved":
    case "inventory.released":
    case "reservation.lapsed":
    case "shipment.packed":
    case "shipment.delivered":
      return true;
    default:
      return false;
  }
}

type RefusalCode = Extract<CommandReply, { kind: "refused" }>["code"];

function refused(code: RefusalCode, detail: string): CommandReply {
  return { kind: "refused", code, detail };
}
