/**
 * Ports that nobody listens on, below the range from which the kernel takes those of clients.
 *
 * A port of that range could be taken by any outgoing connection while its server is down. Nothing
 * is reserved: a server that finds its port taken after all is started anew on others.
 */

import { createServer } from "node:net";

const PORT_MIN = 10_000;
const PORT_MAX = 19_999;
const ATTEMPTS_MAX = 1_000;

/** `count` different ports of the loopback address that are free now. */
export async function findFreePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  for (let attempt = 0; found.size < count; attempt++) {
    if (attempt === ATTEMPTS_MAX) throw new Error(`no ${count} free ports from ${PORT_MIN} on`);
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN + 1));
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  return [...found];
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(true)));
  });
}
