/**
 * The owner's side of commands that came as messages: carried out once, the reply kept with them.
 *
 * Group `order` hears them beside the reports of the services, so that all that is done to one
 * order is done in one place, in order. Before a command is carried out, what other processes have
 * committed for its slot must be published: a cancellation must not overtake the creation. Refuses
 * commands that are not about an order: they are carried out where they come in.
 */

import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { ShopCommand, ShopEvent } from "../contracts/messages.ts";
import type { HandleOne, Message, Outcome } from "../delivery/outcome.ts";
import type { OrderCommand, OrderService } from "../order/order-service.ts";
import type { ReplyHints } from "./command-replies.ts";

import { ShopError } from "../../runtime/errors.ts";
import { decodeCommand } from "../command-frames.ts";
import { COMMANDS } from "../contracts/messages.ts";
import { decodeEvent } from "../delivery/decode-message.ts";
import { replyRow } from "./command-replies.ts";

/** Where commands to an existing order travel. */
export const COMMANDS_TOPIC = "commands";
/** How long a command waits for what others have committed to be published, at a time. */
const PUBLISHED_WAIT_MS = 5_000;

const commandNumbers: ReadonlySet<number> = new Set(COMMANDS.map(({ number }) => number));

export interface OwnerHandlerOptions {
  readonly orders: Pick<OrderService, "handle" | "carryOut">;
  /** False: what others committed for the slot was not published in time. Absent: it always is. */
  readonly published?: (slot: number, withinMs: number) => Promise<boolean>;
  readonly hints?: Pick<ReplyHints, "tell">;
}

/** The event or the command in `frame`. Throws `BAD_MESSAGE`. */
export function decodeOwned(frame: Frame): ShopEvent | ShopCommand {
  return commandNumbers.has(frame.type) ? decodeCommand(frame) : decodeEvent(frame);
}

export function createOwnerHandler(
  options: OwnerHandlerOptions,
): HandleOne<ShopEvent | ShopCommand> {
  const { orders, published, hints } = options;

  async function carryOut(message: Message<OrderCommand>): Promise<Outcome> {
    const { frame } = message;
    if (published !== undefined && !(await published(frame.slot, PUBLISHED_WAIT_MS))) {
      const problem = `what was committed for slot ${frame.slot} is not published yet`;
      const error = new ShopError("SATURATED", problem, "later");
      return { kind: "retry", error, blameless: true };
    }
    const outcome = await orders.carryOut(message, (reply) => replyRow(frame.id, reply));
    void hints?.tell(frame.id);
    return outcome;
  }

  return async (message, signal) => {
    const { body } = message;
    switch (body.type) {
      case "order.create":
      case "order.cancel":
        return await carryOut({ ...message, body });
      case "inventory.set":
      case "behavior.record":
      case "deadletter.redrive":
      case "deadletter.discard":
      case "ledger.read": {
        const problem = `${body.type} is carried out where it comes in`;
        const error = new ShopError("BAD_MESSAGE", problem, "never");
        return { kind: "bury", reason: "bad_message", error };
      }
      default:
        return signal.aborted ? abandoned() : await orders.handle({ ...message, body });
    }
  };
}

function abandoned(): Outcome {
  const error = new ShopError("CLOSED", "the consumer closes", "later");
  return { kind: "retry", error, blameless: true };
}
