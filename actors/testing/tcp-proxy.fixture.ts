/**
 * A network between an adapter and its server that can be broken in the ways networks break.
 *
 * It forwards bytes and understands none of them, so a server that tells its clients where it is
 * has to be told this proxy's address. It refuses to lose single bytes: what TCP promises holds,
 * and a connection is either whole, slow, silent or reset.
 */

import type { Server, Socket } from "node:net";

import { connect, createServer } from "node:net";

import type { Environment } from "../../runtime/environment.ts";

import { assert } from "../../runtime/errors.ts";

/** What a case can do to the network. Every fault but `cut` lasts until `heal`. */
export interface Network {
  /** Resets every connection; new ones are let through. */
  cut(): void;
  /**
   * Half-open: nothing passes either way on the connections there are nor on those made until
   * `heal`, and none is closed. They stay silent for ever, as when a router forgot them; after
   * `heal` only new ones work.
   */
  freeze(): void;
  /** The server hears everything; a connection is reset instead of getting its next answer. */
  loseAnswers(): void;
  /** Both ways: pieces of so many bytes, each so much later, in order. */
  slow(chunkBytes: number, latencyMs: number): void;
  heal(): void;
  /** Connections that were made through it so far, and those that stand. */
  stats(): { readonly made: number; readonly open: number };
}

type Mode = "forward" | "freeze" | "loseAnswers";

/** One direction of one connection: pieces wait here for their time and go in order. */
interface Lane {
  readonly from: Socket;
  readonly to: Socket;
  readonly waiting: { readonly bytes: Uint8Array; readonly dueMs: number }[];
  isSending: boolean;
  hasEnded: boolean;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  isFrozen: boolean;
}

/** Bytes that wait in one lane before its sender is held back. */
const LANE_PIECES_MAX = 65_536;

export class TcpProxy implements Network {
  readonly #environment: Environment;
  readonly #listener: Server;
  readonly #pairs = new Set<Pair>();
  #target: string | undefined;
  #mode: Mode = "forward";
  #chunkBytes = 0;
  #latencyMs = 0;
  #made = 0;

  private constructor(environment: Environment, listener: Server) {
    this.#environment = environment;
    this.#listener = listener;
  }

  /** Listens on a free port; connections are reset until `forwardTo` names a server. */
  static async listen(environment: Environment): Promise<TcpProxy> {
    // With `allowHalfOpen` an end is passed on after what came before it, as a network would.
    const listener = createServer({ allowHalfOpen: true, noDelay: true });
    const proxy = new TcpProxy(environment, listener);
    listener.on("connection", (client) => proxy.#accept(client));
    await new Promise<void>((resolve, reject) => {
      listener.once("error", reject);
      listener.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  /** `127.0.0.1:port`, where clients connect. */
  get address(): string {
    const address = this.#listener.address();
    assert(address !== null && typeof address === "object", "the proxy does not listen");
    return `127.0.0.1:${address.port}`;
  }

  /** `host:port` of the server, now and after each of its restarts. */
  forwardTo(target: string): void {
    this.#target = target;
  }

  cut(): void {
    for (const pair of this.#pairs) this.#reset(pair);
  }

  freeze(): void {
    this.#mode = "freeze";
    for (const pair of this.#pairs) freezePair(pair);
  }

  loseAnswers(): void {
    this.#mode = "loseAnswers";
  }

  slow(chunkBytes: number, latencyMs: number): void {
    this.#chunkBytes = chunkBytes;
    this.#latencyMs = latencyMs;
  }

  heal(): void {
    this.#mode = "forward";
    this.#chunkBytes = this.#latencyMs = 0;
  }

  stats(): { readonly made: number; readonly open: number } {
    const open = [...this.#pairs].filter(({ isFrozen }) => !isFrozen).length;
    return { made: this.#made, open };
  }

  /** Resets what is open and stops listening. */
  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => void this.#listener.close(() => resolve()));
  }

  #accept(client: Socket): void {
    this.#made++;
    const [host = "", port = ""] = (this.#target ?? "").split(/:(?=\d+$)/);
    if (port === "") {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    const pair: Pair = { client, server, isFrozen: false };
    this.#pairs.add(pair);
    this.#join(pair, laneOf(client, server), "up");
    this.#join(pair, laneOf(server, client), "down");
    if (this.#mode === "freeze") freezePair(pair);
  }

  #join(pair: Pair, lane: Lane, way: "up" | "down"): void {
    const { from } = lane;
    from.on("data", (bytes: Uint8Array) => {
      if (pair.isFrozen) return;
      if (way === "down" && this.#mode === "loseAnswers") this.#reset(pair);
      else this.#take(pair, lane, bytes);
    });
    from.on("end", () => {
      lane.hasEnded = true;
      this.#send(pair, lane);
    });
    // An error is followed by a close; what matters is that the other side learns of it.
    from.on("error", () => undefined);
    from.on("close", (hadError: boolean) => {
      if (pair.isFrozen) return;
      if (hadError || !lane.hasEnded) this.#reset(pair);
      else if (lane.to.destroyed) this.#pairs.delete(pair);
    });
    lane.to.on("drain", () => {
      if (!pair.isFrozen && lane.waiting.length < LANE_PIECES_MAX) from.resume();
    });
  }

  #take(pair: Pair, lane: Lane, bytes: Uint8Array): void {
    const size = this.#chunkBytes === 0 ? bytes.byteLength : this.#chunkBytes;
    const dueMs = this.#latencyMs === 0 ? 0 : this.#environment.monotonicMs() + this.#latencyMs;
    for (let at = 0; at < bytes.byteLength; at += size) {
      lane.waiting.push({ bytes: bytes.subarray(at, at + size), dueMs });
    }
    if (lane.waiting.length >= LANE_PIECES_MAX) lane.from.pause();
    this.#send(pair, lane);
  }

  /** Sends what is due. While pieces are small, one a turn, so that they arrive as they are. */
  #send(pair: Pair, lane: Lane): void {
    if (lane.isSending) return;
    for (;;) {
      const [next] = lane.waiting;
      if (next === undefined || pair.isFrozen) break;
      const waitMs = next.dueMs - this.#environment.monotonicMs();
      if (next.dueMs > 0 && waitMs > 0) {
        this.#sendLater(pair, lane, waitMs);
        return;
      }
      lane.waiting.shift();
      if (!lane.to.write(next.bytes)) lane.from.pause();
      if (this.#chunkBytes > 0) {
        this.#sendLater(pair, lane, 0);
        return;
      }
    }
    if (lane.waiting.length === 0 && lane.hasEnded) lane.to.end();
  }

  #sendLater(pair: Pair, lane: Lane, waitMs: number): void {
    lane.isSending = true;
    const go = (): void => {
      lane.isSending = false;
      this.#send(pair, lane);
      if (!lane.to.writableNeedDrain && lane.waiting.length < LANE_PIECES_MAX) lane.from.resume();
    };
    if (waitMs > 0) this.#environment.startTimer(waitMs, go);
    else this.#environment.defer(go);
  }

  #reset(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    pair.isFrozen = true;
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
  }
}

function laneOf(from: Socket, to: Socket): Lane {
  return { from, to, waiting: [], isSending: false, hasEnded: false };
}

function freezePair(pair: Pair): void {
  pair.isFrozen = true;
  pair.client.pause();
  pair.server.pause();
}
