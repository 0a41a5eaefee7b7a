/**
 * The adapter to the plain server: it reconnects, asks whether the server is there, and keeps time.
 *
 * Loaded as `plain-rig.fixture.ts?flaw=…` it does one thing wrong, for the suite to find. A sound
 * one is what any adapter has to be towards its server, in the fewest words.
 */

import type { Socket } from "node:net";

import { connect } from "node:net";

import type {
  Broker,
  BrokerCapabilities,
  DeadLetter,
  Outgoing,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "../brokers/broker.ts";
import type { Answer, Flaw, JoinOptions, Letters, Push, Request } from "./plain-wire.fixture.ts";
import type { RemoteOpen } from "./remote-rig.fixture.ts";

import { ShopError } from "../../runtime/errors.ts";
import { MEMORY_CAPABILITIES } from "../brokers/memory-broker.ts";
import { decode } from "./plain-wire.fixture.ts";

// Chosen by whoever imports the module, from the list of flaws.
const FLAW = (new URL(import.meta.url).searchParams.get("flaw") ?? "none") as Flaw;

const PING_MS = 500;
const SILENT_MS = 2_000;
const RECONNECT_MS = 100;

export const PLAIN_CAPABILITIES: BrokerCapabilities = {
  ...MEMORY_CAPABILITIES,
  persistent: true,
  confirmIsDurable: true,
  remoteMembers: true,
};

export async function openBroker(open: RemoteOpen): Promise<Broker> {
  const broker = new PlainBroker(open);
  await broker.connected();
  return broker;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: ShopError) => void;
}

interface Joined {
  readonly name: string;
  readonly options: SubscribeOptions;
}

class PlainBroker implements Broker {
  readonly capabilities = PLAIN_CAPABILITIES;
  readonly #open: RemoteOpen;
  readonly #waiting = new Map<number, Waiting>();
  readonly #joined = new Map<string, Joined>();
  #socket: Socket | undefined;
  #isUp = false;
  #isClosed = false;
  #heardMs = 0;
  #lastNumber = 0;
  #onUp: (() => void)[] = [];

  constructor(open: RemoteOpen) {
    this.#open = open;
    this.#connect();
  }

  connected(): Promise<void> {
    return this.#isUp ? Promise.resolve() : new Promise((resolve) => void this.#onUp.push(resolve));
  }

