/**
 * What @platformatic/kafka throws, as the few kinds that the adapter tells apart.
 *
 * An answer of the server carries a code for each partition: its own word that nothing was stored,
 * but for those that say the opposite may be true. Everything that has no code leaves open what the
 * server did. Refuses to read messages: only codes decide.
 */

import { GenericError, MultipleErrors, ProtocolError, ResponseError } from "@platformatic/kafka";

import { describeError, isShopError, ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";
import { PASSING_STATES, PassingFault } from "./kafka-driver.ts";

/** The server's word for: perhaps. */
const PERHAPS = new Set(["REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS_AFTER_APPEND"]);
const TOO_LARGE = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);
/** The group has gone on without the member. */
const STALE = new Set(["ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID"]);
/** The server has forgotten the numbers of this producer, or never knew them. */
const PRODUCER_LOST = new Set([
  "OUT_OF_ORDER_SEQUENCE_NUMBER",
  "INVALID_PRODUCER_EPOCH",
  "UNKNOWN_PRODUCER_ID",
  "PRODUCER_FENCED",
]);
const DEPTH_MAX = 8;

/** The server's names of what went wrong; empty when it is not the server that said so. */
export function protocolNames(error: unknown): readonly string[] {
  return causesOf(error).flatMap((each) => {
    const name: unknown = each instanceof ProtocolError ? Reflect.get(each, "apiId") : undefined;
    return typeof name === "string" ? [name] : [];
  });
}

/** What the server answered beside its complaint. */
export function responseOf(error: unknown): unknown {
  return error instanceof ResponseError ? Reflect.get(error, "response") : undefined;
}

export function isStale(error: unknown): boolean {
  return protocolNames(error).some((name) => STALE.has(name));
}

export function isProducerLost(error: unknown): boolean {
  return protocolNames(error).some((name) => PRODUCER_LOST.has(name));
}

/** `wasSent`: the server may have got the request. `isPartial`: some of it is stored. */
export function produceFailure(error: unknown, wasSent: boolean, isPartial = false): ShopError {
  if (isShopError(error) && !isPartial) return error;
  const names = protocolNames(error);
  const message = isShopError(error) ? error.message : `kafka: ${summaryOf(error)}`;
  const options = { cause: error };
  const isOpen = names.length === 0 ? wasSent : names.some((name) => PERHAPS.has(name));
  if (isOpen || isPartial) return new ShopError("INDETERMINATE", message, "later", options);
  if (names.some((name) => TOO_LARGE.has(name))) {
    return new ShopError("PAYLOAD_TOO_LARGE", message, "never", options);
  }
  return faultOf(names, message, error);
}

/** What one of the nodes that a request was for has not stored, or not told of. */
export interface NodeFailure {
  readonly error: unknown;
  readonly wasSent: boolean;
}

/** Of at least one: what any node leaves open is open. `isPartial`: some of it is stored. */
export function jointFailure(failures: readonly NodeFailure[], isPartial: boolean): ShopError {
  const all = failures.map(({ error, wasSent }) => produceFailure(error, wasSent, isPartial));
  return all.find((each) => isShopError(each, "INDETERMINATE")) ?? all[0]!; // `!`: there is one
}

/** `isPassing`: the member is joining anew, or has, and the same commit may succeed after that. */
export function commitFailure(error: unknown, isPassing: boolean): ShopError {
  if (isShopError(error)) return error;
  const message = `kafka: ${summaryOf(error)}`;
  if (isStale(error) && !isPassing) {
    return new ShopError("STALE", message, "never", { cause: error });
  }
  return faultOf(protocolNames(error), message, error);
}

function faultOf(names: readonly string[], message: string, cause: unknown): ShopError {
  const isPassing = names.length > 0 && names.every((name) => PASSING_STATES.has(name));
  if (isPassing) return new PassingFault(message, cause);
  return new ShopError("STORAGE_FAULT", message, "later", { cause });
}

/** Why a membership is over; undefined when joining again may help. */
export function endOf(error: unknown, group: string): ShopError | undefined {
  const names = protocolNames(error);
  const options = { cause: error };
  if (names.includes("INCONSISTENT_GROUP_PROTOCOL")) {
    const message = `group ${group} has members that hear other types, or of another program`;
    return new ShopError("BAD_CONFIGURATION", message, "never", options);
  }
  const refusal = names.find((name) => name.endsWith("_AUTHORIZATION_FAILED"));
  if (refusal === undefined) return undefined;
  return new ShopError("SERVER_UNUSABLE", `kafka: group ${group}: ${refusal}`, "never", options);
}

/** Of topics that could not be made. */
export function createFailure(error: unknown): ShopError {
  const message = `kafka: topics cannot be made: ${summaryOf(error)}`;
  return new ShopError("SERVER_UNUSABLE", message, "never", { cause: error });
}

/** Of the first contact; `addresses` and `username` as they were set. */
export function connectFailure(error: unknown, addresses: string, username: string): ShopError {
  const causes = causesOf(error);
  const options = { cause: error };
  const isRefused = causes.some((each) => codeOf(each) === "PLT_KFK_AUTHENTICATION");
  if (isRefused || protocolNames(error).includes("SASL_AUTHENTICATION_FAILED")) {
    const who = username === "" ? "a client without a password" : `user "${username}"`;
    const message = `kafka.username: the server refuses ${who} (wrong password or mechanism?)`;
    return new ShopError("SERVER_UNUSABLE", message, "never", options);
  }
  const secret = tlsFault(causes, addresses);
  if (secret !== undefined) {
    return new ShopError("SERVER_UNUSABLE", `kafka.tls: ${secret}`, "never", options);
  }
  const code = causes.map(codeOf).find((each) => /^E[A-Z]+$/.test(each)) ?? summaryOf(error);
  const message = `kafka.brokers: nothing answers as Kafka at ${addresses} (${code})`;
  return new ShopError("SERVER_UNUSABLE", message, "never", options);
}

/** One line: the server's names, or the innermost message. */
export function summaryOf(error: unknown): string {
  const names = protocolNames(error);
  if (names.length > 0) return [...new Set(names)].join(", ");
  const last = causesOf(error).at(-1);
  return last instanceof Error ? last.message : describeError(last);
}

/** Outermost first, all branches. */
function causesOf(error: unknown, depth = 0): readonly unknown[] {
  if (depth > DEPTH_MAX || error === undefined || error === null) return [];
  const within: unknown[] = [];
  if (error instanceof MultipleErrors) within.push(...(error.errors as unknown[])); // of any kind
  if (error instanceof Error) within.push(error.cause);
  return [error, ...within.flatMap((each) => causesOf(each, depth + 1))];
}

function codeOf(error: unknown): string {
  if (error instanceof GenericError) return error.code;
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return typeof code === "string" ? code : "";
}
