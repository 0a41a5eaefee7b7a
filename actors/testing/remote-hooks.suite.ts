/**
 * Everything the conformance suite can do to a broker that is a server, made once for all adapters.
 *
 * An adapter brings a server that can be killed and a module with `openBroker`; in its test:
 *
 *     testRemoteBroker("redis", REDIS_CAPABILITIES, {
 *       service: "redis",
 *       missing: whyMissing("redis"),
 *       startServer: () => startTestServer("redis"),
 *       rig: new URL("./redis-rig.fixture.ts", import.meta.url),
 *     });
 *
 * One server serves the whole file; each case has names of its own on it. The adapter talks to it
 * through a proxy all the time, which is where the network breaks.
 */

import { afterAll, describe } from "bun:test";

import type { Environment } from "../../runtime/environment.ts";
import type { Broker, BrokerCapabilities } from "../brokers/broker.ts";
import type { BrokerHooks, Setup } from "../brokers/broker-bench.suite.ts";
import type { MemberProcess, MemberSetup } from "./member-process.fixture.ts";
import type { RemoteOpen } from "./remote-rig.fixture.ts";

import { assert } from "../../runtime/errors.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { testBroker } from "../brokers/broker.suite.ts";
import { startMemberProcess } from "./member-process.fixture.ts";
import { loadRig } from "./remote-rig.fixture.ts";
import { TcpProxy } from "./tcp-proxy.fixture.ts";

const PUBLISH_TIMEOUT_MS = 6_000;
/** Kafka's servers refuse less. */
const SESSION_MS = 6_000;
const PATIENCE_MS = 60_000;
/** A broker whose server is gone may need its time to close, but not longer. */
const CLOSE_WITHIN_MS = 15_000;
/** The one group of the suite that may come after what it reads, where there is no replay. */
const GROUPS = ["g"];

/** What is needed of a server; `TestServer` of `deploy/services` has it. */
export interface RemoteServer {
  /** `127.0.0.1:port`. */
  readonly address: string;
  kill(): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
  pause(): void;
  resume(): void;
  dispose(): Promise<void>;
}

export interface RemoteOptions {
  /** Called once, for all cases. A server that tells clients where it is names `advertised`. */
  readonly startServer: (advertised: string) => Promise<RemoteServer>;
  /** A module that exports `openBroker: OpenBroker`; loaded here and in member processes. */
  readonly rig: URL;
  /** Makes the server refuse to store, and lets it again. */
  readonly serverFull?: (server: RemoteServer, on: boolean) => Promise<void>;
  readonly publishTimeoutMs?: number;
  readonly sessionMs?: number;
  readonly patienceMs?: number;
}

/** The suite on a real server, or a printed reason why not. */
export function testRemoteBroker(
  name: string,
  capabilities: BrokerCapabilities,
  options: RemoteOptions & {
    /** As `SHOPSTREAM_REQUIRE` names it. */
    readonly service: string;
    /** Why it cannot be started here; undefined when it can. */
    readonly missing: string | undefined;
  },
): void {
  const { service, missing } = options;
  describe.skipIf(!requireOrSkip(service, missing === undefined, missing ?? ""))(name, () => {
    const { hooks, dispose } = remoteHooks(options);
    afterAll(dispose, PATIENCE_MS);
    testBroker(name, capabilities, hooks);
  });
}

/** For tests beside the suite: hooks of one server, started by the first that is used. */
export function remoteHooks(options: RemoteOptions): {
  readonly hooks: () => RemoteHooks;
  readonly dispose: () => Promise<void>;
} {
  let starting: Promise<World> | undefined;
  const world = (): Promise<World> => (starting ??= startWorld(options));
  return {
    hooks: () => new RemoteHooks(options, world),
    dispose: async () => {
      if (starting === undefined) return;
      const { server, proxy } = await starting;
      await proxy.close();
      await server.dispose();
    },
  };
}

/** What outlives a case. */
interface World {
  readonly server: RemoteServer;
  readonly proxy: TcpProxy;
  isServerUp: boolean;
}

async function startWorld({ startServer }: RemoteOptions): Promise<World> {
  const proxy = await TcpProxy.listen(systemEnvironment);
  const server = await startServer(proxy.address);
  proxy.forwardTo(server.address);
  return { server, proxy, isServerUp: true };
}

export class RemoteHooks implements BrokerHooks {
  readonly publishTimeoutMs: number;
  readonly sessionMs: number;
  readonly patienceMs: number;
  readonly #options: RemoteOptions;
  readonly #world: () => Promise<World>;
  #skewMs = 0;
  /** The system's, with a wall clock that can be moved. */
  readonly environment: Environment = {
    ...systemEnvironment,
    nowMs: () => systemEnvironment.nowMs() + this.#skewMs,
  };
  readonly #brokers: Broker[] = [];
  readonly #members: MemberProcess[] = [];
  #running: World | undefined;
  #open: RemoteOpen | undefined;
  #isFull = false;