  publish(frames: readonly Outgoing[]): Promise<void> {
    for (const { topic, frame } of frames) {
      this.#checkTopic(topic);
      if (frame.byteLength <= PLAIN_CAPABILITIES.frameBytesMax) continue;
      throw new ShopError("PAYLOAD_TOO_LARGE", `${frame.byteLength} bytes are too many`, "never");
    }
    const encoded = frames.map(({ topic, frame }) => ({ topic, frame: frame.toBase64() }));
    const request: Request = { do: "publish", frames: encoded };
    const hasDeadline = FLAW !== "publishes without a deadline";
    return this.#ask(request, hasDeadline).then(() => undefined);
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    for (const topic of options.topics) this.#checkTopic(topic);
    const name = this.#open.environment.newId();
    this.#joined.set(name, { name, options });
    await this.#join(name, options);
    const inHand = async (): Promise<void> => {
      if (FLAW !== "close settles what is in hand") return;
      const mine = this.#inHand.filter(({ group }) => group === options.group);
      await this.#ask({ do: "ack", member: name, refs: mine.map((each) => decode(each)) });
    };
    let leaving: Promise<void> | undefined;
    const leave = async (): Promise<void> => {
      await inHand();
      this.#joined.delete(name);
      await this.#ask({ do: "leave", member: name }).catch(() => undefined); // gone is left
    };
    const setPaused = (on: boolean): void => {
      this.#ask({ do: "pause", member: name, on }).catch(() => undefined); // gone is paused
    };
    const settle = async <Value>(request: Request, stale: Value): Promise<Value> => {
      if (!this.#joined.has(name)) return stale;
      if (FLAW === "settles for anybody") await this.#reconnected();
      return (await this.#ask(request)) as Value; // as the server answers this request
    };
    return {
      ack: async (deliveries) => {
        const refs = deliveries.map(({ group, topic, partition, sequence, epoch }) => {
          return { group, topic, partition, sequence, epoch };
        });
        const stale = refs.map((): SettleResult => "stale");
        return await settle({ do: "ack", member: name, refs }, stale);
      },
      postpone: (ref, postponement) => {
        const { group, topic, partition, sequence, epoch } = ref;
        const bare = { group, topic, partition, sequence, epoch };
        return settle({ do: "postpone", member: name, ref: bare, postponement }, "stale");
      },
      bury: (ref, burial) => {
        const { group, topic, partition, sequence, epoch } = ref;
        const bare = { group, topic, partition, sequence, epoch };
        return settle({ do: "bury", member: name, ref: bare, burial }, "stale");
      },
      standing: (look) => Promise.resolve(look([])),
      pause: () => setPaused(true),
      resume: () => setPaused(false),
      close: () => (leaving ??= leave()),
    };
  }

  readonly #inHand: Extract<Push, { readonly what: "deliveries" }>["list"][number][] = [];

  async deadLetters(topic: string, afterId: number, limit: number): Promise<DeadLetter[]> {
    const letters = (await this.#ask({ do: "letters", topic, afterId, limit })) as Letters;
    return letters.map((letter) => decode(letter)); // as the server answers this request
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    const pending = [...this.#waiting.values()].length;
    if (pending > 0 && this.#isUp) await this.#ask({ do: "ping" }).catch(() => undefined);
    for (const name of this.#joined.keys()) {
      if (this.#isUp) await this.#ask({ do: "leave", member: name }).catch(() => undefined);
    }
    this.#isClosed = true;
    this.#joined.clear();
    this.#socket?.destroy();
    this.#lost();
  }

  /** Long enough after a sleep for the connection to have been found dead, and to be back. */
  async #reconnected(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#open.environment.startTimer(5 * RECONNECT_MS, resolve);
    });
    await this.connected();
  }

  #checkTopic(topic: string): void {
    if (this.#open.topics.includes(topic)) return;
    throw new ShopError("UNKNOWN_TOPIC", `there is no topic ${topic}`, "never");
  }

  async #join(member: string, options: SubscribeOptions): Promise<void> {
    const { group, topics, from, creditFrames, creditBytes, leaseMs, partitions, types } = options;
    const plain: JoinOptions = {
      group,
      topics,
      from,
      creditFrames,
      creditBytes,
      leaseMs,
      ...(partitions === undefined ? {} : { partitions }),
      ...(types === undefined ? {} : { types }),
    };
    await this.#ask({ do: "join", member, options: plain });
  }

  #ask(request: Request, hasDeadline = false): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(new ShopError("CLOSED", "it was closed", "never"));
    if (!this.#isUp) return this.#askLater(request, hasDeadline);
    const n = ++this.#lastNumber;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(n, { resolve, reject });
      this.#socket?.write(`${JSON.stringify({ ...request, n })}\n`);
      if (!hasDeadline) return;
      this.#open.environment.startTimer(this.#open.publishTimeoutMs, () => {
        if (this.#waiting.delete(n)) reject(indeterminate("no answer in time"));
      });
    });
    if (FLAW !== "sends lost frames again on its own" || request.do !== "publish") return answer;
    return answer.catch(() => this.#askLater(request, hasDeadline));
  }

  #askLater(request: Request, hasDeadline: boolean): Promise<unknown> {
    if (FLAW === "sends lost frames again on its own" && !this.#isClosed) {
      const { environment } = this.#open;
      const backOffMs = 300 * environment.random();
      const backOff = new Promise<void>((resolve) => {
        environment.startTimer(backOffMs, resolve);
      });
      return backOff.then(() => this.connected()).then(() => this.#ask(request, hasDeadline));
    }
    return Promise.reject(new ShopError("STORAGE_FAULT", "the server is not there", "later"));
  }

