/**
 * For tests: frames as a consumer would hand them over, and the other way round.
 *
 * Nothing here decides anything; a frame that is not one is refused as it would be anywhere else.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { VirtualEnvironment } from "../../runtime/virtual-environment.ts";
import type { Outgoing } from "../brokers/broker.ts";
import type { CommandOf, ShopEvent } from "../contracts/messages.ts";
import type { Cause } from "../delivery/decode-message.ts";
import type { Message } from "../delivery/outcome.ts";
import type { MemoryStore } from "../stores/memory-store.ts";

import { decodeFrame } from "../../runtime/frames/frame.ts";
import { decodeEvent, encodeEvent } from "../delivery/decode-message.ts";
import { decodeStock } from "../inventory/stock-rows.ts";

export const SLOTS = 8;

/** What a delivery of `outgoing` to `group` looks like. */
export function messageOf(outgoing: Outgoing, group: string, attempt = 1): Message<ShopEvent> {
  const frame = decodeFrame(outgoing.frame);
  const delivery = {
    group,
    topic: outgoing.topic,
    partition: frame.slot,
    sequence: 1,
    epoch: 1,
    bytes: outgoing.frame,
    attempt,
    notBeforeMs: 0,
  };
  return { delivery, frame, attempt, body: decodeEvent(frame) };
}

/** `event` under a new message id, as delivered. */
export function delivered(
  event: ShopEvent,
  group: string,
  environment: Environment,
  attempt = 1,
): Message<ShopEvent> {
  return messageOf(encodeEvent(event, { environment, slots: SLOTS }), group, attempt);
}

export function eventsOf(outgoing: readonly Outgoing[]): readonly ShopEvent[] {
  return outgoing.map(({ frame }) => decodeEvent(decodeFrame(frame)));
}

export function causeFor(environment: Environment): Cause {
  const id = environment.newId();
  return { correlationId: id, causationId: id, traceId: "0".repeat(32) };
}

export function createCommand(
  orderId: string,
  changes: Partial<CommandOf<"order.create">> = {},
): CommandOf<"order.create"> {
  const items = [{ productId: "tea", quantity: 2, priceMinor: 500 }];
  const order = { customerId: "ada", items, totalMinor: 1_000, currency: "USD" };
  return { type: "order.create", orderId, ...order, ...changes };
}

/** What `answer` comes to once everything that needs no time has happened. */
export async function settled<Answer>(
  environment: VirtualEnvironment,
  answer: Promise<Answer>,
): Promise<Answer> {
  const [outcome] = await Promise.allSettled([answer, environment.settle()]);
  if (outcome.status === "rejected") throw outcome.reason;
  return outcome.value;
}

/** [available, reserved, shipped] of `productId`. */
export function stockOf(store: MemoryStore, productId: string): readonly number[] {
  const row = store.rows("stock").find(({ key }) => key === productId);
  if (row === undefined) return [];
  const { available, reserved, shipped } = decodeStock(row);
  return [available, reserved, shipped];
}
