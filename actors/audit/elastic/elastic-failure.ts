/**
 * What the client throws and the server answers, as the shop knows it.
 *
 * Whatever goes wrong during an operation is a `STORAGE_FAULT` that may heal, an index that was
 * locked because the disk is full is `STORAGE_FULL`. Refuses to pass on what might hold a password:
 * of an address only the host is named.
 */

import { errors } from "@opensearch-project/opensearch";

import type { ElasticSettings } from "./elastic-settings.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { tlsFault } from "../../../runtime/tls-fault.ts";

const DETAIL_CHARS_MAX = 300;
const NETWORK_CODE = /^E[A-Z]{3,}$/;

/** The part of an answer that says what is wrong. */
export interface FaultBody {
  readonly type?: string;
  readonly reason?: string;
}

/** An answer with a status that was not expected. */
export function answerFailure(status: number, fault: FaultBody): ShopError {
  const isFull = isLockedByDisk(fault);
  const text = `elasticsearch: status ${status}: ${describeFault(fault)}`;
  return new ShopError(isFull ? "STORAGE_FULL" : "STORAGE_FAULT", text, "later");
}

export function describeFault({ type, reason }: FaultBody): string {
  return `${type ?? "no reason given"}: ${reason ?? ""}`.slice(0, DETAIL_CHARS_MAX);
}

/** The disk is over its watermark, and the server takes no more. */
export function isLockedByDisk({ type, reason }: FaultBody): boolean {
  return type === "cluster_block_exception" && reason?.includes("read-only") === true;
}

/** Of a call that was not answered; errors that are not the client's are returned as they are. */
export function callFailure(error: unknown): unknown {
  if (error instanceof ShopError || !(error instanceof Error)) return error;
  if (!(error instanceof errors.OpenSearchClientError)) return error;
  return new ShopError("STORAGE_FAULT", `elasticsearch: ${reasonOf(error)}`, "later", {
    cause: error,
  });
}

/** The code of the network, or what there is of a reason. */
export function reasonOf(error: unknown): string {
  // Of our own there is one alone: the time of a call was over.
  const isLate = error instanceof errors.TimeoutError || error instanceof ShopError;
  if (isLate) return "no answer in time";
  if (error instanceof errors.NoLivingConnectionsError) return "no node that answers";
  if (!(error instanceof Error)) return "no reason given";
  // The client keeps the code of the network in its message alone.
  const words = error.message.slice(0, DETAIL_CHARS_MAX).split(" ");
  return words.find((word) => NETWORK_CODE.test(word)) ?? words.join(" ");
}

/** Why there was no answer at all from a server that was never heard before. */
export function unreached(error: unknown, { url, caPath }: ElasticSettings): string {
  const hosts = hostsOf(url);
  const setting = { name: "elasticsearch.caPath", path: caPath };
  const secret = tlsFault([error], hosts, { setting });
  if (secret !== undefined) return secret;
  const reason = reasonOf(error);
  const isPlain = !url.includes("https://");
  const hint = isPlain && reason === "socket hang up" ? "; https:// where it wants TLS" : "";
  return `nothing answers at ${hosts} (${reason})${hint}`;
}

/** The hosts of the address, never what else it holds. */
export function hostsOf(url: string): string {
  return url
    .split(",")
    .map((one) => /^[a-z]+:\/\/(?:[^@/]*@)?([^/?#]*)/.exec(one.trim())?.[1] ?? "")
    .join(",");
}

export function unusable(detail: string): ShopError {
  return new ShopError("SERVER_UNUSABLE", `elasticsearch.url: ${detail}`, "never");
}

/** Why a server that answered `status` when it was opened cannot be used. */
export function refusal(status: number, fault: FaultBody, settings: ElasticSettings): ShopError {
  const hosts = hostsOf(settings.url);
  const { apiKey, username } = settings;
  const user = username === "" ? userOf(settings.url) : username;
  const who = apiKey === "" ? `user "${user}"` : "the API key";
  if (status === 401 && apiKey !== "") return unusable(`the server at ${hosts} refuses ${who}`);
  if (status === 401 && user === "") {
    return unusable(`the server at ${hosts} wants a user and a password, or an API key`);
  }
  if (status === 401) return unusable(`the server at ${hosts} refuses ${who} (wrong password?)`);
  if (status === 403) {
    const needed = "index templates, and to write and read indices of the prefix";
    return unusable(`${who} must be allowed to manage ${needed} at ${hosts}`);
  }
  return unusable(`the server at ${hosts} answers status ${status}: ${describeFault(fault)}`);
}

/** Empty when the address names none. */
export function userOf(url: string): string {
  return decodeURIComponent(/^[a-z]+:\/\/([^:@/]*)[^@/]*@/.exec(url)?.[1] ?? "");
}
