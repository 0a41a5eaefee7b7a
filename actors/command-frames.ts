/**
 * Commands on their way to a shard and answers on their way back: a request number, then a frame
 * or a reply.
 *
 * A command is a frame like any other, so that a shard routes by its header and sees its deadline
 * before it decodes anything. Decoding refuses what its contract does not allow.
 */

import type { ErrorCode, Retry } from "../runtime/errors.ts";
import type { Frame } from "../runtime/frames/frame-header.ts";
import type { ShopCommand } from "./contracts/messages.ts";
import type { CommandReply } from "./contracts/order-state.ts";
import type { Contract } from "./contracts/contract.ts";

import { assert, ShopError } from "../runtime/errors.ts";
import { encodeFrame } from "../runtime/frames/frame.ts";
import { readU32, writeU32 } from "../runtime/frames/little-endian.ts";
import { decodeValue, encodeValue } from "./contracts/codec.ts";
import { keyOfMessage } from "./contracts/contract.ts";
import { COMMANDS } from "./contracts/messages.ts";

/** Kinds of records between the gateway and a shard. */
export const COMMAND = 1;
export const REPLY = 2;
/** Instead of a reply: an expected failure, with its code. */
export const REPLY_FAILURE = 3;

const NUMBER_BYTES = 4;
const contractsByNumber = new Map<number, Contract>(
  COMMANDS.map((contract) => [contract.number, contract]),
);
const contractsByType = new Map<string, Contract>(
  COMMANDS.map((contract) => [contract.type, contract]),
);

export interface CommandEnvelope {
  /** UUIDv7 text of this command: sent again under it, it acts once. */
  readonly id: string;
  readonly slot: number;
  readonly timeMs: number;
  readonly deadlineMs: number;
  readonly correlationId: string;
  readonly traceId?: string;
  readonly spanId?: string;
}

/** What decides where a command goes: everything that must not run side by side shares it. */
export function keyOfCommand(command: ShopCommand): string {
  return keyOfMessage(contractOf(command.type), command);
}

export function encodeCommand(command: ShopCommand, envelope: CommandEnvelope): Uint8Array {
  const { type, ...fields } = command;
  const contract = contractOf(type);
  const { correlationId, traceId, spanId, ...header } = envelope;
  return encodeFrame({
    ...header,
    type: contract.number,
    key: keyOfMessage(contract, command),
    payload: encodeValue(fields),
    headers: { correlationid: correlationId },
    ...(traceId === undefined ? {} : { traceId }),
    ...(spanId === undefined ? {} : { spanId }),
  });
}

/** Throws `BAD_MESSAGE`. */
export function decodeCommand(frame: Frame): ShopCommand {
  const contract = contractsByNumber.get(frame.type);
  if (contract === undefined) {
    throw new ShopError("BAD_MESSAGE", `no command has number ${frame.type}`, "never");
  }
  const fields = contract.check(decodeValue(frame.payload));
  // The contract has checked every field; its schema and ShopCommand have one definition.
  return Object.assign({ type: contract.type }, fields) as ShopCommand;
}

function contractOf(type: ShopCommand["type"]): Contract {
  const contract = contractsByType.get(type);
  assert(contract !== undefined, `no command is called ${type}`);
  return contract;
}

/** The number in front of a command or a reply. */
export function encodeNumber(request: number): Uint8Array {
  const bytes = new Uint8Array(NUMBER_BYTES);
  writeU32(bytes, 0, request);
  return bytes;
}

export function decodeNumber(bytes: Uint8Array): number {
  return readU32(bytes, 0);
}

/** A copy of what follows the number: it outlives the ring's record. */
export function bodyAfterNumber(bytes: Uint8Array): Uint8Array {
  return bytes.slice(NUMBER_BYTES);
}

export function decodeReply(bytes: Uint8Array): CommandReply {
  // Packed by a shard of this build.
  return decodeValue(bodyAfterNumber(bytes)) as CommandReply;
}

interface EncodedFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retry: Retry;
}

export function encodeReplyFailure({ code, message, retry }: ShopError): Uint8Array {
  return encodeValue({ code, message, retry } satisfies EncodedFailure);
}

export function decodeReplyFailure(bytes: Uint8Array): ShopError {
  // Packed by `encodeReplyFailure`, in a shard of this build.
  const { code, message, retry } = decodeValue(bodyAfterNumber(bytes)) as EncodedFailure;
  return new ShopError(code, message, retry);
}
