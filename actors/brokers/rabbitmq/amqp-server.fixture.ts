/**
 * The client library's own connection to a server that the test is: it says what comes, as bytes.
 *
 * What a server says is encoded by the library, whose encoders are inside it and no part of what it
 * exports. Refuses nothing: the client is told whatever the test likes.
 */

import { dirname, join } from "node:path";
import { Duplex } from "node:stream";

import type { Channel, ChannelModel, Connection, Options } from "amqplib";

interface LibraryConnection extends Connection {
  open(options: object, opened: (error: Error | null) => void): void;
  on(event: string, listener: (error: Error) => void): void;
}

/** Names of the protocol to numbers of the library, and its encoders. */
interface Definitions {
  readonly [name: string]: number;
}
interface Encoders {
  encodeMethod(method: number, channel: number, fields: object): Buffer;
  encodeProperties(header: number, channel: number, bodyBytes: number, fields: object): Buffer;
}

/** Of a payload: the least that the library can be told. */
export const FRAME_BYTES_MAX = 4_096;

const library = join(dirname(Bun.resolveSync("amqplib", import.meta.dir)), "lib");
const { Connection: LibraryConnection } = (await import(join(library, "connection.js"))) as {
  readonly Connection: new (socket: Duplex) => LibraryConnection;
};
const { ChannelModel: LibraryModel } = (await import(join(library, "channel_model.js"))) as {
  readonly ChannelModel: new (connection: LibraryConnection) => ChannelModel;
};
const definitions = (await import(join(library, "defs.js"))) as Definitions & Encoders;
const { makeBodyFrame } = (await import(join(library, "frame.js"))) as {
  readonly makeBodyFrame: (channel: number, payload: Buffer) => Buffer;
};

export interface ServerMessage {
  readonly channel: number;
  readonly tag: string;
  readonly deliveryTag: number;
  readonly redelivered: boolean;
  readonly routingKey: string;
  readonly properties: Options.Publish & { readonly deliveryMode?: number };
  /** The content, in body frames of these. */
  readonly parts: readonly Buffer[];
}

export interface ServedClient {
  readonly model: ChannelModel;
  /** What the connection said of its end, as errors. */
  readonly faults: string[];
  /** These bytes come; resolves when the client has read them. */
  receive(bytes: Buffer): Promise<void>;
  /** A method of the protocol comes, named as the library names it. */
  say(method: string, channel: number, fields?: object): Promise<void>;
  /** Channels are numbered from 1. */
  channel(): Promise<Channel>;
}

/** The connection is open. */
export async function openServedClient(): Promise<ServedClient> {
  const socket = new Duplex({ read: () => undefined, write: (_bytes, _encoding, done) => done() });
  const connection = new LibraryConnection(socket);
  const model = new LibraryModel(connection);
  const faults: string[] = [];
  model.on("error", () => undefined); // it repeats those of the connection
  for (const event of ["error", "frameError"]) {
    connection.on(event, (error) => void faults.push(`${event}: ${error.message}`));
  }
  const receive = async (bytes: Buffer): Promise<void> => {
    socket.push(bytes);
    // The library reads when the stream says that it can be read, which is a turn later.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const say = (method: string, channel: number, fields: object = {}): Promise<void> =>
    receive(encodeMethod(method, channel, fields));
  const { promise: opened, resolve, reject } = Promise.withResolvers<void>();
  const login = { mechanism: "PLAIN", response: Buffer.from(""), locale: "en_US" };
  const limits = {
    maxFrameSize: FRAME_BYTES_MAX,
    channelMax: 0,
    frameMax: 0,
    heartbeat: 0,
    virtualHost: "/",
  };
  const options = { ...login, ...limits, clientProperties: {}, capabilities: "", insist: false };
  connection.open(options, (error) => (error === null ? resolve() : reject(error)));
  await say("ConnectionStart", 0, { versionMajor: 0, versionMinor: 9, serverProperties: {} });
  await say("ConnectionTune", 0, { channelMax: 0, frameMax: 0, heartbeat: 0 });
  await say("ConnectionOpenOk", 0);
  await opened;
  let channels = 0;
  const channel = async (): Promise<Channel> => {
    const opening = model.createChannel();
    await say("ChannelOpenOk", ++channels);
    return opening;
  };
  return { model, faults, receive, say, channel };
}

function encodeMethod(method: string, channel: number, fields: object): Buffer {
  return definitions.encodeMethod(definitions[method] ?? -1, channel, fields);
}

/** A delivery with all its frames. */
export function encodeDelivery(message: ServerMessage): Buffer {
  const { channel, tag, deliveryTag, redelivered, routingKey } = message;
  const fields = { consumerTag: tag, deliveryTag, redelivered, exchange: "x", routingKey };
  return encodeMessage("BasicDeliver", fields, message, channel);
}

/** The same message, sent by the client on this channel and not to be routed. */
export function encodeReturn(message: ServerMessage): Buffer {
  const { channel, routingKey } = message;
  const fields = { replyCode: 312, replyText: "NO_ROUTE", exchange: "x", routingKey };
  return encodeMessage("BasicReturn", fields, message, channel);
}

function encodeMessage(
  method: string,
  fields: object,
  { properties, parts }: ServerMessage,
  channel: number,
): Buffer {
  const size = parts.reduce((sum, part) => sum + part.byteLength, 0);
  return Buffer.concat([
    encodeMethod(method, channel, fields),
    definitions.encodeProperties(definitions["BasicProperties"] ?? -1, channel, size, properties),
    ...parts.map((part) => makeBodyFrame(channel, part)),
  ]);
}
