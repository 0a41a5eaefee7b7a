/**
 * Between frames and typed events: the number in the frame's header names the contract.
 *
 * Decoding refuses unknown numbers, payloads that are not what the flags say, and anything the
 * contract's schema does not allow, all as `BAD_MESSAGE`; of a foreign producer's JSON also an
 * event under another key than its own, which would be handled beside its owner. Envelope headers
 * carry the CloudEvents names `correlationid` and `causationid`.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Outgoing } from "../brokers/broker.ts";
import type { Contract } from "../contracts/contract.ts";
import type { ShopEvent } from "../contracts/messages.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { encodeFrame } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { keyOfMessage } from "../contracts/contract.ts";
import { parseForeignJson } from "../contracts/foreign-json.ts";
import { EVENTS } from "../contracts/messages.ts";

const CORRELATION = "correlationid";
const CAUSATION = "causationid";

const contractsByNumber = new Map<number, Contract>();
const contractsByType = new Map<string, Contract>();
for (const contract of EVENTS) {
  assert(!contractsByNumber.has(contract.number), `event number ${contract.number} is used twice`);
  contractsByNumber.set(contract.number, contract);
  contractsByType.set(contract.type, contract);
}

/** Where a message came from, as the next one carries it on. */
export interface Cause {
  /** Shared by everything that one request set off. */
  readonly correlationId: string;
  /** Id of the message that set off this one. */
  readonly causationId: string;
  /** 32 hex digits; zeros when there is no trace. */
  readonly traceId: string;
}

export interface EncodeOptions {
  readonly environment: Pick<Environment, "newId" | "nowMs">;
  readonly slots: number;
  /** Absent: the event starts a correlation of its own, under its own id. */
  readonly cause?: Cause | undefined;
  /** Milliseconds since the epoch after which the work is worthless; absent: none. */
  readonly deadlineMs?: number;
}

/** The event in `frame`. Throws `BAD_MESSAGE`. */
export function decodeEvent(frame: Frame): ShopEvent {
  const event = readEvent(frame);
  if ((frame.flags & FLAG_JSON) === 0) return event;
  const contract = contractsByNumber.get(frame.type);
  if (contract !== undefined && keyOfMessage(contract, event) !== frame.key) {
    const where = `${contract.type} does not fit at /${contract.keyField}`;
    throw new ShopError("BAD_MESSAGE", `${where}: it is not the key of the message`, "never");
  }
  return event;
}

/** Likewise, for who only looks on: under whatever key it came. */
export function readEvent(frame: Frame): ShopEvent {
  const contract = contractsByNumber.get(frame.type);
  if (contract === undefined) {
    throw new ShopError("BAD_MESSAGE", `no event has number ${frame.type}`, "never");
  }
  const isForeign = (frame.flags & FLAG_JSON) !== 0;
  const value = isForeign ? parseForeignJson(frame.payload) : decodeValue(frame.payload);
  const event = Object.assign({ type: contract.type }, contract.check(value));
  assert(isEvent(event), "only events are encoded");
  return event;
}

/** `event` as a frame with a new id, under its contract's key and for its topic. */
export function encodeEvent(event: ShopEvent, options: EncodeOptions): Outgoing {
  const { type, ...fields } = event;
  const contract = contractsByType.get(type);
  assert(contract?.topic !== undefined, "every event has a topic");
  const { environment, slots, cause, deadlineMs } = options;
  const key = keyOfMessage(contract, event);
  const frame = encodeFrame({
    type: contract.number,
    slot: slotOf(key, slots),
    key,
    payload: encodeValue(contract.check(fields)),
    id: environment.newId(),
    timeMs: environment.nowMs(),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(cause === undefined
      ? {}
      : {
          traceId: cause.traceId,
          headers: { [CORRELATION]: cause.correlationId, [CAUSATION]: cause.causationId },
        }),
  });
  return { topic: contract.topic, frame };
}

/** What a message set off by `frame` names as its cause. */
export function causeOf(frame: Frame): Cause {
  return {
    correlationId: frame.headers[CORRELATION] ?? frame.id,
    causationId: frame.id,
    traceId: frame.traceId,
  };
}

/** Its fields have been checked by the contract, which has one definition with `ShopEvent`. */
function isEvent(checked: { readonly type: string }): checked is ShopEvent {
  return contractsByType.has(checked.type);
}