  constructor(options: RemoteOptions, world: () => Promise<World>) {
    this.#options = options;
    this.#world = world;
    this.publishTimeoutMs = options.publishTimeoutMs ?? PUBLISH_TIMEOUT_MS;
    this.sessionMs = options.sessionMs ?? SESSION_MS;
    this.patienceMs = options.patienceMs ?? PATIENCE_MS;
    if (options.serverFull === undefined) return;
    this.diskFull = async (on) => {
      this.#isFull = on;
      await options.serverFull?.(this.#here.server, on);
    };
  }

  readonly diskFull?: (on: boolean) => Promise<void>;

  readonly network: BrokerHooks["network"] & object = {
    cut: () => this.#here.proxy.cut(),
    freeze: () => this.#here.proxy.freeze(),
    loseAnswers: () => this.#here.proxy.loseAnswers(),
    slow: (chunkBytes, latencyMs) => this.#here.proxy.slow(chunkBytes, latencyMs),
    heal: () => this.#here.proxy.heal(),
    stats: () => this.#here.proxy.stats(),
  };

  async pass(durationMs: number): Promise<void> {
    await Bun.sleep(durationMs);
  }

  async start(setup: Setup): Promise<Broker> {
    const world = (this.#running = await this.#world());
    if (!world.isServerUp) await this.#serverUp();
    this.#open = {
      topics: setup.topics,
      partitions: setup.partitions,
      groups: GROUPS,
      prefix: `c${systemEnvironment.newId().slice(-8)}.`,
      address: world.proxy.address,
      environment: this.environment,
      publishTimeoutMs: this.publishTimeoutMs,
      sessionMs: this.sessionMs,
    };
    return await this.#openBroker();
  }

  async stop(): Promise<void> {
    const world = this.#running;
    if (world === undefined) return;
    world.proxy.heal();
    await Promise.all(this.#members.splice(0).map((member) => member.kill()));
    if (!world.isServerUp) await this.#serverUp();
    if (this.#isFull) await this.diskFull?.(false);
    this.#skewMs = 0;
    await this.#closeBrokers();
  }

  // The suite takes these off the object, so they bring `this` along.

  /** The server and the process of the adapter end together, and both come back. */
  readonly restart = async (kind: "clean" | "kill"): Promise<Broker> => {
    if (kind === "clean") await this.#closeBrokers();
    await this.#serverDown(kind);
    if (kind === "kill") await this.#closeBrokers();
    await this.#serverUp();
    return await this.#openBroker();
  };

  readonly bounce = async (kind: "clean" | "kill", downMs: number): Promise<void> => {
    await this.#serverDown(kind);
    await this.pass(downMs);
    await this.#serverUp();
  };

  readonly pauseServer = async (durationMs: number): Promise<void> => {
    const { server } = this.#here;
    server.pause();
    try {
      await this.pass(durationMs);
    } finally {
      server.resume();
    }
  };

  readonly loseConfirms = (on: boolean): void => {
    if (on) this.network.loseAnswers();
    else this.network.heal();
  };

  readonly jumpWallClock = (byMs: number): void => void (this.#skewMs += byMs);

  readonly memberProcess = async (member: MemberSetup): Promise<MemberProcess> => {
    assert(this.#open !== undefined, "start comes first");
    const { environment: _, ...open } = this.#open;
    const order = { rig: this.#options.rig.href, open, member };
    const started = await startMemberProcess(systemEnvironment, order);
    this.#members.push(started);
    return started;
  };

  get #here(): World {
    assert(this.#running !== undefined, "start comes first");
    return this.#running;
  }

  async #openBroker(): Promise<Broker> {
    assert(this.#open !== undefined, "start comes first");
    const openBroker = await loadRig(this.#options.rig.href);
    const broker = await openBroker(this.#open);
    this.#brokers.push(broker);
    return broker;
  }

  /** Waits for each, but not for ever: what does not close shows in the cases about closing. */
  async #closeBrokers(): Promise<void> {
    const closing = this.#brokers.splice(0).map((broker) => broker.close().catch(() => undefined));
    await Promise.race([Promise.all(closing), this.pass(CLOSE_WITHIN_MS)]);
  }

  async #serverDown(kind: "clean" | "kill"): Promise<void> {
    const world = this.#here;
    world.isServerUp = false;
    await (kind === "kill" ? world.server.kill() : world.server.stop());
    world.proxy.cut();
  }

  async #serverUp(): Promise<void> {
    const world = this.#here;
    await world.server.start();
    world.proxy.forwardTo(world.server.address);
    world.isServerUp = true;
  }
}
