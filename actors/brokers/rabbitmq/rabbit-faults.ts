/**
 * What is wrong with a server, in the words of the setting that would put it right.
 *
 * Reads the errors of the client library and the version of the server. Refuses to print what it
 * was given: an address may hold a password, so only host, port, user and vhost are ever named.
 */

import { ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";

const VERSION_NEEDED = "3.10";
/** AMQP reply codes. */
const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;
const NOT_ALLOWED = 530;

export interface RabbitAddress {
  readonly place: string;
  readonly user: string;
  readonly vhost: string;
  /** `amqps://`. */
  readonly isSecure: boolean;
}

export function unusable(problem: string, cause?: unknown): ShopError {
  const options = cause === undefined ? undefined : { cause };
  return new ShopError("SERVER_UNUSABLE", problem, "never", options);
}

/** Throws `SERVER_UNUSABLE` for what is no address of an AMQP server. */
export function parseRabbitUrl(url: string): RabbitAddress {
  const wanted = "amqp://user:password@host:port/vhost or amqps://…";
  const parsed = URL.parse(url);
  if (parsed === null) throw unusable(`rabbitmq.url: this is no address; needed is ${wanted}`);
  const { protocol, hostname, port, username, pathname } = parsed;
  if (protocol !== "amqp:" && protocol !== "amqps:") {
    throw unusable(`rabbitmq.url: ${protocol}// is not AMQP; needed is ${wanted}`);
  }
  if (hostname === "") throw unusable(`rabbitmq.url: the host is missing; needed is ${wanted}`);
  const path = pathname.slice(1);
  return {
    place: `${hostname}:${port === "" ? (protocol === "amqp:" ? "5672" : "5671") : port}`,
    user: username === "" ? "guest" : decodeURIComponent(username),
    vhost: path === "" ? "/" : decodeURIComponent(path),
    isSecure: protocol === "amqps:",
  };
}

/** Undefined when the server is one that has what is needed. */
export function versionFault(product: string, version: string): string | undefined {
  const needed = `needed is RabbitMQ ${VERSION_NEEDED} or later`;
  if (product !== "RabbitMQ") return `rabbitmq.url: the server is ${product}; ${needed}`;
  const [major, minor] = version.split(".").map(Number);
  const [majorNeeded, minorNeeded] = VERSION_NEEDED.split(".").map(Number);
  if (major === undefined || minor === undefined || Number.isNaN(major + minor)) {
    return `rabbitmq.url: the server does not tell its version (${version}); ${needed}`;
  }
  if (majorNeeded === undefined || minorNeeded === undefined) return undefined;
  const isOld = major < majorNeeded || (major === majorNeeded && minor < minorNeeded);
  return isOld ? `rabbitmq.url: the server is RabbitMQ ${version}; ${needed}` : undefined;
}

/** One line about a failed connection or declaration; `address` says where and as whom. */
export function describeRabbitFault(error: unknown, address: RabbitAddress): string {
  const { place, user, vhost } = address;
  const { code, text } = factsOf(error);
  const secret = tlsFault([error], place);
  if (secret !== undefined) return `rabbitmq.url: ${secret}`;
  if (typeof code === "string" && /^E[A-Z_]+$/.test(code)) {
    const hint = code === "ECONNRESET" && !address.isSecure ? "; amqps:// where it wants TLS" : "";
    return `rabbitmq.url: nothing answers at ${place} (${code})${hint}`;
  }
  if (/ETIMEDOUT|timeout|no answer within/i.test(text)) {
    return `rabbitmq.url: ${place} takes the connection and does not speak AMQP in time`;
  }
  if (/ACCESS_REFUSED|refused/i.test(text) && /PLAIN|login|403/i.test(text) && isHandshake(text)) {
    return `rabbitmq.url: ${place} refuses user "${user}" (wrong password?)`;
  }
  // What the library says of a server that ends the connection when the vhost is named.
  if (code === NOT_ALLOWED || /NOT_ALLOWED|Expected ConnectionOpenOk/.test(text)) {
    return `rabbitmq.url: user "${user}" may not use vhost "${vhost}", or there is none`;
  }
  if (code === ACCESS_REFUSED) {
    return `rabbitmq.url: user "${user}" lacks a right on vhost "${vhost}": ${replyOf(text)}`;
  }
  if (code === PRECONDITION_FAILED) {
    return `rabbitmq.prefix: something of this name exists and is different: ${replyOf(text)}`;
  }
  if (code === NOT_FOUND) return `rabbitmq: something is missing: ${replyOf(text)}`;
  return `rabbitmq.url: ${place} is no AMQP server that can be used (${replyOf(text)})`;
}

/**
 * A server that has just come back answers before its queues and streams have found their leaders;
 * it says of each that it is not there, and means not yet.
 */
export function isPassing(error: unknown): boolean {
  const { text } = factsOf(error);
  return /down or inaccessible|stopping or being demoted|not_started|no leader/i.test(text);
}

function isHandshake(text: string): boolean {
  return /Handshake terminated by server/i.test(text) || /ACCESS_REFUSED - Login/i.test(text);
}

function factsOf(error: unknown): { code: string | number | undefined; text: string } {
  if (!(error instanceof Error)) return { code: undefined, text: String(error) };
  const code: unknown = "code" in error ? error.code : undefined;
  const known = typeof code === "string" || typeof code === "number" ? code : undefined;
  return { code: known, text: error.message };
}

/** The server's own words, without the library's around them. */
function replyOf(text: string): string {
  return /with message "([^]*)"$/.exec(text)?.[1] ?? text;
}
