/**
 * A process's way to its Redis: the server is checked once, and further connections are made of it.
 *
 * Refuses a server that cannot be used, saying which setting is wrong and what would be right.
 */

import type { ShopError } from "../../../runtime/errors.ts";
import type { Environment } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../broker.ts";
import type { RedisLinkOptions } from "./redis-link.ts";
import type { ServerJudgement } from "./redis-server-check.ts";
import type { RedisSettings } from "./redis-options.ts";

import { describeError, isShopError } from "../../../runtime/errors.ts";
import { connectFailure, RedisRefusal, unusable } from "./redis-failure.ts";
import { isTransient, RedisLink } from "./redis-link.ts";
import { checkRedisSettings } from "./redis-options.ts";
import { infoOf, pairs } from "./redis-reply.ts";
import { judgeServer } from "./redis-server-check.ts";

const PROBE_MS = 10_000;
/** Of a server that has not been asked yet: nothing is taken for granted. */
const UNKNOWN: ServerJudgement = { refusal: undefined, warnings: [], isDurable: false };

export interface RedisConnectionOptions {
  readonly settings: RedisSettings;
  readonly environment: Environment;
  /** It is tried again for ever when it cannot be reached now: it could once. */
  readonly mayBeAway?: boolean;
  /** Who connects: names the connection on the server. */
  readonly purpose: string;
  readonly onConnection?: ((state: ConnectionState) => void) | undefined;
  readonly onLog?: ((level: "info" | "warning", text: string) => void) | undefined;
  /** The connection is back, to the same server process or to another. */
  readonly onReconnected?: ((isSameServer: boolean) => void) | undefined;
}

export class RedisConnection {
  readonly link: RedisLink;
  readonly judgement: ServerJudgement;
  readonly #options: RedisConnectionOptions;

  /** Use `openRedisConnection`. */
  constructor(options: RedisConnectionOptions, link: RedisLink, judgement: ServerJudgement) {
    this.#options = options;
    this.link = link;
    this.judgement = judgement;
  }

  /** Another connection to the same server. */
  async openLink(
    purpose: string,
    more: Pick<RedisLinkOptions, "isBlocking" | "onUp" | "onDown"> = {},
  ): Promise<RedisLink> {
    const { settings, environment } = this.#options;
    const name = linkName(settings, purpose);
    const link = new RedisLink({ settings, environment, name, ...more });
    await link.open();
    return link;
  }

  close(): void {
    this.link.close();
  }
}

/** Rejects with `SERVER_UNUSABLE` within 10 s; one that `mayBeAway` connects later instead. */
export async function openRedisConnection(
  options: RedisConnectionOptions,
): Promise<RedisConnection> {
  checkRedisSettings(options.settings);
  const isPatient = options.mayBeAway === true;
  const server: KnownServer = { id: undefined };
  const link = watchedLink(options, server);
  try {
    await link.open();
  } catch (error) {
    if (isPatient && isShopError(error)) return openLater(options, error);
    throw error;
  }
  try {
    const judgement = await inspect(link, options);
    server.id = (await serverIdOf(link)) ?? "";
    options.onConnection?.({ isUp: true, detail: "" });
    return new RedisConnection(options, link, judgement);
  } catch (error) {
    link.close();
    // One that is there and may not be used is refused whoever asks.
    if (error instanceof RedisRefusal) throw unusable(error.message);
    if (isPatient && isShopError(error) && isTransient(error)) return openLater(options, error);
    throw error;
  }
}

/** Not by the link that failed: its client takes its first failure for a close of ours. */
function openLater(options: RedisConnectionOptions, error: ShopError): RedisConnection {
  options.onConnection?.({ isUp: false, detail: error.message });
  const link = watchedLink(options, { id: "" });
  link.openLater();
  return new RedisConnection(options, link, UNKNOWN);
}

interface KnownServer {
  /** Of its process, empty when it does not say; absent: it is being opened. */
  id: string | undefined;
}

function watchedLink(options: RedisConnectionOptions, server: KnownServer): RedisLink {
  const { settings, environment, purpose, onConnection, onReconnected } = options;
  const link = new RedisLink({
    settings,
    environment,
    name: linkName(settings, purpose),
    onUp: () => {
      if (server.id === undefined) return; // the first time, which `open` waits for
      onConnection?.({ isUp: true, detail: "" });
      void serverIdOf(link).then((id) => {
        const isSame = id === undefined || id === server.id;
        server.id = id ?? server.id;
        onReconnected?.(isSame);
      });
    },
    onDown: (detail) => onConnection?.({ isUp: false, detail }),
  });
  return link;
}

async function inspect(
  link: RedisLink,
  { settings, onLog }: RedisConnectionOptions,
): Promise<ServerJudgement> {
  const info = infoOf(await link.call("INFO"));
  const judgement = judgeServer({ info, config: await configOf(link) });
  if (judgement.refusal !== undefined) throw judgement.refusal;
  for (const warning of judgement.warnings) onLog?.("warning", `redis: ${warning}`);
  await probe(link, settings, onLog);
  return judgement;
}

/** Whether keys of ours can be written at all. */
async function probe(
  link: RedisLink,
  { prefix, url }: RedisSettings,
  onLog: RedisConnectionOptions["onLog"],
): Promise<void> {
  try {
    await link.call("SET", `${prefix}probe`, "1", "PX", PROBE_MS);
  } catch (error) {
    if (!(error instanceof RedisRefusal)) throw connectFailure(url, error);
    // A full server may be emptied by those who read from it.
    if (error.code !== "STORAGE_FULL") {
      throw unusable(`keys under ${prefix} may not be written (${error.message})`);
    }
    onLog?.("warning", describeError(error));
  }
}

async function configOf(link: RedisLink): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    return new Map(pairs(await link.call("CONFIG", "GET", "append*")));
  } catch (error) {
    if (error instanceof RedisRefusal) return undefined;
    throw error;
  }
}

/** Changes with every start of the server; `undefined` when it did not answer. */
async function serverIdOf(link: RedisLink): Promise<string | undefined> {
  return await link.call("INFO", "server").then(
    (reply) => infoOf(reply).get("run_id"),
    () => undefined,
  );
}

function linkName({ prefix }: RedisSettings, purpose: string): string {
  // The server refuses spaces and line ends.
  return `${prefix}${purpose}`.replaceAll(/[^\x21-\x7e]/g, "-");
}
