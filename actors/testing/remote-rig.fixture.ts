/**
 * What an adapter of a remote broker tells the suite about itself: one module, one function.
 *
 * The module is loaded in the test's process and in every member process, so it must do nothing
 * when it is imported. It refuses nothing: the suite gives it only what it can open.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Broker } from "../brokers/broker.ts";

import { ShopError } from "../../runtime/errors.ts";

/** How a broker is to be opened for one case. */
export interface RemoteOpen {
  readonly topics: readonly string[];
  readonly partitions: number;
  /** Of this case alone: names of topics, groups, queues and keys on the server begin with it. */
  readonly prefix: string;
  /** `127.0.0.1:port`: the proxy before the server. The only address to connect to. */
  readonly address: string;
  readonly environment: Environment;
  /** A `publish` without an answer rejects after so long. */
  readonly publishTimeoutMs: number;
  /** A member that is not heard from has lost its partitions after so long. */
  readonly sessionMs: number;
  /** Groups that read every topic and may join after the first `publish`. */
  readonly groups: readonly string[];
}

/** The server is there; its topics may not be. */
export type OpenBroker = (open: RemoteOpen) => Promise<Broker>;

/** The `openBroker` that the module at `url` exports; what follows a `?` is for the module. */
export async function loadRig(url: string): Promise<OpenBroker> {
  // As a path: Bun forgets the query of a file's URL.
  const { pathname, search } = new URL(url);
  const loaded: unknown = await import(pathname + search);
  if (isRig(loaded)) return loaded.openBroker;
  throw new ShopError("BAD_CONFIGURATION", `${url} exports no function openBroker`, "never");
}

function isRig(loaded: unknown): loaded is { readonly openBroker: OpenBroker } {
  if (typeof loaded !== "object" || loaded === null) return false;
  return "openBroker" in loaded && typeof loaded.openBroker === "function";
}
