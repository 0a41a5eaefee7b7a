/**
 * A broker server of the simplest kind, in the test's own process: memory behind a socket.
 *
 * Its log survives its kill, its members are dropped when they are not heard from within the
 * session, and it gives each partition to one of them, all anew whenever one comes or goes. It is
 * there to judge the suite for remote brokers, and can be flawed on purpose.
 */

import type { Server, Socket } from "node:net";

import { createServer } from "node:net";

import type { Delivery, Subscription } from "../brokers/broker.ts";
import type { Answer, Flaw, JoinOptions, Push, Request } from "./plain-wire.fixture.ts";
import type { RemoteServer } from "./remote-hooks.suite.ts";

import { assert, isShopError } from "../../runtime/errors.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { MemoryBroker } from "../brokers/memory-broker.ts";
import { MemoryLog } from "../brokers/memory-log.ts";
import { encode } from "./plain-wire.fixture.ts";

const LOG_BYTES_MAX = 512 * 1_024 * 1_024;
const SESSION_MS = 3_000;
const RELEASE_WITHIN_MS = 5_000;
/** What a flawed server forgets. */
const FORGOTTEN = 200;

interface Member {
  readonly name: string;
  readonly connection: Connection;
  readonly options: JoinOptions;
  subscription: Subscription | undefined;
  partitions: readonly number[];
  released: () => void;
}

interface Connection {
  readonly socket: Socket;
  heardMs: number;
  rest: string;
}

export class PlainServer implements RemoteServer {
  readonly #flaw: Flaw;
  readonly #log: MemoryLog;
  readonly #partitions: number;
  readonly #members = new Map<string, Member>();
  readonly #connections = new Set<Connection>();
  /** Under which each partition was delivered last. */
  readonly #epochs = new Map<string, number>();
  #broker: MemoryBroker;
  #listener: Server | undefined;
  #port = 0;
  #isPaused = false;
  #delayed: (() => void)[] = [];
  #balancing: Promise<void> = Promise.resolve();
  #fresh: (() => void)[] = [];

