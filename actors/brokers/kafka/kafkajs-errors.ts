/**
 * What kafkajs throws, as the few kinds that the adapter tells apart.
 *
 * A protocol error is the server's own word that nothing was stored, but for the two that say the
 * opposite may be true; a connection that was never made stored nothing either. Everything else
 * leaves open what the server did.
 */

import { KafkaJSError, KafkaJSProtocolError } from "kafkajs";

import { describeError, isShopError, ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";
import { PASSING_STATES, PassingFault } from "./kafka-driver.ts";

/** The server's word for: perhaps. */
const PERHAPS = new Set(["REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS_AFTER_APPEND"]);
const TOO_LARGE = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);
/** The group has gone on without the member. */
const STALE = new Set(["ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID"]);
/** Nothing was sent: there was nobody to send it to. */
const UNSENT = new Set([
  "KafkaJSBrokerNotFound",
  "KafkaJSMetadataNotLoaded",
  "KafkaJSTopicMetadataNotLoaded",
  "KafkaJSLockTimeout",
]);
const REFUSED = /ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|Connection timeout/;
const PASSWORD = /SASL|authentication/i;

/** Innermost first: kafkajs wraps what it gave up on. */
export function causesOf(error: unknown): readonly unknown[] {
  const causes: unknown[] = [];
  for (let each = error; each !== undefined && causes.length < 8;) {
    causes.unshift(each);
    each = each instanceof Error ? each.cause : undefined;
  }
  return causes;
}

/** The server's name of the error, if it is one of its protocol. */
export function protocolType(error: unknown): string | undefined {
  for (const each of causesOf(error)) {
    if (each instanceof KafkaJSProtocolError) return each.type;
    const type: unknown = each instanceof KafkaJSError ? Reflect.get(each, "type") : undefined;
    if (typeof type === "string") return type;
  }
  return undefined;
}

export function produceFailure(error: unknown): ShopError {
  const type = protocolType(error);
  const message = `kafka: ${messageOf(error)}`;
  const options = { cause: error };
  if (type === undefined) {
    const code = isUnsent(error) ? "STORAGE_FAULT" : "INDETERMINATE";
    return new ShopError(code, message, "later", options);
  }
  if (TOO_LARGE.has(type)) return new ShopError("PAYLOAD_TOO_LARGE", message, "never", options);
  if (PERHAPS.has(type)) return new ShopError("INDETERMINATE", message, "later", options);
  return faultOf(type, message, error);
}

/** `isPassing`: the member is joining anew, or has, and the same commit may succeed after that. */
export function commitFailure(error: unknown, isPassing: boolean): ShopError {
  if (isShopError(error)) return error;
  const type = protocolType(error);
  const message = `kafka: ${messageOf(error)}`;
  if (type !== undefined && STALE.has(type) && !isPassing) {
    return new ShopError("STALE", message, "never", { cause: error });
  }
  return faultOf(type, message, error);
}

/** Why a membership is over. */
export function memberFailure(error: unknown, group: string): ShopError {
  const options = { cause: error };
  if (protocolType(error) === "INCONSISTENT_GROUP_PROTOCOL") {
    const message = `group ${group} has members that hear other types, or of another program`;
    return new ShopError("BAD_CONFIGURATION", message, "never", options);
  }
  return faultOf(protocolType(error), `kafka: ${messageOf(error)}`, error);
}

/** Of topics that could not be made; the innermost error of several says why. */
export function createFailure(error: unknown): ShopError {
  const errors: unknown = error instanceof Error ? Reflect.get(error, "errors") : undefined;
  const [first]: readonly unknown[] = Array.isArray(errors) ? errors : [error];
  const options = { cause: error };
  return new ShopError("SERVER_UNUSABLE", `kafka: ${messageOf(first)}`, "never", options);
}

/** Of the first contact; `addresses` and `username` as they were set. */
export function connectFailure(error: unknown, addresses: string, username: string): ShopError {
  const text = messageOf(error);
  const options = { cause: error };
  if (PASSWORD.test(text)) {
    const who = username === "" ? "a client without a password" : `user "${username}"`;
    const message = `kafka.username: the server refuses ${who} (wrong password or mechanism?)`;
    return new ShopError("SERVER_UNUSABLE", message, "never", options);
  }
  const secret = tlsFault(causesOf(error), addresses);
  if (secret !== undefined) {
    return new ShopError("SERVER_UNUSABLE", `kafka.tls: ${secret}`, "never", options);
  }
  const code = /E[A-Z]{4,}/.exec(text)?.[0] ?? text;
  const message = `kafka.brokers: nothing answers as Kafka at ${addresses} (${code})`;
  return new ShopError("SERVER_UNUSABLE", message, "never", options);
}

function faultOf(type: string | undefined, message: string, cause: unknown): ShopError {
  const isPassing = type !== undefined && PASSING_STATES.has(type);
  if (isPassing) return new PassingFault(message, cause);
  return new ShopError("STORAGE_FAULT", message, "later", { cause });
}

function isUnsent(error: unknown): boolean {
  return causesOf(error).some(
    (each) => each instanceof Error && (UNSENT.has(each.name) || REFUSED.test(each.message)),
  );
}

function messageOf(error: unknown): string {
  const [first] = causesOf(error);
  return first instanceof Error ? first.message : describeError(first);
}
