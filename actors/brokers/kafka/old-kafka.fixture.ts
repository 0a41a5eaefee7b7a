/**
 * Just enough of Kafka's protocol to be taken for a broker that is years old.
 *
 * Only for tests: what cannot be had from a server of today. It says which versions it speaks, and
 * ends the connection when it is asked anything else. Refuses nothing.
 */

const API_VERSIONS = 18;
const LENGTH_BYTES = 4;

export interface OldKafka {
  /** `127.0.0.1:port` */
  readonly address: string;
  close(): void;
}

/** `versions`: the newest of each request, by its number. */
export function startOldKafka(versions: ReadonlyMap<number, number>): OldKafka {
  const listener = Bun.listen<{ rest: Buffer }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => void (socket.data = { rest: Buffer.alloc(0) }),
      data(socket, chunk) {
        let rest = Buffer.concat([socket.data.rest, chunk]);
        while (rest.length >= LENGTH_BYTES && rest.length >= LENGTH_BYTES + rest.readInt32BE(0)) {
          const request = rest.subarray(LENGTH_BYTES, LENGTH_BYTES + rest.readInt32BE(0));
          if (request.readInt16BE(0) !== API_VERSIONS) return void socket.end();
          socket.write(spoken(request.readInt32BE(4), versions));
          rest = rest.subarray(LENGTH_BYTES + request.length);
        }
        socket.data.rest = rest;
      },
    },
  });
  return { address: `127.0.0.1:${listener.port}`, close: () => listener.stop(true) };
}

function spoken(correlationId: number, versions: ReadonlyMap<number, number>): Buffer {
  const head = Buffer.alloc(14);
  head.writeInt32BE(10 + 6 * versions.size, 0);
  head.writeInt32BE(correlationId, 4);
  head.writeInt32BE(versions.size, 10);
  const each = [...versions].map(([request, newest]) => {
    const range = Buffer.alloc(6);
    range.writeInt16BE(request, 0);
    range.writeInt16BE(newest, 4);
    return range;
  });
  return Buffer.concat([head, ...each]);
}
