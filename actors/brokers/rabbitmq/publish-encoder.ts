/**
 * Messages as AMQP 0-9-1 has them on the wire, many in one piece of memory.
 *
 * A message is a method frame with `basic.publish`, a header frame with its properties, and its
 * body in frames no larger than agreed (the specification's sections 2.3.5 and 4.2). The client
 * library makes a buffer of each and copies them into one per message; here what is the same for
 * all messages to one place is encoded once, and the rest written behind it. The bytes are the
 * library's own. It refuses what the library shall encode or refuse itself: headers, and strings
 * that are too long.
 */

import type { Options } from "amqplib";

import { assert } from "../../../runtime/errors.ts";

export interface RabbitMessage {
  /** Empty: the queue named by the routing key. */
  readonly exchange: string;
  readonly routingKey: string;
  readonly content: Buffer;
  readonly options: Pick<Options.Publish, "contentType" | "headers" | "messageId">;
}

export interface PublishEncoderOptions {
  /** Number of the channel. */
  readonly channel: number;
  /** Of the largest frame, with all that is around its payload. */
  readonly frameBytesMax: number;
  /** Correlation ids are this and the number of the copy. ASCII. */
  readonly copyPrefix: string;
}

/** All that is the same for messages to one place. */
interface Place {
  readonly contentType: string | undefined;
  /** The method frame, and the header frame up to the digits of the correlation id. */
  readonly bytes: Buffer;
  readonly headerAt: number;
}

const METHOD_FRAME = 1;
const HEADER_FRAME = 2;
const BODY_FRAME = 3;
const FRAME_END = 0xce;
/** Type, channel, and size; the end octet comes behind the payload. */
const FRAME_START_BYTES = 7;
const FRAME_BYTES = FRAME_START_BYTES + 1;
const BASIC_CLASS = 60;
const PUBLISH_METHOD = 40;
const MANDATORY = 1;
const PERSISTENT = 2;

/** Where these are in a header frame. */
const BODY_SIZE_AT = FRAME_START_BYTES + 4;
const FLAGS_AT = BODY_SIZE_AT + 8;
const PROPERTIES_AT = FLAGS_AT + 2;
const HAS_CONTENT_TYPE = 1 << 15;
const HAS_HEADERS = 1 << 13;
const HAS_DELIVERY_MODE = 1 << 12;
const HAS_CORRELATION_ID = 1 << 10;
const HAS_MESSAGE_ID = 1 << 7;

const SHORT_STRING_BYTES_MAX = 255;
const DIGITS_MAX = String(Number.MAX_SAFE_INTEGER).length;
/** Of what is written behind a place's bytes, without the body. */
const OWN_BYTES_MAX = DIGITS_MAX + 1 + SHORT_STRING_BYTES_MAX + 1;
const PIECE_BYTES = 64 * 1_024;
/**
 * Above, they are all encoded anew. There is one for each partition of each topic: so many have 16
 * topics with the most partitions that can be configured, more than anybody has, and nobody pays
 * for encoding again and again. A place takes a few hundred bytes.
 */
const PLACES_MAX = 65_536;
const NOTHING = Buffer.alloc(0);

export class PublishEncoder {
  readonly #channel: number;
  readonly #bodyBytesMax: number;
  readonly #copyPrefix: string;
  /** By exchange and routing key. */
  readonly #places = new Map<string, Map<string, Place>>();
  #placeCount = 0;
  #piece = NOTHING;
  /** Bytes of the piece that are written, and what they are. */
  #bytes = 0;
  #count = 0;

  constructor({ channel, frameBytesMax, copyPrefix }: PublishEncoderOptions) {
    assert(frameBytesMax > FRAME_BYTES, "a frame has room for a body");
    assert(copyPrefix.length + DIGITS_MAX <= SHORT_STRING_BYTES_MAX, "a copy's name is short");
    this.#channel = channel;
    this.#bodyBytesMax = frameBytesMax - FRAME_BYTES;
    this.#copyPrefix = copyPrefix;
  }

  /** Messages that were added and not taken. */
  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Places whose bytes are kept. */
  get places(): number {
    return this.#placeCount;
  }

  /** The messages added since the last time, in their order. */
  take(): Buffer {
    const taken = this.#piece.subarray(0, this.#bytes);
    // The rest of the piece is for those that come.
    this.#piece = this.#piece.subarray(this.#bytes);
    this.#bytes = 0;
    this.#count = 0;
    return taken;
  }

