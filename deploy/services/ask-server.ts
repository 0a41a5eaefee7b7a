/**
 * Is a server ready? Asked in its own protocol, with the smallest question there is, by hand.
 *
 * No client library: a library retries, caches and logs, and would be needed where only `deploy/`
 * runs. Every question has a deadline, and every failure is a plain "not yet".
 */

import { connect } from "node:net";
import { connect as connectSecurely } from "node:tls";

const ANSWER_TIMEOUT_MS = 2_000;
const ANSWER_BYTES_MAX = 65_536;

/**
 * Sends `question` and collects until `isEnough`; what has come by then, else `undefined`.
 * `isSecure`: by TLS, whoever signed the certificate.
 */
function ask(
  port: number,
  question: Uint8Array,
  isEnough: (answer: Buffer) => boolean,
  isSecure = false,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0);
    const at = { host: "127.0.0.1", port, timeout: ANSWER_TIMEOUT_MS };
    const socket = isSecure ? connectSecurely({ ...at, rejectUnauthorized: false }) : connect(at);
    const end = (result: Buffer | undefined): void => {
      resolve(result);
      socket.destroy();
    };
    const deadline = setTimeout(() => end(undefined), ANSWER_TIMEOUT_MS);
    socket.on(isSecure ? "secureConnect" : "connect", () => socket.write(question));
    socket.on("data", (chunk) => {
      answer = Buffer.concat([answer, Buffer.from(chunk)]);
      if (isEnough(answer)) end(answer);
      else if (answer.length > ANSWER_BYTES_MAX) end(undefined);
    });
    socket.on("error", () => end(undefined));
    socket.on("close", () => {
      clearTimeout(deadline);
      resolve(undefined);
    });
  });
}

/** Redis: PING, answered also by one that wants a password first; not while it loads. */
export async function askRedis(port: number, isSecure: boolean): Promise<boolean> {
  const isEnough = (bytes: Buffer): boolean => bytes.includes("\r\n");
  const answer = await ask(port, Buffer.from("PING\r\n"), isEnough, isSecure);
  return answer !== undefined && /^(\+PONG|-NOAUTH)/.test(answer.toString());
}

/**
 * PostgreSQL: a startup message, answered with any request for authentication. One that hears TLS
 * alone refuses it once it has started, by the code of its rules.
 */
export async function askPostgres(port: number, user: string, isSecure: boolean): Promise<boolean> {
  const words = Buffer.from(`user\0${user}\0database\0postgres\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(head.length + words.length, 0);
  head.writeInt32BE(196_608, 4);
  const answer = await ask(port, Buffer.concat([head, words]), (bytes) => bytes.length > 0);
  const text = answer?.toString("latin1") ?? "";
  return isSecure ? text.startsWith("E") && text.includes("C28000") : text.startsWith("R");
}

/** RabbitMQ: the protocol header, answered with Connection.Start; it listens last of all. */
export async function askRabbit(port: number, isSecure: boolean): Promise<boolean> {
  const header = Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);
  const answer = await ask(port, header, (bytes) => bytes.length >= 11, isSecure);
  return answer?.readUInt32BE(7) === 0x00_0a_00_0a;
}

/** Kafka: how many brokers the broker at `port` knows of; 0 when it is not ready. */
export async function countKafkaBrokers(
  port: number,
  login?: KafkaLogin,
  isSecure = false,
): Promise<number> {
  const requests = login === undefined ? [BROKERS] : [...loggingIn(login), BROKERS];
  const question = Buffer.concat(requests.map(framed));
  const isEnough = (bytes: Buffer): boolean => kafkaAnswers(bytes).length === requests.length;
  const answer = await ask(port, question, isEnough, isSecure);
  const last = answer === undefined ? undefined : kafkaAnswers(answer).at(-1);
  // Correlation id, throttle time, count.
  return last === undefined || last.length < 12 ? 0 : last.readInt32BE(8);
}

export interface KafkaLogin {
  readonly user: string;
  readonly password: string;
}

/** Metadata, version 4: correlation id, client id, no topics, no creation of topics. */
const BROKERS = Buffer.from([0, 3, 0, 4, 0, 0, 0, 7, 0, 1, 0x73, 0, 0, 0, 0, 0]);
/** SaslHandshake, version 1: as above, and `PLAIN`. */
const HANDSHAKE = Buffer.from([0, 17, 0, 1, 0, 0, 0, 5, 0, 1, 0x73, 0, 5]);
/** SaslAuthenticate, version 0: as above, and what is to come. */
const AUTHENTICATE = Buffer.from([0, 36, 0, 0, 0, 0, 0, 6, 0, 1, 0x73]);

function loggingIn({ user, password }: KafkaLogin): readonly Buffer[] {
  const token = Buffer.from(`\0${user}\0${password}`);
  return [
    Buffer.concat([HANDSHAKE, Buffer.from("PLAIN")]),
    Buffer.concat([AUTHENTICATE, framed(token)]),
  ];
}

function framed(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(bytes.length, 0);
  return Buffer.concat([length, bytes]);
}

/** Those that are there to the end. */
function kafkaAnswers(bytes: Buffer): readonly Buffer[] {
  const answers: Buffer[] = [];
  for (let at = 0; bytes.length >= at + 4;) {
    const end = at + 4 + bytes.readInt32BE(at);
    if (bytes.length < end) break;
    answers.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return answers;
}

/** MongoDB: a ping by OP_MSG, answered with anything of that kind. */
export async function askMongo(port: number, isSecure: boolean): Promise<boolean> {
  const document = Buffer.concat([
    Buffer.from([0, 0, 0, 0, 0x10]),
    Buffer.from("ping\0"),
    Buffer.from([1, 0, 0, 0, 0x02]),
    Buffer.from("$db\0"),
    Buffer.from([6, 0, 0, 0]),
    Buffer.from("admin\0\0"),
  ]);
  document.writeInt32LE(document.length, 0);
  const head = Buffer.alloc(21);
  head.writeInt32LE(head.length + document.length, 0);
  head.writeInt32LE(1, 4);
  head.writeInt32LE(2013, 12);
  const question = Buffer.concat([head, document]);
  const answer = await ask(port, question, (bytes) => bytes.length >= 16, isSecure);
  return answer?.readInt32LE(12) === 2013;
}

/** Anything that answers `path` with a 2xx. */
export async function askHttp(port: number, path: string): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
