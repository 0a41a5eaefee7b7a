/**
 * What the driver throws, as the shop knows it.
 *
 * Whatever the server or the network says during an operation is a `STORAGE_FAULT` that may heal,
 * a full disk is `STORAGE_FULL`, and a key that exists is no failure at all: it is how a repeat
 * shows. Refuses to pass on a message of the driver about an address, which might hold a
 * password.
 */

import { MongoBulkWriteError, MongoError, MongoServerError } from "mongodb";

import { ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";

const DUPLICATE_KEY = 11_000;
const AUTHENTICATION_FAILED = 18;
const UNAUTHORIZED = 13;
const OUT_OF_DISK_SPACE = 14_031;
/** An index option that the server does not know. */
const NOT_IMPLEMENTED = 238;
const INDEX_OPTIONS_CONFLICT = 85;
const DETAIL_CHARS_MAX = 200;

/** The places of the documents that were there already; `undefined`: it failed otherwise. */
export function duplicatesIn(error: unknown): readonly number[] | undefined {
  if (!(error instanceof MongoBulkWriteError)) return undefined;
  // One error comes alone, not in a list.
  const errors = Array.isArray(error.writeErrors) ? error.writeErrors : [error.writeErrors];
  const isAll = errors.length > 0 && errors.every(({ code }) => code === DUPLICATE_KEY);
  const isStored = error.result.getWriteConcernError() === undefined;
  return isAll && isStored ? errors.map(({ index }) => index) : undefined;
}

export function isMissingFeature(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === NOT_IMPLEMENTED;
}

export function isIndexConflict(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === INDEX_OPTIONS_CONFLICT;
}

/** Of an operation; errors that are not the driver's are returned as they are. */
export function mongoFailure(error: unknown): unknown {
  if (!(error instanceof MongoError)) return error;
  const isFull = error instanceof MongoServerError && error.code === OUT_OF_DISK_SPACE;
  const code = isFull ? "STORAGE_FULL" : "STORAGE_FAULT";
  const detail = `${error.name}: ${error.message.slice(0, DETAIL_CHARS_MAX)}`;
  return new ShopError(code, `mongodb: ${detail}`, "later", { cause: error });
}

/** The hosts and the user of an address, and never its password. */
export interface AddressParts {
  readonly hosts: string;
  readonly user: string;
}

export function addressParts(url: string): AddressParts {
  const found = /^mongodb(?:\+srv)?:\/\/(?:([^@/]*)@)?([^/?]*)/.exec(url);
  return { hosts: found?.[2] ?? "", user: found?.[1]?.split(":")[0] ?? "" };
}

/** Why a server cannot be used, from what connecting to it threw: naming the setting. */
export function unusable(error: unknown, url: string): ShopError {
  const { hosts, user } = addressParts(url);
  return new ShopError("SERVER_UNUSABLE", `mongodb.url: ${reasonOf(error, hosts, user)}`, "never");
}

function reasonOf(error: unknown, hosts: string, user: string): string {
  const causes = causesOf(error);
  const { name } = causes[0] ?? { name: "Error" };
  if (name === "MongoParseError" || name === "MongoInvalidArgumentError") {
    return "this is no address of MongoDB, as mongodb://user:password@host:27017/database is";
  }
  const refusal = causes
    .map((one) => (one instanceof MongoServerError ? one.code : undefined))
    .find((code) => code === AUTHENTICATION_FAILED || code === UNAUTHORIZED);
  if (refusal !== undefined && user === "") {
    return `the server at ${hosts} wants a user and a password`;
  }
  if (refusal === AUTHENTICATION_FAILED) {
    return `the server at ${hosts} refuses user "${user}" (wrong password?)`;
  }
  if (refusal === UNAUTHORIZED) {
    return `user "${user}" needs the role readWrite on the database at ${hosts}`;
  }
  if (causes.some((one) => one.name === "MongoCompatibilityError")) {
    return `the server at ${hosts} is too old, needed is MongoDB 4.4 or later`;
  }
  const secret = tlsFault(causes, hosts);
  if (secret !== undefined) return secret;
  const code = causes.map(codeOf).find((text) => text !== "");
  if (code === undefined && causes.some(isEnded)) {
    return `what answers at ${hosts} ends the connection; ?tls=true where it wants TLS`;
  }
  return `nothing answers at ${hosts} (${code ?? "no answer in time"})`;
}

const CAUSES_MAX = 8;

/** `error` and what caused it, also where the driver keeps it: with the server it was found at. */
function causesOf(error: unknown): readonly Error[] {
  const causes: Error[] = [];
  const queue: unknown[] = [error];
  while (queue.length > 0 && causes.length < CAUSES_MAX) {
    const next = queue.shift();
    if (!(next instanceof Error)) continue;
    causes.push(next);
    queue.push(next.cause);
    if ("errors" in next && Array.isArray(next.errors)) queue.push(...next.errors);
    if ("reason" in next) queue.push(...serverErrors(next.reason));
  }
  return causes;
}

function serverErrors(description: unknown): readonly unknown[] {
  if (typeof description !== "object" || description === null) return [];
  if (!("servers" in description) || !(description.servers instanceof Map)) return [];
  return [...description.servers.values()].map(
    (server: { readonly error?: unknown }) => server.error,
  );
}

/** Without a code it was the other side; one that is silent has a name of its own. */
function isEnded(error: Error): boolean {
  return error.name === "MongoNetworkError";
}

function codeOf(error: Error): string {
  if ("code" in error && typeof error.code === "string") return error.code;
  return "";
}