  constructor(topics: readonly string[], partitions: number, flaw: Flaw = "none") {
    this.#flaw = flaw;
    this.#partitions = partitions;
    this.#log = new MemoryLog({
      topics,
      partitions,
      logBytesMax: LOG_BYTES_MAX,
      deadLetterBytesMax: LOG_BYTES_MAX,
    });
    this.#broker = this.#newBroker();
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    this.#broker = this.#newBroker();
    const listener = (this.#listener = createServer({ noDelay: true }));
    listener.on("connection", (socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      listener.once("error", reject);
      listener.listen(this.#port, "127.0.0.1", resolve);
    });
    const address = listener.address();
    assert(address !== null && typeof address === "object", "the server listens");
    this.#port = address.port;
    const watch = (): void => {
      if (this.#listener !== listener) return;
      this.#dropSilent();
      systemEnvironment.startTimer(SESSION_MS / 8, watch);
    };
    watch();
  }

  async kill(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    this.#members.clear();
    this.#broker.kill();
    this.#delayed = [];
    if (this.#flaw !== "forgets its last frames when it is killed") {
      for (const store of this.#fresh.splice(0)) store();
    }
    this.#fresh = [];
    for (const { socket } of this.#connections) socket.resetAndDestroy();
    this.#connections.clear();
    await new Promise<void>((resolve) => {
      if (listener === undefined) resolve();
      else listener.close(() => resolve());
    });
  }

  stop(): Promise<void> {
    return this.kill();
  }

  dispose(): Promise<void> {
    return this.kill();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    const nowMs = systemEnvironment.monotonicMs();
    for (const connection of this.#connections) connection.heardMs = nowMs;
    for (const act of this.#delayed.splice(0)) act();
  }

  #newBroker(): MemoryBroker {
    return new MemoryBroker({ environment: systemEnvironment, log: this.#log });
  }

  #accept(socket: Socket): void {
    const connection = { socket, heardMs: systemEnvironment.monotonicMs(), rest: "" };
    this.#connections.add(connection);
    socket.setEncoding("utf8");
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (this.#connections.delete(connection)) this.#drop(connection);
    });
    socket.on("data", (text: string) => {
      connection.heardMs = systemEnvironment.monotonicMs();
      const lines = (connection.rest + text).split("\n");
      connection.rest = lines.pop() ?? "";
      for (const line of lines) {
        // Written by the adapter, with this type.
        const request = JSON.parse(line) as Request & { readonly n: number };
        const act = (): void => void this.#serve(connection, request);
        if (this.#isPaused) this.#delayed.push(act);
        else act();
      }
    });
  }

  async #serve(connection: Connection, request: Request & { readonly n: number }): Promise<void> {
    const { n } = request;
    const broker = this.#broker;
    try {
      const value = await this.#answer(connection, request);
      if (broker === this.#broker) say(connection, { n, value: value ?? null });
    } catch (error) {
      if (!isShopError(error)) throw error;
      const { code, message, retry } = error;
      say(connection, { n, code, message, retry });
    }
  }

  async #answer(connection: Connection, request: Request): Promise<unknown> {
    switch (request.do) {
      case "ping":
        return null;
      case "publish":
        return await this.#publish(request.frames);
      case "letters": {
        const { topic, afterId, limit } = request;
        return (await this.#broker.deadLetters(topic, afterId, limit)).map(encode);
      }
      case "join":
        return await this.#join(connection, request.member, request.options);
      case "leave":
        this.#members.get(request.member)?.released();
        if (this.#members.has(request.member)) await this.#leave(request.member);
        return null;
      default:
        return await this.#ofMember(request);
    }
  }

  async #ofMember(
    request: Extract<Request, { readonly do: "ack" | "bury" | "pause" | "postpone" | "released" }>,
  ): Promise<unknown> {
    const member = this.#members.get(request.member);
    const subscription = member?.subscription;
    if (request.do === "released") return member?.released();
    if (request.do === "pause") return request.on ? subscription?.pause() : subscription?.resume();
    if (request.do === "ack") {
      if (subscription === undefined) return request.refs.map(() => "stale");
      const results = await subscription.ack(request.refs);
      if (this.#flaw === "settles for anybody" && results.includes("stale")) {
        for (const ref of request.refs) {
          const epoch = this.#epochs.get(`${ref.topic}/${ref.partition}`) ?? ref.epoch;
          this.#broker.acknowledge([{ ...ref, epoch }]);
        }
      }
      const isLiar = this.#flaw === "hands over without waiting";
      return isLiar ? results.map(() => "settled") : results;
    }
    if (subscription === undefined) return "stale";
    if (request.do === "bury") return await subscription.bury(request.ref, request.burial);
    return await subscription.postpone(request.ref, request.postponement);
  }

  async #publish(encoded: readonly { topic: string; frame: string }[]): Promise<void> {
    const frames = encoded.map(({ topic, frame }) => {
      return { topic, frame: Uint8Array.fromBase64(frame) };
    });
    if (this.#flaw !== "forgets its last frames when it is killed") {
      await this.#broker.publish(frames);
      return;
    }
    const broker = this.#broker;
    this.#fresh.push(() => void broker.publish(frames));
    if (this.#fresh.length > FORGOTTEN) this.#fresh.shift()?.();
  }

  async #join(connection: Connection, name: string, options: JoinOptions): Promise<void> {
    const former = this.#members.get(name);
    former?.released();
    await former?.subscription?.close(false);
    const released = (): void => undefined;
    const member = { name, connection, options, released, subscription: undefined, partitions: [] };
    this.#members.set(name, member);
    await this.#balance(options.group);
  }

  async #leave(name: string): Promise<void> {
    const member = this.#members.get(name);
    if (member === undefined) return;
    this.#members.delete(name);
    await member.subscription?.close(false);
    await this.#balance(member.options.group);
  }

  #drop(connection: Connection): void {
    for (const member of this.#members.values()) {
      if (member.connection !== connection) continue;
      member.released();
      void this.#leave(member.name);
    }
  }

  #dropSilent(): void {
    if (this.#isPaused) return;
    const limitMs = systemEnvironment.monotonicMs() - SESSION_MS;
    for (const connection of this.#connections) {
      if (connection.heardMs >= limitMs) continue;
      this.#connections.delete(connection);
      connection.socket.resetAndDestroy();
      this.#drop(connection);
    }
  }

  /** One after the other; all of the group give up what they have and get their share anew. */
  #balance(group: string): Promise<void> {
    const next = this.#balancing.then(() => this.#balanceNow(group));
    this.#balancing = next.catch(() => undefined); // it died under it
    return next;
  }

  async #balanceNow(group: string): Promise<void> {
    const crew = [...this.#members.values()].filter(({ options }) => options.group === group);
    await Promise.all(crew.map((member) => this.#release(member)));
    const present = crew.filter(({ name }) => this.#members.has(name));
    for (const [index, member] of present.entries()) {
      member.partitions = Array.from({ length: this.#partitions }, (_, at) => at).filter((at) => {
        const named = member.options.partitions;
        return named === undefined ? at % present.length === index : named.includes(at);
      });
      await this.#deliverTo(member);
    }
  }

  async #release(member: Member): Promise<void> {
    const { subscription, partitions } = member;
    if (subscription === undefined) return;
    subscription.pause();
    if (this.#flaw !== "hands over without waiting") {
      const done = new Promise<void>((resolve) => {
        member.released = resolve;
        systemEnvironment.startTimer(RELEASE_WITHIN_MS, resolve);
      });
      this.#tell(member, "revoking", partitions);
      await done;
    }
    member.subscription = undefined;
    await subscription.close(false);
    this.#tell(member, "revoked", partitions);
  }

  async #deliverTo(member: Member): Promise<void> {
    const { options, partitions, name, connection } = member;
    const isLoose = this.#flaw === "gives every partition to every member";
    const all = Array.from({ length: this.#partitions }, (_, at) => at);
    this.#tell(member, "assigned", isLoose ? all : partitions);
    member.subscription = await this.#broker.subscribe({
      ...options,
      group: isLoose ? `${options.group}/${name}` : options.group,
      partitions: isLoose ? all : partitions,
      onDeliveries: (deliveries) => {
        for (const { topic, partition, epoch } of deliveries) {
          this.#epochs.set(`${topic}/${partition}`, epoch);
        }
        const list = this.#flawed(deliveries).map(encode);
        say(connection, { to: name, what: "deliveries", list });
        if (this.#flaw === "settles what it delivers") this.#broker.acknowledge(deliveries);
      },
      onRevoked: (topic, lost) => {
        say(connection, { to: name, what: "revoked", topic, partitions: lost });
      },
    });
  }

  #flawed(deliveries: readonly Delivery[]): readonly Delivery[] {
    if (this.#flaw === "delivers backwards") return deliveries.toReversed();
    if (this.#flaw !== "garbles what it reads back") return deliveries;
    return deliveries.map((delivery) => {
      if (delivery.sequence % 50 !== 0) return delivery;
      const bytes = delivery.bytes.slice();
      bytes[20]! ^= 1; // `!`: a frame's header is longer
      return { ...delivery, bytes };
    });
  }

  #tell(member: Member, what: "assigned" | "revoked" | "revoking", partitions: readonly number[]) {
    for (const topic of member.options.topics) {
      say(member.connection, { to: member.name, what, topic, partitions });
    }
  }
}

function say({ socket }: Connection, line: Answer | Push): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(line)}\n`);
}
