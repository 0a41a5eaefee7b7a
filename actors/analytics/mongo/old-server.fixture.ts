/**
 * A server that greets as MongoDB does, as old as one likes, and refuses every user.
 *
 * Only for tests: what cannot be had from a server of today. Knows a greeting and nothing else.
 */

import { BSON } from "mongodb";

const HEADER_BYTES = 16;
const REPLY = 1;
const QUERY = 2004;
const MESSAGE = 2013;

export interface OldServer {
  readonly port: number;
  close(): void;
}

export function startOldServer(maxWireVersion: number): OldServer {
  const listener = Bun.listen<{ rest: Buffer }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { rest: Buffer.alloc(0) };
      },
      data(socket, chunk) {
        let rest = Buffer.concat([socket.data.rest, chunk]);
        while (rest.length >= HEADER_BYTES && rest.length >= rest.readInt32LE(0)) {
          const length = rest.readInt32LE(0);
          socket.write(answer(rest.subarray(0, length), maxWireVersion));
          rest = rest.subarray(length);
        }
        socket.data.rest = rest;
      },
    },
  });
  return { port: listener.port, close: () => listener.stop(true) };
}

function answer(request: Buffer, maxWireVersion: number): Buffer {
  const code = request.readInt32LE(12);
  const isGreeting = request.includes("hello") || request.includes("ismaster");
  const body = isGreeting ? greeting(maxWireVersion) : REFUSAL;
  const document = Buffer.from(BSON.serialize(body));
  const prefix = code === QUERY ? Buffer.alloc(20) : Buffer.alloc(5);
  if (code === QUERY) prefix.writeInt32LE(1, 16);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeInt32LE(HEADER_BYTES + prefix.length + document.length, 0);
  header.writeInt32LE(request.readInt32LE(4), 8);
  header.writeInt32LE(code === QUERY ? REPLY : MESSAGE, 12);
  return Buffer.concat([header, prefix, document]);
}

const REFUSAL = {
  ok: 0,
  code: 18,
  codeName: "AuthenticationFailed",
  errmsg: "Authentication failed.",
};

function greeting(maxWireVersion: number) {
  return {
    ok: 1,
    helloOk: true,
    isWritablePrimary: true,
    ismaster: true,
    minWireVersion: 0,
    maxWireVersion,
    maxBsonObjectSize: 16_777_216,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
  };
}
