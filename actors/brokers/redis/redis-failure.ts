/**
 * What goes wrong with Redis, as the rest of the house knows it.
 *
 * A refusal is known by the first word of the server's answer, which is its code; everything else
 * is a connection that ended before the answer came. Refuses to show a password.
 */

import type { ErrorCode } from "../../../runtime/errors.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";

/** The server answered, with an error. */
export class RedisRefusal extends ShopError {
  /** `WRONGTYPE`, `OOM`, `NOGROUP`, … */
  readonly reply: string;

  constructor(text: string) {
    const reply = text.split(" ", 1)[0] ?? "";
    super(codeOf(reply), `redis: ${text}`, "later");
    this.reply = reply;
  }
}

function codeOf(reply: string): ErrorCode {
  // MISCONF: it could not write its own log, mostly because the disk is full.
  return reply === "OOM" || reply === "MISCONF" ? "STORAGE_FULL" : "STORAGE_FAULT";
}

/** Nothing was sent. */
export function notConnected(): ShopError {
  return new ShopError("STORAGE_FAULT", "redis: there is no connection", "later");
}

/** What a command failed with. */
export function failureOf(error: unknown): ShopError {
  if (error instanceof ShopError) return error;
  const refusal = refusalIn(error);
  if (refusal !== undefined) return refusal;
  return new ShopError("INDETERMINATE", "redis: the connection ended before the answer", "later", {
    cause: error,
  });
}

/** `undefined` when it was not the server that refused. */
export function refusalIn(error: unknown): RedisRefusal | undefined {
  if (!(error instanceof Error) || error.name !== "ReplyError") return undefined;
  return new RedisRefusal(error.message);
}

/** Why a server at `url` cannot be used, in words for whoever set it. */
export function connectFailure(url: string, error: unknown): ShopError {
  return unusable(reasonOf(new URL(url), error));
}

export function unusable(why: string, name = "redis.url"): ShopError {
  return new ShopError("SERVER_UNUSABLE", `${name}: ${why}`, "never");
}

function reasonOf(url: URL, error: unknown): string {
  const address = `${url.hostname}:${url.port === "" ? "6379" : url.port}`;
  const refusal = refusalIn(error);
  if (refusal === undefined) {
    const found = tlsFault([error], address);
    if (found !== undefined) return found;
    return `nothing usable answers at ${address} (${causeOf(error)})${hintOf(url, error)}`;
  }
  switch (refusal.reply) {
    case "WRONGPASS":
      return `the server refuses user "${userOf(url)}" (wrong password?)`;
    case "NOAUTH":
      return "the server wants a password, and the address has none";
    case "NOPERM":
      return `user "${userOf(url)}" may not do what is needed (${refusal.message})`;
    default:
      return `the server at ${address} refuses (${refusal.message})`;
  }
}

/** One that speaks the other way says nothing, or goes. */
function hintOf({ protocol }: URL, error: unknown): string {
  const cause = causeOf(error);
  if (protocol === "rediss:" && cause === "ETIMEDOUT") return "; does it speak TLS there?";
  return protocol === "redis:" && cause === "ECONNRESET" ? "; rediss:// where it wants TLS" : "";
}

function userOf(url: URL): string {
  return url.username === "" ? "default" : decodeURIComponent(url.username);
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
