/**
 * One connection to Redis: opened once, kept up for ever, and honest about what was not answered.
 *
 * Nothing is queued while it is down and nothing is sent twice: a command fails at once with
 * `STORAGE_FAULT` when it was not sent, and with `INDETERMINATE` when its answer did not come. A
 * connection on which an answer does not come in time is dropped and made anew.
 */

import { Redis } from "ioredis";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { RedisSettings } from "./redis-options.ts";
import type { RedisScript } from "./redis-scripts.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { connectFailure, failureOf, notConnected, RedisRefusal } from "./redis-failure.ts";

export type Argument = string | number | Uint8Array;
export type Command = readonly [name: string, ...parts: Argument[]];

const RECONNECT_MIN_MS = 50;
const RECONNECT_MAX_MS = 2_000;
const DOUBLINGS_MAX = 10;

export interface RedisLinkOptions {
  readonly settings: RedisSettings;
  readonly environment: Environment;
  /** How it is called on the server. */
  readonly name: string;
  /** It waits in one command for longer than an answer may take; who uses it watches itself. */
  readonly isBlocking?: boolean;
  readonly onUp?: () => void;
  /** It is down, and why. Called for every failed attempt. */
  readonly onDown?: (why: string) => void;
}

export class RedisLink {
  readonly #options: RedisLinkOptions;
  readonly #redis: Redis;
  #isOpened = false;
  #isClosed = false;
  #waiting: (() => void)[] = [];
  #lastError: unknown;

  constructor(options: RedisLinkOptions) {
    this.#options = options;
    const { settings, name, isBlocking } = options;
    this.#redis = new Redis(settings.url, {
      lazyConnect: true,
      // Lists in the answers, whatever the server speaks.
      protocol: 2,
      connectionName: name,
      disableClientInfo: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      // Not null: with null, what was sent and not answered would never settle.
      maxRetriesPerRequest: 0,
      connectTimeout: settings.connectTimeoutMs,
      ...(isBlocking === true ? {} : { socketTimeout: settings.commandTimeoutMs }),
      retryStrategy: (times) => this.#retryAfterMs(times),
    });
    this.#redis.on("error", (error: unknown) => void (this.#lastError = error));
    this.#redis.on("ready", () => this.#up());
    this.#redis.on("close", () => this.#down());
  }

  /** Rejects with `SERVER_UNUSABLE`, within twice the time to connect. */
  async open(): Promise<void> {
    const { environment, settings } = this.#options;
    const late: Timer = environment.startTimer(2 * settings.connectTimeoutMs, () => {
      this.#redis.disconnect();
    });
    try {
      await this.#redis.connect();
      this.#isOpened = true;
    } catch (error) {
      this.#redis.disconnect();
      throw connectFailure(settings.url, this.#lastError ?? error);
    } finally {
      late.cancel();
    }
  }

  /** Instead of `open`: connects when it can, however long that takes. */
  openLater(): void {
    this.#isOpened = true;
    this.#redis.connect().catch((error: unknown) => void (this.#lastError = error));
  }

  get isUp(): boolean {
    return this.#redis.status === "ready" && !this.#isClosed;
  }

  /** Answers hold `Buffer`s where the server sent text or bytes. */
  async call(...[name, ...parts]: Command): Promise<unknown> {
    if (!this.isUp) throw notConnected();
    try {
      return await this.#redis.callBuffer(name, ...parts.map(wire));
    } catch (error) {
      throw failureOf(error);
    }
  }

  async run(
    script: RedisScript,
    keys: readonly string[],
    ...parts: readonly Argument[]
  ): Promise<unknown> {
    const rest: Argument[] = [keys.length, ...keys, ...parts];
    try {
      return await this.call("EVALSHA", script.sha, ...rest);
    } catch (error) {
      if (!(error instanceof RedisRefusal) || error.reply !== "NOSCRIPT") throw error;
      return await this.call("EVAL", script.text, ...rest);
    }
  }

  /**
   * Hears what is published on `channel` while this connection lasts; to be called again when it
   * is a new one. The connection is good for nothing else then.
   */
  async listen(channel: string, onMessage: (message: Uint8Array) => void): Promise<void> {
    if (!this.isUp) throw notConnected();
    this.#redis.removeAllListeners("messageBuffer");
    this.#redis.on("messageBuffer", (_channel: Uint8Array, message: Uint8Array) => {
      onMessage(message);
    });
    try {
      await this.#redis.subscribe(channel);
    } catch (error) {
      throw failureOf(error);
    }
  }

  /** Resolves when the connection is up, or closed for good. */
  async whenUp(): Promise<void> {
    if (this.isUp || this.#isClosed) return;
    await new Promise<void>((resolve) => void this.#waiting.push(resolve));
  }

  /** Drops the connection; what was not answered fails, and a new one is made. */
  reconnect(): void {
    if (!this.#isClosed) this.#redis.disconnect(true);
  }

  /** Settles everything that waits. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#redis.disconnect();
    this.#wake();
  }

  #retryAfterMs(times: number): number | null {
    if (!this.#isOpened || this.#isClosed) return null;
    const doubled = RECONNECT_MIN_MS * 2 ** Math.min(times, DOUBLINGS_MAX);
    return Math.min(RECONNECT_MAX_MS, doubled) * (0.5 + this.#options.environment.random() / 2);
  }

  #up(): void {
    this.#lastError = undefined;
    this.#options.onUp?.();
    this.#wake();
  }

  #down(): void {
    if (!this.#isOpened || this.#isClosed) return;
    const error = this.#lastError;
    this.#options.onDown?.(error instanceof Error ? error.message : "the connection ended");
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** The server did not take it, or cannot be reached; trying again may help. */
export function isTransient(error: unknown): boolean {
  return isShopError(error, "INDETERMINATE", "STORAGE_FAULT", "STORAGE_FULL");
}

function wire(part: Argument): string | Buffer | number {
  if (!(part instanceof Uint8Array) || part instanceof Buffer) return part;
  return Buffer.from(part.buffer, part.byteOffset, part.byteLength);
}