  /** Persistent and mandatory. False: it is for the library, and nothing was added. */
  add({ exchange, routingKey, content, options }: RabbitMessage, copy: number): boolean {
    const { contentType, headers, messageId } = options;
    if (headers !== undefined || !isShort(messageId)) return false;
    const place = this.#placeOf(exchange, routingKey, contentType);
    if (place === undefined) return false;
    const bodyFrames = Math.ceil(content.byteLength / this.#bodyBytesMax);
    const bodyBytes = content.byteLength + bodyFrames * FRAME_BYTES;
    this.#makeRoom(place.bytes.byteLength + OWN_BYTES_MAX + bodyBytes);
    this.#addHeader(place, copy, messageId, content.byteLength);
    this.#addBody(content);
    this.#count++;
    return true;
  }

  #makeRoom(bytes: number): void {
    const needed = this.#bytes + bytes;
    if (needed <= this.#piece.byteLength) return;
    const piece = Buffer.allocUnsafeSlow(Math.max(needed, PIECE_BYTES));
    this.#piece.copy(piece, 0, 0, this.#bytes);
    this.#piece = piece;
  }

  #addHeader(place: Place, copy: number, messageId: string | undefined, bodySize: number): void {
    const piece = this.#piece;
    const headerAt = this.#bytes + place.headerAt;
    piece.set(place.bytes, this.#bytes);
    let at = this.#bytes + place.bytes.byteLength;
    const digits = String(copy);
    piece[at - this.#copyPrefix.length - 1] = this.#copyPrefix.length + digits.length;
    at += piece.write(digits, at, "latin1");
    if (messageId !== undefined) {
      const idBytes = piece.write(messageId, at + 1);
      piece[at] = idBytes;
      at += 1 + idBytes;
      // In the lower octet of the flags it is alone.
      piece[headerAt + FLAGS_AT + 1] = HAS_MESSAGE_ID;
    }
    piece.writeUInt32BE(at - headerAt - FRAME_START_BYTES, headerAt + 3);
    // The upper half of the size is zero in the place's bytes.
    piece.writeUInt32BE(bodySize, headerAt + BODY_SIZE_AT + 4);
    piece[at] = FRAME_END;
    this.#bytes = at + 1;
  }

  #addBody(content: Buffer): void {
    const piece = this.#piece;
    for (let from = 0; from < content.byteLength; from += this.#bodyBytesMax) {
      const size = Math.min(content.byteLength - from, this.#bodyBytesMax);
      const at = startFrame(piece, this.#bytes, BODY_FRAME, this.#channel);
      piece.writeUInt32BE(size, at - 4);
      piece.set(size === content.byteLength ? content : content.subarray(from, from + size), at);
      piece[at + size] = FRAME_END;
      this.#bytes = at + size + 1;
    }
  }

  #placeOf(exchange: string, key: string, contentType: string | undefined): Place | undefined {
    const known = this.#places.get(exchange)?.get(key);
    if (known !== undefined && known.contentType === contentType) return known;
    if (!isShort(exchange) || !isShort(key) || !isShort(contentType)) return undefined;
    if (known === undefined && ++this.#placeCount > PLACES_MAX) {
      this.#places.clear();
      this.#placeCount = 1;
    }
    const place = this.#encodePlace(exchange, key, contentType);
    const places = this.#places.get(exchange) ?? new Map<string, Place>();
    this.#places.set(exchange, places.set(key, place));
    return place;
  }

  #encodePlace(exchange: string, key: string, contentType: string | undefined): Place {
    const strings = [exchange, key, contentType ?? "", this.#copyPrefix];
    const bytes = Buffer.alloc(strings.length * (1 + SHORT_STRING_BYTES_MAX) + 64);
    let at = startFrame(bytes, 0, METHOD_FRAME, this.#channel);
    at = bytes.writeUInt16BE(BASIC_CLASS, at);
    at = bytes.writeUInt16BE(PUBLISH_METHOD, at) + 2; // behind a reserved field
    at = writeShort(bytes, at, exchange);
    at = writeShort(bytes, at, key);
    at = bytes.writeUInt8(MANDATORY, at);
    bytes.writeUInt32BE(at - FRAME_START_BYTES, 3);
    const headerAt = bytes.writeUInt8(FRAME_END, at);
    at = startFrame(bytes, headerAt, HEADER_FRAME, this.#channel);
    bytes.writeUInt16BE(BASIC_CLASS, at);
    const always = HAS_HEADERS | HAS_DELIVERY_MODE | HAS_CORRELATION_ID;
    const flags = contentType === undefined ? always : always | HAS_CONTENT_TYPE;
    bytes.writeUInt16BE(flags, headerAt + FLAGS_AT);
    at = headerAt + PROPERTIES_AT;
    if (contentType !== undefined) at = writeShort(bytes, at, contentType);
    at += 4; // the table of headers, empty
    at = bytes.writeUInt8(PERSISTENT, at);
    at = writeShort(bytes, at, this.#copyPrefix);
    // A copy: what is kept is not larger than it has to be.
    return { contentType, bytes: Buffer.from(bytes.subarray(0, at)), headerAt };
  }
}

/** Returns where the payload begins, its size being left out. */
function startFrame(bytes: Buffer, at: number, type: number, channel: number): number {
  bytes[at] = type;
  bytes.writeUInt16BE(channel, at + 1);
  return at + FRAME_START_BYTES;
}

function writeShort(bytes: Buffer, at: number, text: string): number {
  const length = bytes.write(text, at + 1);
  bytes[at] = length;
  return at + 1 + length;
}

function isShort(text: string | undefined): boolean {
  // A character has at most three octets for each unit of its length.
  if (text === undefined || text.length * 3 <= SHORT_STRING_BYTES_MAX) return true;
  return Buffer.byteLength(text) <= SHORT_STRING_BYTES_MAX;
}
