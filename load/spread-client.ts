/**
 * One client of many processes, as a load balancer with passive checks would be: each order goes to
 * the next process, and one that has just failed to answer is left out for a while.
 *
 * What it reads it reads from any process that answers. Refuses, with `CLOSED`, to send anything
 * when there is no process at all.
 */

import { isShopError, ShopError } from "../runtime/errors.ts";
import { createHttpPool } from "./http-pool.ts";
import { createShopClient } from "./shop-client.ts";
import type { HttpPool, HttpRequest } from "./http-pool.ts";
import type { HttpResponse } from "./http-response.ts";
import type { ShopClient } from "./shop-client.ts";

export interface SpreadClientOptions {
  /** Of one request. */
  readonly timeoutMs: number;
  /** How long a process that did not answer is left out. */
  readonly shunMs: number;
  /** An order was acknowledged by the process of that name. */
  readonly onAcknowledged?: (orderId: string, by: string) => void;
}

export interface SpreadClient {
  /** Orders go round; everything else goes to whoever answers. */
  readonly client: ShopClient;
  /** The same for requests of any kind. */
  readonly pool: HttpPool;
  add(name: string, port: number): void;
  /** `request` to one that is not `not`, if another answers. */
  requestElsewhere(request: HttpRequest, not: string): Promise<HttpResponse>;
  close(): void;
}

interface Target {
  readonly name: string;
  readonly pool: HttpPool;
  readonly client: ShopClient;
  shunnedUntilMs: number;
}

const CONNECTIONS_MAX = 128;
const READ_TRIES_MAX = 40;
const READ_PAUSE_MS = 250;

export function createSpreadClient(options: SpreadClientOptions): SpreadClient {
  const targets: Target[] = [];
  let turn = 0;

  /** Whoever answered last time comes first, and among those anybody but `not`. */
  function next(not?: string): Target {
    const nowMs = performance.now();
    const willing = targets.filter(({ shunnedUntilMs }) => shunnedUntilMs <= nowMs);
    const candidates = willing.length > 0 ? willing : targets;
    const others = candidates.filter(({ name }) => name !== not);
    const among = others.length > 0 ? others : candidates;
    const found = among[turn++ % among.length];
    if (found === undefined) throw new ShopError("CLOSED", "there is no process", "later");
    return found;
  }

  async function at<Result>(
    target: Target,
    work: (target: Target) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await work(target);
    } catch (error) {
      if (isShopError(error, "CLOSED", "INDETERMINATE")) {
        target.shunnedUntilMs = performance.now() + options.shunMs;
      }
      throw error;
    }
  }

  /** Reads change nothing and may be asked again, of another. */
  async function anywhere(request: HttpRequest): Promise<HttpResponse> {
    for (let tries = 1; ; tries++) {
      try {
        return await at(next(), ({ pool }) => pool.request(request));
      } catch (error) {
        if (tries >= READ_TRIES_MAX) throw error;
        await Bun.sleep(READ_PAUSE_MS);
      }
    }
  }

  const close = (): void => targets.forEach((target) => target.pool.close());
  const pool: HttpPool = { request: anywhere, close };
  return {
    pool,
    close,
    client: {
      ...createShopClient(pool),
      async postOrder(order) {
        const target = next();
        const answer = await at(target, ({ client }) => client.postOrder(order));
        if (answer.kind === "accepted") options.onAcknowledged?.(answer.order.id, target.name);
        return answer;
      },
    },
    add(name, port) {
      const { timeoutMs } = options;
      const own = createHttpPool({
        host: "127.0.0.1",
        port,
        connectionsMax: CONNECTIONS_MAX,
        timeoutMs,
      });
      targets.push({ name, pool: own, client: createShopClient(own), shunnedUntilMs: 0 });
    },
    requestElsewhere: async (request, not) =>
      await at(next(not), (target) => target.pool.request(request)),
  };
}
