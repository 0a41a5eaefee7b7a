/**
 * What a conformance case works with: a broker, its history, and ways to wait without sleeping.
 *
 * Every delivery is recorded as it came and nothing is de-duplicated before the verdict. Waiting
 * is always for something to happen, within a generous deadline; a case never sleeps to show that
 * nothing happens, it lets something else happen that would have come later.
 */

import { expect } from "bun:test";

import type { Environment } from "../../runtime/environment.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Consumer } from "../delivery/consumer.ts";
import type { ConsumerEvent } from "../delivery/consumer-event.ts";
import type { DeliveryPolicy } from "../delivery/delivery-policy.ts";
import type { Handler, HandleOne } from "../delivery/outcome.ts";
import type { Broker, Delivery, Outgoing, SettleResult, Subscription } from "./broker.ts";
import type { MemberProcess, MemberSetup } from "../testing/member-process.fixture.ts";
import type { Network } from "../testing/tcp-proxy.fixture.ts";
import type { Verdict } from "./total-queue.suite.ts";

import { assert, isShopError } from "../../runtime/errors.ts";
import { encodeFrame, framePayload } from "../../runtime/frames/frame.ts";
import { slotOf } from "../../runtime/frames/murmur2.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { DELIVERY_POLICY } from "../delivery/delivery-policy.ts";
import { ACK } from "../delivery/outcome.ts";
import { totalQueue } from "./total-queue.suite.ts";

/** How long `eventually` waits, in the environment's time. */
const PATIENCE_MS = 20_000;
const POLL_MS = 5;
/** A server on a busy machine takes its time to come back. */
const RESTART_MS = 180_000;
const TEST_TYPE = 900;

/** Long leases, so that a slow machine takes nothing away, and short retries. */
export const TEST_POLICY: DeliveryPolicy = {
  ...DELIVERY_POLICY,
  retry: { attemptsMax: 5, delayMinMs: 20, delayMaxMs: 80, jitter: 0 },
  leaseMs: 120_000,
};

export interface Setup {
  readonly topics: readonly string[];
  readonly partitions: number;
}

/** What an adapter brings along. What it lacks, the cases that need it are skipped for. */
export interface BrokerHooks {
  readonly environment: Environment;
  /** Lets time pass: a virtual clock is advanced, a real one waited for. */
  pass(durationMs: number): Promise<void>;
  /** A broker without any data. */
  start(setup: Setup): Promise<Broker>;
  /** The case is over: close what is open and remove the data. */
  stop(): Promise<void>;
  /** Ends the broker, in good order or as `kill -9` would, and reopens it on the same data. */
  restart?(kind: "clean" | "kill"): Promise<Broker>;
  /** The member is gone without closing. */
  crashMember?(broker: Broker, subscription: Subscription): Promise<void> | void;
  diskFull?(on: boolean): Promise<void> | void;
  ioFault?(on: boolean): Promise<void> | void;
  /** Frames are stored and their confirmations lost. */
  loseConfirms?(on: boolean): Promise<void> | void;
  jumpWallClock?(byMs: number): void;
  /**
   * What follows is for brokers that are servers of their own. `actors/testing/` has all of it
   * ready made: an adapter that runs `testRemoteBroker` brings these hooks without writing any.
   */
  /** The server goes, stays away for `downMs`, and is back when it resolves; the adapter lives. */
  bounce?(kind: "clean" | "kill", downMs: number): Promise<void>;
  /** The server is frozen for so long (SIGSTOP), and goes on when this resolves. */
  pauseServer?(durationMs: number): Promise<void>;
  /** Stands between the adapter and its server; faults on it last until `heal`. */
  readonly network?: Network;
  /** Starts another process that joins with the same adapter on the same server. */
  memberProcess?(setup: MemberSetup): Promise<MemberProcess>;
  /** A `publish` that the server does not answer has settled after so long, with some margin. */
  readonly publishTimeoutMs?: number;
  /** A member that the server does not hear from has lost its partitions after so long. */
  readonly sessionMs?: number;
  /** How long the suite waits for anything; absent: enough for a broker in this process. */
  readonly patienceMs?: number;
}

