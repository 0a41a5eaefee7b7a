/**
 * A server that speaks as Redis does, as old as one likes.
 *
 * Only for tests: what cannot be had from a server of today. It tells its version and agrees to
 * everything else. Refuses nothing.
 */

export interface OldRedis {
  readonly url: string;
  close(): void;
}

export function startOldRedis(version: string): OldRedis {
  const info = `redis_version:${version}\r\nrole:master\r\nloading:0\r\n`;
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, bytes) {
        // Each command is a list of texts; the answer depends on the first of them.
        const commands = bytes.toString().split(/^\*\d+\r\n/m);
        for (const command of commands.slice(1)) {
          socket.write(answerTo(command.split("\r\n")[1]?.toLowerCase() ?? "", info));
        }
      },
    },
  });
  return { url: `redis://127.0.0.1:${listener.port}`, close: () => listener.stop(true) };
}

function answerTo(command: string, info: string): string {
  if (command === "info") return `$${info.length}\r\n${info}\r\n`;
  if (command === "config") return "*0\r\n";
  return command === "hello" ? "-ERR unknown command `HELLO`\r\n" : "+OK\r\n";
}