  #connect(): void {
    const [host = "", port = ""] = this.#open.address.split(":");
    const socket = (this.#socket = connect({ host, port: Number(port), noDelay: true }));
    const { environment } = this.#open;
    let rest = "";
    this.#heardMs = environment.monotonicMs();
    socket.setEncoding("utf8");
    socket.on("error", () => undefined);
    socket.on("data", (text: string) => {
      this.#heardMs = environment.monotonicMs();
      const lines = (rest + text).split("\n");
      rest = FLAW === "each piece of the network is a line" ? "" : (lines.pop() ?? "");
      for (const line of lines) this.#hear(line);
    });
    socket.on("connect", () => {
      this.#isUp = true;
      for (const resolve of this.#onUp.splice(0)) resolve();
      // A member that cannot join again now does when the connection is next there.
      for (const { name, options } of this.#joined.values()) {
        this.#join(name, options).catch(() => undefined);
      }
      this.#watch(socket);
    });
    socket.on("close", () => {
      if (this.#socket === socket) this.#lost();
    });
  }

  #watch(socket: Socket): void {
    if (this.#isClosed || this.#socket !== socket || !this.#isUp) return;
    const { environment } = this.#open;
    const silentMs = environment.monotonicMs() - this.#heardMs;
    const isBlind =
      FLAW === "never asks whether the server is there" || FLAW === "publishes without a deadline";
    if (silentMs > SILENT_MS && !isBlind) {
      socket.destroy();
      this.#lost();
      return;
    }
    this.#ask({ do: "ping" }).catch(() => undefined); // the silence is what counts
    environment.startTimer(PING_MS, () => this.#watch(socket));
  }

  #lost(): void {
    this.#isUp = false;
    this.#socket = undefined;
    for (const { resolve, reject } of this.#waiting.values()) {
      if (FLAW === "takes a lost connection for a yes") resolve(null);
      else reject(indeterminate("the connection was lost"));
    }
    this.#waiting.clear();
    if (this.#isClosed || FLAW === "stays away once it lost the connection") return;
    this.#open.environment.startTimer(RECONNECT_MS, () => {
      if (!this.#isClosed && this.#socket === undefined) this.#connect();
    });
  }

  #hear(line: string): void {
    const said = parse(line);
    if (said === undefined) return;
    if ("to" in said) {
      this.#push(said);
      return;
    }
    const waiting = this.#waiting.get(said.n);
    this.#waiting.delete(said.n);
    if (!("code" in said)) waiting?.resolve(said.value);
    // The server's codes and advice are of the same types as ours.
    else waiting?.reject(new ShopError(said.code as ShopError["code"], said.message, "later"));
  }

  #push(said: Push): void {
    const options = this.#joined.get(said.to)?.options;
    if (options === undefined) return;
    if (said.what === "deliveries") {
      this.#inHand.push(...said.list);
      options.onDeliveries(said.list.map((each) => decode(each)));
      return;
    }
    const { topic, partitions } = said;
    if (said.what === "revoked") options.onRevoked?.(topic, partitions);
    if (said.what === "assigned") void options.onAssigned?.(topic, partitions);
    if (said.what !== "revoking") return;
    const released = (): void => {
      this.#ask({ do: "released", member: said.to }).catch(() => undefined); // it finds out
    };
    void (options.onRevoking?.(topic, partitions) ?? Promise.resolve()).then(released);
  }
}

/** What cannot be read is not ours to judge; a sound adapter gets none. */
function parse(line: string): Answer | Push | undefined {
  try {
    const said: unknown = JSON.parse(line);
    // A document is written by the plain server; a piece of one may be a number.
    return typeof said === "object" && said !== null ? (said as Answer | Push) : undefined;
  } catch {
    return undefined;
  }
}

function indeterminate(why: string): ShopError {
  return new ShopError("INDETERMINATE", why, "later");
}
