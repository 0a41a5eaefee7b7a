/**
 * The sockets of one kafkajs client, so that those can be closed which no answer comes on.
 *
 * The library gives up a request that is not answered in time and asks again on the same
 * connection, which may have been forgotten by whatever is in between; a join would wait for
 * longer than a rebalance may take, several times. Refuses nothing: what is closed, the library
 * connects anew.
 */

import type { ISocketFactory } from "kafkajs";
import type { Socket } from "node:net";

import net from "node:net";
import tls from "node:tls";

const KEEP_ALIVE_MS = 60_000;

export class KafkaJsSockets {
  readonly #open = new Set<Socket>();

  readonly connect: ISocketFactory = ({ host, port, ssl, onConnect }) => {
    const servername = net.isIP(host) === 0 ? { servername: host } : {};
    // The library leaves `ssl` out, whatever its types say, when there is to be none.
    const isSecret = Boolean(ssl);
    const socket = isSecret
      ? tls.connect({ host, port, ...servername, ...ssl }, onConnect)
      : net.connect({ host, port }, onConnect);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    return socket;
  };

  closeAll(): void {
    for (const socket of this.#open) socket.destroy();
  }
}