export interface FrameOptions {
  readonly topic?: string;
  readonly key?: string;
  readonly type?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly payload?: Uint8Array;
  readonly deadlineMs?: number;
}

export interface ProbeOptions {
  readonly group?: string;
  readonly topics?: readonly string[];
  readonly from?: "earliest" | "latest";
  readonly creditFrames?: number;
  readonly creditBytes?: number;
  readonly leaseMs?: number;
  readonly partitions?: readonly number[];
  readonly types?: readonly number[];
  /** Acknowledge at once what comes. */
  readonly acks?: boolean;
}

export interface ConsumeOptions {
  readonly broker?: Pick<Broker, "subscribe">;
  readonly group?: string;
  readonly topics?: readonly string[];
  readonly concurrencyMax?: number;
  readonly policy?: Partial<DeliveryPolicy>;
  readonly handle?: HandleOne<string>;
  readonly handler?: Handler<string>;
  /** Throws for a body that is not fit to be handled. */
  readonly checkBody?: (body: string) => void;
}

/** A bare member of a group, which keeps what it gets. */
export interface Probe {
  readonly subscription: Subscription;
  readonly deliveries: Delivery[];
  /** When each of them came, by the monotonic clock. */
  readonly atMs: number[];
  readonly revoked: number[];
  ids(): string[];
  find(id: string): Delivery;
  ack(...ids: string[]): Promise<readonly SettleResult[]>;
}

/** A consumer, and what its handler was given: `id#attempt`, in order. */
export interface Probed {
  readonly consumer: Consumer;
  readonly calls: { readonly id: string; readonly key: string; readonly attempt: number }[];
  readonly events: ConsumerEvent[];
  ids(): string[];
}

/** What a case cannot do without: an ability of the adapter, or a hook to it. */
export type Need =
  | "confirmIsDurable"
  | "durablePostpone"
  | "filtersTypes"
  | "leasesMove"
  | "persistent"
  | "replay"
  | "crashMember"
  | "diskFull"
  | "ioFault"
  | "bounce"
  | "jumpWallClock"
  | "loseConfirms"
  | "memberProcess"
  | "network"
  | "pauseServer"
  | "restart";

export interface BrokerCase {
  /** Its number in the conformance list, and what must hold, as a sentence. */
  readonly name: string;
  readonly needs?: readonly Need[];
  readonly run: (bench: Bench) => Promise<void>;
}

export class Bench {
  readonly hooks: BrokerHooks;
  readonly environment: Environment;
  readonly attempted: string[] = [];
  readonly acked: string[] = [];
  readonly delivered: string[] = [];
  setup: Setup = { topics: ["t"], partitions: 8 };
  #broker: Broker | undefined;
  #isRestarting = false;

  constructor(hooks: BrokerHooks) {
    this.hooks = hooks;
    this.environment = hooks.environment;
  }

