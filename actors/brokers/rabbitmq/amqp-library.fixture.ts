/**
 * The client library's own channel on a socket that keeps what is written, and its decoder.
 *
 * They are inside the library, and no part of what it exports: what they are here for is to say
 * whether our bytes are the library's. Refuses bytes that are no whole frames.
 */

import { dirname, join } from "node:path";
import { Duplex } from "node:stream";

import type { Connection, ConfirmChannel } from "amqplib";

import { assert } from "../../../runtime/errors.ts";

interface LibraryConnection extends Connection {
  frameMax: number;
  channelMax: number;
  /** Whether anything was sent since the last time it was asked. */
  checkSend(): boolean;
  close(): void;
}

interface LibraryChannel extends ConfirmChannel {
  setOptions(options: { readonly highWaterMark?: number }): void;
  allocate(): void;
  toClosed(stack: string): void;
}

interface Fields {
  readonly exchange: string;
  readonly routingKey: string;
  readonly mandatory: boolean;
  readonly correlationId: string;
  readonly messageId?: string;
}

interface Decoded {
  readonly channel: number;
  readonly fields?: Fields;
  readonly content?: Buffer;
}

/** Around the payload of a frame. */
const FRAME_BYTES = 8;

type Parsed = { readonly rest: Buffer } | false;

const library = join(dirname(Bun.resolveSync("amqplib", import.meta.dir)), "lib");
const { Connection: LibraryConnection } = (await import(join(library, "connection.js"))) as {
  readonly Connection: new (socket: Duplex) => LibraryConnection;
};
const { ConfirmChannel: LibraryChannel } = (await import(join(library, "channel_model.js"))) as {
  readonly ConfirmChannel: new (connection: LibraryConnection) => LibraryChannel;
};
const { parseFrame, decodeFrame } = (await import(join(library, "frame.js"))) as {
  readonly parseFrame: (bytes: Buffer, sizeMax: number) => Parsed;
  readonly decodeFrame: (frame: Parsed) => Decoded;
};

export interface SentMessage extends Fields {
  readonly channel: number;
  readonly content: Buffer;
}

/** Channel `number` of a connection without a server; its buffer holds `bufferWrites`. */
export function openLibraryChannel(number: number, frameBytesMax: number, bufferWrites = 1_000) {
  const writes: Buffer[] = [];
  const socket = new Duplex({
    read: () => undefined,
    write: (bytes: Buffer, _encoding, done) => {
      writes.push(bytes);
      done();
    },
    highWaterMark: 1 << 30,
  });
  const connection = new LibraryConnection(socket);
  connection.frameMax = frameBytesMax;
  connection.channelMax = number;
  let channel: LibraryChannel;
  do {
    channel = new LibraryChannel(connection);
    channel.setOptions({ highWaterMark: bufferWrites });
    channel.allocate();
  } while (channel.ch < number);
  /** What came to the socket since the last time. */
  const written = async (): Promise<Buffer> => {
    // The library writes in the turn after the next.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    return Buffer.concat(writes.splice(0));
  };
  return { connection, channel, written };
}

/** Throws when a frame is larger than `frameBytesMax`. */
export function decodeMessages(bytes: Buffer, frameBytesMax: number): SentMessage[] {
  const frames: Decoded[] = [];
  for (let rest = bytes; rest.byteLength > 0;) {
    const frame = parseFrame(rest, frameBytesMax - FRAME_BYTES);
    assert(frame !== false, "frames are whole");
    frames.push(decodeFrame(frame));
    rest = frame.rest;
  }
  const messages: SentMessage[] = [];
  for (let at = 0; at < frames.length;) {
    const { channel, fields: method } = frames[at++] ?? {};
    const header = frames[at++];
    assert(channel !== undefined && method !== undefined, "a method comes first");
    assert(header?.fields !== undefined, "a header comes next");
    const parts: Buffer[] = [];
    for (let part = frames[at]?.content; part !== undefined; part = frames[++at]?.content) {
      parts.push(part);
    }
    messages.push({ channel, ...method, ...header.fields, content: Buffer.concat(parts) });
  }
  return messages;
}
