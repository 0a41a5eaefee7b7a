/**
 * The HTTP application behind a socket.
 *
 * The port is never shared with another process, and one that is taken is refused by name. Idle
 * connections are closed; an event stream is kept open by its heartbeat.
 */

import { describeError, ShopError } from "../../runtime/errors.ts";
import type { HttpApp } from "./http-app.ts";
import { HEARTBEAT_MS } from "./sse.ts";

/** Two heartbeats may be lost before a stream counts as idle. */
const IDLE_TIMEOUT_S = (3 * HEARTBEAT_MS) / 1000;

export interface HttpServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

export interface HttpServer {
  /** As a client writes it: `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly port: number;
  /** Takes no new connections and refuses new work; resolves when all answers are sent. */
  drain(): Promise<void>;
  /** Cuts what is still open. */
  kill(): void;
}

/** Listens. Throws `BAD_CONFIGURATION` when the address cannot be used. */
export function startHttp(app: HttpApp, { host, port }: HttpServerOptions): HttpServer {
  const server = listen(app, host, port);
  const actualPort = server.port ?? port;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${actualPort}`,
    port: actualPort,
    drain() {
      app.close();
      return server.stop();
    },
    kill: () => void server.stop(true),
  };
}

function listen(app: HttpApp, host: string, port: number) {
  try {
    return Bun.serve({
      hostname: host,
      port,
      reusePort: false,
      idleTimeout: IDLE_TIMEOUT_S,
      development: false,
      fetch: (request) => app.handle(request),
    });
  } catch (error) {
    const why = `cannot listen on ${host}:${port}: ${describeError(error)}`;
    throw new ShopError("BAD_CONFIGURATION", why, "never", { cause: error });
  }
}