  get broker(): Broker {
    assert(this.#broker !== undefined, "the case has not started its broker");
    return this.#broker;
  }

  /** For what happens at once: in this process in a moment, over a network somewhat later. */
  get promptMs(): number {
    return this.isRemote ? 10_000 : 1_000;
  }

  /** The broker is a server: what happens to it takes the time of a process and a network. */
  get isRemote(): boolean {
    return this.hooks.patienceMs !== undefined;
  }

  get topic(): string {
    const [first] = this.setup.topics;
    assert(first !== undefined, "a case has at least one topic");
    return first;
  }

  async start(setup: Partial<Setup> = {}): Promise<void> {
    this.setup = { ...this.setup, ...setup };
    this.#broker = await this.within(this.hooks.start(this.setup));
  }

  async restart(kind: "clean" | "kill"): Promise<void> {
    const { restart } = this.hooks;
    assert(restart !== undefined, "the case needs `restart` and does not say so");
    this.#isRestarting = true;
    try {
      this.#broker = await this.within(restart(kind), this.isRemote ? RESTART_MS : undefined);
    } finally {
      this.#isRestarting = false;
    }
  }

  /** A frame whose payload is its id; `key` decides its partition. */
  frame(id: string, options: FrameOptions = {}): Outgoing {
    const key = options.key ?? id;
    const frame = encodeFrame({
      type: options.type ?? TEST_TYPE,
      slot: slotOf(key, this.setup.partitions),
      key,
      payload: options.payload ?? new TextEncoder().encode(id),
      id: this.environment.newId(),
      timeMs: this.environment.nowMs(),
      ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
      ...(options.headers === undefined ? {} : { headers: options.headers }),
    });
    return { topic: options.topic ?? this.topic, frame };
  }

  /** Publishes one frame per id, each on its own, and waits for all. */
  async publish(ids: readonly string[], options: FrameOptions = {}): Promise<void> {
    await this.within(Promise.all(ids.map((id) => this.send(id, this.frame(id, options)))));
  }

  /** Publishes one frame and keeps the history: attempted now, acked once confirmed. */
  async send(id: string, outgoing: Outgoing): Promise<void> {
    this.attempted.push(id);
    await this.broker.publish([outgoing]);
    this.acked.push(id);
  }

  /**
   * A publisher that was refused, or cannot tell, sends the same frame again; to the next broker,
   * when the one it had was closed for a restart.
   */
  async sendUntilConfirmed(id: string, outgoing = this.frame(id)): Promise<void> {
    this.attempted.push(id);
    for (;;) {
      const { broker } = this;
      try {
        await broker.publish([outgoing]);
        break;
      } catch (error) {
        const isReplaced = this.#isRestarting || broker !== this.#broker;
        const isPassing = isReplaced && isShopError(error, "CLOSED");
        if (!isShopError(error) || (error.retry === "never" && !isPassing)) throw error;
        await this.pause(10);
      }
    }
    this.acked.push(id);
  }

  /** A pause that passes while the case goes on waiting elsewhere. */
  pause(durationMs: number): Promise<void> {
    return new Promise((resolve) => void this.environment.startTimer(durationMs, resolve));
  }

  async probe(options: ProbeOptions = {}): Promise<Probe> {
    const deliveries: Delivery[] = [];
    const atMs: number[] = [];
    const revoked: number[] = [];
    const find = (id: string): Delivery => {
      const found = deliveries.findLast((delivery) => idOf(delivery) === id);
      assert(found !== undefined, `${id} was not delivered here`);
      return found;
    };
    const member: { subscription?: Subscription } = {}; // deliveries may come before it stands
    const early: Delivery[] = [];
    const settle = (batch: readonly Delivery[]): void => {
      const { subscription: joined } = member;
      if (joined === undefined) early.push(...batch);
      // A refused acknowledgement shows as a redelivery, which the case sees.
      else joined.ack(batch).catch(() => undefined);
    };
    const subscription = await this.within(
      this.broker.subscribe({
        group: options.group ?? "g",
        topics: options.topics ?? this.setup.topics,
        from: options.from ?? "earliest",
        creditFrames: options.creditFrames ?? TEST_POLICY.creditFrames,
        creditBytes: options.creditBytes ?? TEST_POLICY.creditBytes,
        leaseMs: options.leaseMs ?? TEST_POLICY.leaseMs,
        ...(options.partitions === undefined ? {} : { partitions: options.partitions }),
        ...(options.types === undefined ? {} : { types: options.types }),
        onDeliveries: (batch) => {
          deliveries.push(...batch);
          atMs.push(...batch.map(() => this.environment.monotonicMs()));
          this.delivered.push(...batch.map(idOf));
          if (options.acks === true) settle(batch);
        },
        onRevoked: (_topic, partitions) => void revoked.push(...partitions),
      }),
    );
    member.subscription = subscription;
    if (early.length > 0) settle(early.splice(0));
    return {
      subscription,
      deliveries,
      atMs,
      revoked,
      ids: () => deliveries.map(idOf),
      find,
      ack: (...ids) => this.within(subscription.ack(ids.map(find))),
    };
  }

  /** A consumer whose handler acknowledges, unless the case brings its own. */
  async consume(options: ConsumeOptions = {}): Promise<Probed> {
    const calls: Probed["calls"] = [];
    const events: ConsumerEvent[] = [];
    const handle: HandleOne<string> = (message, signal) => {
      const { frame, body, attempt } = message;
      calls.push({ id: body, key: frame.key, attempt });
      this.delivered.push(body);
      return options.handle === undefined ? Promise.resolve(ACK) : options.handle(message, signal);
    };
    const concurrencyMax = options.concurrencyMax ?? 16;
    const consumer = await this.within(
      startConsumer({
        broker: options.broker ?? this.broker,
        environment: this.environment,
        group: options.group ?? "g",
        topics: options.topics ?? this.setup.topics,
        decode: (frame: Frame) => {
          const body = new TextDecoder().decode(frame.payload);
          options.checkBody?.(body);
          return body;
        },
        handler: options.handler ?? { kind: "single", concurrencyMax, handle },
        policy: { ...TEST_POLICY, ...options.policy },
        onEvent: (event) => void events.push(event),
      }),
    );
    return { consumer, calls, events, ids: () => calls.map(({ id }) => id) };
  }

  /** Waits until `holds`; fails naming `what` when it never does. */
  async eventually(
    what: string,
    holds: () => boolean,
    patienceMs = this.hooks.patienceMs ?? PATIENCE_MS,
  ): Promise<void> {
    const startMs = this.environment.monotonicMs();
    while (!holds()) {
      const waitedMs = this.environment.monotonicMs() - startMs;
      assert(waitedMs < patienceMs, `waited ${patienceMs} ms in vain until ${what}`);
      await this.hooks.pass(POLL_MS);
    }
  }

  /** Does `act` until `holds` after it; fails naming `what` when it never does. */
  async eventuallyAfter(
    what: string,
    holds: () => boolean,
    act: () => Promise<void>,
    patienceMs = this.hooks.patienceMs ?? PATIENCE_MS,
  ): Promise<void> {
    const startMs = this.environment.monotonicMs();
    for (await act(); !holds(); await act()) {
      const waitedMs = this.environment.monotonicMs() - startMs;
      assert(waitedMs < patienceMs, `tried ${patienceMs} ms in vain until ${what}`);
      await this.hooks.pass(POLL_MS);
    }
  }

  /** Lets time pass until `promise` settles, and answers what it does. */
  async within<Value>(promise: Promise<Value>, patienceMs?: number): Promise<Value> {
    let settled = false;
    const done = (): void => void (settled = true);
    promise.then(done, done);
    await this.eventually("a promise settles", () => settled, patienceMs);
    return promise;
  }

  /** What `act` fails with, thrown or rejected; its error code, or what it answered instead. */
  async refusal(act: () => Promise<unknown>): Promise<string> {
    try {
      return `answered ${String(await this.within(Promise.try(act)))}`;
    } catch (error) {
      return isShopError(error) ? error.code : String(error);
    }
  }

  /** The verdict on the history so far; the case has seen to it that nothing is left inside. */
  verdict(): Verdict {
    const { attempted, acked, delivered } = this;
    return totalQueue({ attempted, acked, delivered, drained: true });
  }

  /** Nothing lost, nothing from nowhere. */
  expectValid(): Verdict {
    const verdict = this.verdict();
    expect(verdict.lost).toEqual([]);
    expect(verdict.unexpected).toEqual([]);
    return verdict;
  }

  /** Waits until every confirmed id was delivered. */
  async drained(what = "everything confirmed was delivered"): Promise<void> {
    await this.eventually(what, () => {
      const enough = this.delivered.length >= this.acked.length; // cheap, and asked often
      return enough && this.verdict().lost.length === 0;
    });
  }
}

/** The payload, which for the frames of a case is the id. */
export function idOf(delivery: { readonly bytes: Uint8Array }): string {
  return new TextDecoder().decode(framePayload(delivery.bytes));
}

/** `p<producer>-1` to `p<producer>-<count>`. */
export function idsOf(producer: number | string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `p${producer}-${index + 1}`);
}

export function sorted(values: Iterable<string>): string[] {
  return [...values].toSorted();
}
