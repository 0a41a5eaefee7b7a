/**
 * Just enough of AMQP's handshake to be taken for a RabbitMQ server of a given version.
 *
 * It greets, agrees to everything, and then says nothing more. Refuses nothing it is sent.
 */

/** Methods of class `connection`. */
const CONNECTION = 10;
const START = 10;
const START_OK = 11;
const TUNE = 30;
const OPEN = 40;
const OPEN_OK = 41;
const CLOSE = 50;
const CLOSE_OK = 51;
const FRAME_END = 0xce;
const METHOD_FRAME = 1;
const FRAME_HEAD_BYTES = 7;
const GREETING_BYTES = 8;

export function startOldRabbit(version: string): { readonly url: string; stop(): void } {
  const server = Bun.listen<{ rest: Buffer; isGreeted: boolean }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => void (socket.data = { rest: Buffer.alloc(0), isGreeted: false }),
      data: (socket, chunk) => {
        const { data } = socket;
        data.rest = Buffer.concat([data.rest, chunk]);
        if (!data.isGreeted) {
          if (data.rest.byteLength < GREETING_BYTES) return;
          data.rest = data.rest.subarray(GREETING_BYTES);
          data.isGreeted = true;
          socket.write(method(START, start(version)));
        }
        for (let size = frameBytes(data.rest); size > 0; size = frameBytes(data.rest)) {
          const answer = answerTo(data.rest.readUInt16BE(FRAME_HEAD_BYTES + 2));
          data.rest = data.rest.subarray(size);
          if (answer !== undefined) socket.write(answer);
        }
      },
    },
  });
  return { url: `amqp://127.0.0.1:${server.port}`, stop: () => server.stop(true) };
}

/** Of the first frame, if it is there to the end; else 0. */
function frameBytes(bytes: Buffer): number {
  if (bytes.byteLength < FRAME_HEAD_BYTES) return 0;
  const size = FRAME_HEAD_BYTES + bytes.readUInt32BE(3) + 1;
  return bytes.byteLength < size ? 0 : size;
}

function answerTo(received: number): Buffer | undefined {
  switch (received) {
    case START_OK:
      return method(TUNE, Buffer.from([0x07, 0xff, 0, 2, 0, 0, 0, 60]));
    case OPEN:
      return method(OPEN_OK, shortText(""));
    case CLOSE:
      return method(CLOSE_OK, Buffer.alloc(0));
    default:
      return undefined;
  }
}

function start(version: string): Buffer {
  const table = Buffer.concat([...field("product", "RabbitMQ"), ...field("version", version)]);
  return Buffer.concat([
    Buffer.from([0, 9]),
    longText(table),
    longText(Buffer.from("PLAIN")),
    longText(Buffer.from("en_US")),
  ]);
}

function field(name: string, value: string): Buffer[] {
  return [shortText(name), Buffer.from("S"), longText(Buffer.from(value))];
}

function shortText(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
}

function longText(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.byteLength);
  return Buffer.concat([length, bytes]);
}

function method(id: number, fields: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES + 4);
  head.writeUInt8(METHOD_FRAME, 0);
  head.writeUInt32BE(4 + fields.byteLength, 3);
  head.writeUInt16BE(CONNECTION, FRAME_HEAD_BYTES);
  head.writeUInt16BE(id, FRAME_HEAD_BYTES + 2);
  return Buffer.concat([head, fields, Buffer.from([FRAME_END])]);
}
