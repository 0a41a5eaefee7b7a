/**
 * Availability for several processes: from this one's memory, then from Redis, then from the store.
 *
 * It hears of every change while it is connected and forgets what has changed; what it remembers
 * itself is dropped whenever it may have missed one. Without a server it asks the store, so the
 * answer is never older than without Redis. Refuses nothing.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { RedisConnection } from "../brokers/redis/redis-connection.ts";
import type { RedisLink } from "../brokers/redis/redis-link.ts";
import type { StockState } from "../contracts/order-state.ts";
import type { AvailabilityCache } from "./availability-cache.ts";

import { text } from "../brokers/redis/redis-reply.ts";
import { createAvailabilityCache } from "./availability-cache.ts";
import { createStockMemory, stockChannel } from "./redis-stock-changes.ts";
import { createStockAnnouncer } from "./stock-announcer.ts";

/** A connection that only listens notices by this that its server is gone. */
const PING_MS = 2_000;

export interface SharedAvailabilityOptions {
  readonly environment: Environment;
  readonly connection: RedisConnection;
  readonly prefix: string;
  /** An answer is never older, wherever it was remembered. */
  readonly ttlMs: number;
  readonly load: (productId: string) => Promise<StockState | undefined>;
  readonly productsMax?: number;
}

export interface SharedAvailability extends Pick<AvailabilityCache, "get" | "invalidate"> {
  stats(): {
    /** Answered from this process's memory. */
    readonly hits: number;
    /** Answered from Redis. */
    readonly sharedHits: number;
    /** Answered from the store. */
    readonly loads: number;
  };
  close(): void;
}

/** Rejects with `SERVER_UNUSABLE`. */
export async function openSharedAvailability(
  options: SharedAvailabilityOptions,
): Promise<SharedAvailability> {
  const cache = new LayeredAvailability(options);
  const listening = await options.connection.openLink("stock", {
    onUp: () => void cache.listen(),
    onDown: () => cache.deafen(),
  });
  await cache.start(listening);
  return cache;
}

class LayeredAvailability implements SharedAvailability {
  readonly #options: SharedAvailabilityOptions;
  readonly #memory: ReturnType<typeof createStockMemory>;
  readonly #announcer: ReturnType<typeof createStockAnnouncer>;
  #near: AvailabilityCache;
  #listening: RedisLink | undefined;
  #isListening = false;
  #ping: Timer | undefined;
  #hits = 0;
  #sharedHits = 0;
  #loads = 0;

  constructor(options: SharedAvailabilityOptions) {
    const { environment, connection, prefix, ttlMs } = options;
    // Half of it there, and half of it here after that.
    this.#options = { ...options, ttlMs: ttlMs / 2 };
    this.#memory = createStockMemory(connection.link, { prefix, ttlMs: Math.ceil(ttlMs / 2) });
    this.#announcer = createStockAnnouncer({ environment, memory: this.#memory });
    this.#near = this.#newNear();
  }

  async start(link: RedisLink): Promise<void> {
    this.#listening = link;
    await this.listen();
    this.#pingLater();
  }

  get(productId: string): Promise<StockState | undefined> {
    return this.#isListening ? this.#near.get(productId) : this.#fetch(productId);
  }

  invalidate(productId: string): void {
    this.#near.invalidate(productId);
    this.#announcer.changed(productId);
  }

  stats() {
    const hits = this.#hits + this.#near.stats().hits;
    return { hits, sharedHits: this.#sharedHits, loads: this.#loads };
  }

  close(): void {
    this.#ping?.cancel();
    this.#announcer.close();
    this.#listening?.close();
    this.deafen();
  }

  /** What was remembered until now may be old: changes were not heard. */
  async listen(): Promise<void> {
    const { prefix } = this.#options;
    const heard = (message: Uint8Array) => this.#near.invalidate(text(message));
    try {
      await this.#listening?.listen(stockChannel(prefix), heard);
      this.#forget();
      this.#isListening = this.#listening?.isUp === true;
    } catch {
      // The connection ended again; the next one listens.
      this.deafen();
    }
  }

  deafen(): void {
    this.#isListening = false;
    this.#forget();
  }

  #forget(): void {
    this.#hits += this.#near.stats().hits;
    this.#near = this.#newNear();
  }

  #newNear(): AvailabilityCache {
    const { environment, ttlMs, productsMax } = this.#options;
    return createAvailabilityCache({
      environment,
      ttlMs,
      load: (productId) => this.#fetch(productId),
      ...(productsMax === undefined ? {} : { productsMax }),
    });
  }

  async #fetch(productId: string): Promise<StockState | undefined> {
    // What others may still remember is older than the change that they are to be told of.
    if (this.#announcer.isOwed(productId)) return await this.#load(productId);
    const known = await this.#memory.get(productId).catch(() => undefined);
    if (known?.stock !== undefined) {
      this.#sharedHits++;
      return known.stock;
    }
    const stock = await this.#load(productId);
    if (stock !== undefined && known !== undefined) {
      // Not remembered for others, which costs them a read of the store.
      await this.#memory.put(productId, stock, known.generation).catch(() => undefined);
    }
    return stock;
  }

  #load(productId: string): Promise<StockState | undefined> {
    this.#loads++;
    return this.#options.load(productId);
  }

  #pingLater(): void {
    this.#ping = this.#options.environment.startTimer(PING_MS, () => {
      // No answer ends the connection, which is heard of then.
      this.#listening?.call("PING").catch(() => undefined);
      this.#pingLater();
    });
  }
}
