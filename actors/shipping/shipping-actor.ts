/**
 * The shipping service: a shipment row per order and the durable timers that stand for the carrier.
 *
 * Row and timer are committed together, so a parcel that is packed will be reported however often
 * the process dies. One order's messages must come one at a time. It ignores what is not about
 * shipping and refuses nothing.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { ShopEvent } from "../contracts/messages.ts";
import type { Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { Report, Shipment, ShippingInput, ShippingStep } from "./shipping.ts";

import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { commitDecision } from "../delivery/committer.ts";
import { causeOf, encodeEvent } from "../delivery/decode-message.ts";
import { ACK, SETTLED } from "../delivery/outcome.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { decideShipment, trackingNumberOf } from "./shipping.ts";

export interface ShippingSettings {
  /** From the order being ready to its parcel being packed. */
  readonly packMs: number;
  /** From the parcel leaving to its being handed over. */
  readonly deliveryMs: number;
  readonly carrier: string;
}

export const SHIPPING_SETTINGS: ShippingSettings = {
  packMs: 200,
  deliveryMs: 5_000,
  carrier: "simulated",
};

export interface ShippingServiceOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly slots: number;
  readonly settings?: ShippingSettings;
}

export interface ShippingService {
  /** Handler of group `shipping`. */
  handle(message: Message<ShopEvent>): Promise<Outcome>;
}

const GROUP = "shipping";

export function createShippingService(options: ShippingServiceOptions): ShippingService {
  const { store, environment, slots, settings = SHIPPING_SETTINGS } = options;

  async function handle(message: Message<ShopEvent>): Promise<Outcome> {
    const { body: input, frame, delivery } = message;
    if (!isShippingInput(input)) return ACK;
    const trackingNumber = trackingNumberOf(environment.newId());

    const decide = async () => {
      const [row] = await store.load("shipments", [input.orderId]);
      const stored = row === undefined ? undefined : decodeShipment(row.data);
      const step = decideShipment(input, stored, { ...settings, trackingNumber });
      return { unit: unitOf(step, row?.version ?? 0), result: step };
    };

    function unitOf(step: ShippingStep | undefined, expectedVersion: number): UnitOfWork {
      const inbox = [{ group: GROUP, messageId: frame.id }];
      if (step === undefined) return { ...EMPTY_UNIT, inbox };
      const { shipment, report, timerCancelled } = step;
      const data = encodeValue(shipment);
      const rows = [{ table: "shipments", key: shipment.orderId, expectedVersion, data } as const];
      const timersStarted = report === undefined ? [] : [timerOf(report)];
      const timersCancelled = timerCancelled === undefined ? [] : [timerCancelled];
      return { ...EMPTY_UNIT, inbox, rows, timersStarted, timersCancelled };
    }

    function timerOf({ timerId, delayMs, event }: Report) {
      const outgoing = encodeEvent(event, { environment, slots, cause: causeOf(frame) });
      return { id: timerId, dueAtMs: environment.nowMs() + delayMs, outgoing };
    }

    const answer = await commitDecision(store, [delivery], decide);
    return answer.kind === "duplicate" ? ACK : SETTLED;
  }

  return { handle };
}

/** The shipment in a row of table `shipments`. */
export function decodeShipment(data: Uint8Array): Shipment {
  // Only this service writes this table, and the store keeps what it was given.
  return decodeValue(data) as Shipment;
}

function isShippingInput(event: ShopEvent): event is ShippingInput {
  return (
    event.type === "order.ready_to_ship" ||
    event.type === "order.shipped" ||
    event.type === "order.delivered" ||
    event.type === "order.cancelled"
  );
}
