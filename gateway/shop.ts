/**
 * The whole shop in one process: threads, rings, supervision tree, doors.
 *
 *     root (one_for_all, no restart: without its journal nothing may be acknowledged)
 *     ├─ journal           thread 1
 *     ├─ all-views         one_for_one, restarted for ever
 *     │  └─ views          the last thread
 *     ├─ shards            one_for_one, restarted
 *     │  ├─ shard-0        thread 2
 *     │  └─ …
 *     └─ http              thread 0, this one
 *
 * Stopping goes the other way: no new requests, then the shards finish what is in flight, the views
 * take what that left in the log, and the journal commits the last of it and closes.
 */

import type { Logger } from "@logtape/logtape";
import type { JournalGone, ShardThreadData } from "../actors/shard-main.ts";
import type { Sabotage, SabotageOrder } from "../actors/sabotage.ts";
import type {
  JournalThreadData,
  JournalTold,
  ThreadGone,
} from "../actors/stores/journal-runner.ts";
import type { Environment } from "../runtime/environment.ts";
import type { ChildSpec } from "../runtime/supervision/child.ts";
import type { Supervisor, SupervisorEvent } from "../runtime/supervision/supervisor.ts";
import type { RunningThread } from "../runtime/threads/thread-child.ts";
import type { ServersInUse } from "../actors/grounds/inspect-servers.ts";
import type { MeshMemory } from "../runtime/threads/mesh.ts";
import type { ShopConfig } from "./config/config-schema.ts";
import type { SystemsOfShards } from "./grounds.ts";

import { createChangePage, noteEveryChange } from "../actors/change-page.ts";
import { SHOP_LAYOUT } from "../actors/shop-metrics.ts";
import { ShopError } from "../runtime/errors.ts";
import { superviseRoot } from "../runtime/supervision/supervision-tree.ts";
import { createCounterPage } from "../runtime/threads/counter-page.ts";
import { createHeartbeats } from "../runtime/threads/heartbeat.ts";
import { createMeshMemory } from "../runtime/threads/mesh.ts";
import { threadChild } from "../runtime/threads/thread-child.ts";
import { resolveShards } from "./config/config-schema.ts";
import { resolveSystems } from "./config/systems.ts";
import { startFront } from "./front.ts";
import { redisMemoryOf, serversOf, systemsOfShards } from "./grounds.ts";
import { shardsChild } from "./shards-child.ts";
import {
  checkSettings,
  FIRST_SHARD,
  GATEWAY,
  JOURNAL,
  linksOf,
  logTopicsOf,
  readersOf,
  settingsOf,
  viewsSettingsOf,
  viewsThread,
} from "./shop-layout.ts";
import { ShopReports } from "./shop-reports.ts";
import { feedsOf, viewsChild } from "./views-child.ts";

/** Bounded by the credits of the groups, see `DELIVERY_POLICY`, not by this. */
const DELIVERY_BACKLOG_BYTES = 256 * 1024 * 1024;
const READY_WITHIN_MS = 30_000;
/** Queues and topics of fresh servers are made within this time as well. */
const READY_ON_SERVERS_MS = 90_000;
/** The journal waits for the disk, which may take long without being lost. */
const JOURNAL_STALL_MS = 30_000;
const STOP_GRACE_MS = 500;
/** Of the time of an orderly stop; they stop in this order. */
const HTTP_STOP_SHARE = 0.35;
const SHARDS_STOP_SHARE = 0.35;
const VIEWS_STOP_SHARE = 0.15;
const JOURNAL_STOP_SHARE = 0.15;
export interface ShopOptions {
  readonly config: ShopConfig;
  readonly environment: Environment;
  readonly cores: number;
  readonly log: Logger;
  /** Entry of the views' thread; a test brings views of its own. */
  readonly viewsEntry?: URL;
  /** The tree gave up: everything in it has ended. */
  readonly onGiveUp: (code: number) => void;
}

export interface Shop {
  readonly url: string;
  readonly shards: number;
  readonly stockLoaded: boolean;
  /** Resolves with the parts that had to be cut off because they missed their deadline. */
  stop(): Promise<readonly string[]>;
}

/** Shared by all threads of one shop. */
interface Ground {
  readonly memory: MeshMemory;
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly orderChanges: SharedArrayBuffer;
  readonly stockChanges: SharedArrayBuffer;
}

/**
 * Starts everything; resolves when the first request can be served. Rejects with the error of the
 * part that could not start, everything else stopped again.
 */
export async function startShop(options: ShopOptions): Promise<Shop> {
  const { config, environment, cores, onGiveUp } = options;
  checkSettings(config);
  const shards = resolveShards(config, cores);
  const process = config.instance === "" ? environment.newId() : config.instance;
  const resolved = resolveSystems(config);
  await refuseUnusable(serversOf(config, resolved), environment);
  const systems = systemsOfShards(config, resolved, shards, process);
  const hasJournal = systems.kind === "embedded";
  const hasViews = viewsSettingsOf(config).views.length > 0;
  const threads = viewsThread(shards) + (hasViews ? 1 : 0);
  const ground: Ground = {
    memory: createMeshMemory(
      `shopstream-${environment.newId()}`,
      linksOf(shards, { hasJournal, hasViews }),
    ),
    heartbeats: createHeartbeats(threads),
    counters: createCounterPage(SHOP_LAYOUT, threads),
    orderChanges: createChangePage(),
    stockChanges: createChangePage(),
  };
  const crew = new Crew(options, ground, shards, systems);
  const onEvent = (event: SupervisorEvent): void => crew.heard(event);
  const root = await superviseRoot(
    {
      id: "root",
      strategy: "one_for_all",
      intensity: 0,
      periodMs: 1_000,
      children: crew.children(),
    },
    environment,
    onGiveUp,
    { onEvent },
  );
  return {
    url: crew.url,
    shards,
    stockLoaded: crew.stockLoaded,
    async stop() {
      await root.stop();
      return crew.reports.killed;
    },
  };
}

/** Before any thread: threads open servers one after another, and whoever starts a shop waits. */
async function refuseUnusable(servers: ServersInUse | undefined, environment: Environment) {
  if (servers === undefined) return;
  // The clients of servers are no part of a shop that uses none.
  const { inspectServers } = await import("../actors/grounds/inspect-servers.ts");
  await inspectServers(servers, environment);
}

/** Makes the children of the tree and knows those that run. */
class Crew {
  shards: Supervisor | undefined;
  viewsSupervisor: Supervisor | undefined;
  url = "";
  readonly reports: ShopReports;
  stockLoaded = false;
  readonly #options: ShopOptions;
  readonly #ground: Ground;
  readonly #shardCount: number;
  readonly #systems: SystemsOfShards;
  readonly #running = new Map<number, RunningThread>();
  readonly #resets = new Map<number, () => void>();
  #wakeFront: () => void = () => undefined;
  #abandonFront: () => void = () => undefined;

  constructor(options: ShopOptions, ground: Ground, shardCount: number, systems: SystemsOfShards) {
    this.#options = options;
    this.#systems = systems;
    this.#ground = ground;
    this.#shardCount = shardCount;
    this.reports = new ShopReports(options.environment, options.log, ground.counters);
  }

  heard(event: SupervisorEvent): void {
    this.reports.heard(event);
    if (event.kind === "child_exited" && event.childId === "journal") this.#abandon();
  }

  /** In the order in which they start; they stop the other way. */
  children(): readonly ChildSpec[] {
    const journal = this.#systems.kind === "embedded" ? [this.journal()] : [];
    return [...journal, ...this.views(), this.allShards(), this.front()];
  }

  journal(): ChildSpec {
    const { config, environment } = this.#options;
    const { retention } = config;
    return threadChild({
      id: "journal",
      restart: "permanent",
      environment,
      entry: new URL("../actors/stores/journal-thread.ts", import.meta.url),
      thread: JOURNAL,
      heartbeats: this.#ground.heartbeats,
      workerData: (): JournalThreadData => ({
        ...this.#ground,
        thread: JOURNAL,
        clients: [...this.#shardThreads(), ...this.#viewsThreads()],
        feeds: feedsOf(viewsSettingsOf(config)),
        backlogBytesMax: DELIVERY_BACKLOG_BYTES,
        journal: {
          directory: config.data,
          slots: config.slots,
          topics: logTopicsOf(config),
          groups: readersOf(config),
          onDamage: config.damage,
          retention: {
            logAgeMs: retention.ageMs,
            logBytesMax: retention.logBytesMax,
            inboxAgeMs: retention.inboxAgeMs,
            idempotencyAgeMs: retention.idempotencyAgeMs,
            fraudAgeMs: retention.fraudAgeMs,
            deadLettersMax: retention.deadLettersMax,
          },
        },
      }),
      readyWithinMs: READY_WITHIN_MS,
      stallMs: JOURNAL_STALL_MS,
      ...this.#deadlines(JOURNAL_STOP_SHARE),
      onStarted: (thread) => void this.#running.set(JOURNAL, thread),
      onMessage: (body) => {
        // The journal's thread tells nothing else.
        const told = body as JournalTold;
        if (told.kind === "thread_reset") this.#resets.get(told.thread)?.();
        else this.reports.heardJournal(told);
      },
    });
  }

  /** None when no view is configured. */
  views(): readonly ChildSpec[] {
    const { config, environment, viewsEntry } = this.#options;
    return this.#viewsThreads().map((thread) =>
      viewsChild({
        entry: viewsEntry ?? new URL("../actors/views/views-main.ts", import.meta.url),
        environment,
        data: {
          memory: this.#ground.memory,
          heartbeats: this.#ground.heartbeats,
          counters: this.#ground.counters,
          thread,
          directory: config.data,
          ground: this.#systems.views(),
          settings: viewsSettingsOf(config),
        },
        before: (incarnation) => (incarnation === 0 ? Promise.resolve() : this.#reset(thread)),
        readyWithinMs: this.#readyWithinMs(),
        ...this.#deadlines(VIEWS_STOP_SHARE),
        onStarted: (running) => void this.#running.set(thread, running),
        onTold: (told) => this.reports.told("views", told),
        onEvent: (event) => this.heard(event),
        onSupervisor: (supervisor) => (this.viewsSupervisor = supervisor),
      }),
    );
  }

  allShards(): ChildSpec {
    const { environment } = this.#options;
    const shards = Array.from({ length: this.#shardCount }, (_, index) => this.#shard(index));
    return shardsChild({
      environment,
      shards,
      before: ({ thread }, incarnation) =>
        incarnation === 0 ? Promise.resolve() : this.#reset(thread),
      readyWithinMs: this.#readyWithinMs(),
      ...this.#deadlines(this.#shardsStopShare()),
      onStarted: ({ thread }, running) => void this.#running.set(thread, running),
      onTold: (shard, told) => this.reports.told(shard, told),
      onEvent: (event) => this.heard(event),
      onSupervisor: (supervisor) => (this.shards = supervisor),
    });
  }

  #shard(index: number): ShardThreadData {
    const { config } = this.#options;
    const { audience, ground, partitions } = this.#systems;
    const own = partitions(index);
    const redis = redisMemoryOf(config);
    return {
      ...this.#ground,
      thread: FIRST_SHARD + index,
      gateway: GATEWAY,
      backlogBytesMax: config.limits.queueBytesMax,
      ground: ground(index),
      ...(own === undefined ? {} : { partitions: own }),
      settings: settingsOf(config, index, this.#shardCount, audience),
      ...(redis === undefined ? {} : { redis }),
    };
  }

  front(): ChildSpec {
    const { config, environment, log } = this.#options;
    return {
      id: "http",
      restart: "permanent",
      shutdown: Math.floor(config.shutdownMs * HTTP_STOP_SHARE),
      start: async () => {
        const front = await startFront({
          ...this.#ground,
          config,
          environment,
          log,
          me: GATEWAY,
          shardThreads: this.#shardThreads(),
          shardCounts: () => this.shards?.counts() ?? { specs: this.#shardCount, active: 0 },
          viewsRunning: () => this.viewsSupervisor?.counts().active === 1,
          onConnection: (server, state) => this.reports.connection("http", server, state),
          onSabotage: (index, how) => this.#sabotage(index, how),
        });
        this.reports.tellHealth(front.health);
        this.#wakeFront = front.wake;
        this.#abandonFront = front.abandon;
        this.url = front.url;
        this.stockLoaded = front.stockLoaded;
        return front;
      },
    };
  }

  /** Without the journal no answer can come: nobody waits for one while the tree ends. */
  #abandon(): void {
    this.#abandonFront();
    const gone: JournalGone = { kind: "journal_gone" };
    for (const [thread, running] of this.#running) if (thread !== JOURNAL) running.tell(gone);
  }

  #shardThreads(): readonly number[] {
    return Array.from({ length: this.#shardCount }, (_, index) => FIRST_SHARD + index);
  }

  #viewsThreads(): readonly number[] {
    const { views } = viewsSettingsOf(this.#options.config);
    return views.length === 0 ? [] : [viewsThread(this.#shardCount)];
  }

  /** Leaving groups and servers takes longer, and there is no journal to stop after it. */
  #shardsStopShare(): number {
    const hasJournal = this.#systems.kind === "embedded";
    return hasJournal ? SHARDS_STOP_SHARE : SHARDS_STOP_SHARE + JOURNAL_STOP_SHARE;
  }

  #readyWithinMs(): number {
    return this.#systems.kind === "embedded" ? READY_WITHIN_MS : READY_ON_SERVERS_MS;
  }

  /** A share of the time of an orderly stop. */
  #deadlines(share: number): { readonly stopWithinMs: number; readonly stopGraceMs: number } {
    const mineMs = this.#options.config.shutdownMs * share;
    const stopGraceMs = Math.min(STOP_GRACE_MS, Math.floor(mineMs / 4));
    return { stopWithinMs: Math.floor(mineMs) - stopGraceMs, stopGraceMs };
  }

  /** Has the journal, if any, forget the dead thread before its successor joins the mesh. */
  async #reset(thread: number): Promise<void> {
    if (this.#systems.kind === "embedded") await this.#forgetInJournal(thread);
    // The dead thread may have published its last answers without ringing for them, and committed
    // its last changes without telling.
    this.#wakeFront();
    noteEveryChange(new Int32Array(this.#ground.orderChanges));
    noteEveryChange(new Int32Array(this.#ground.stockChanges));
  }

  async #forgetInJournal(thread: number): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#resets.set(thread, done.resolve);
    const gone: ThreadGone = { kind: "thread_gone", thread };
    this.#running.get(JOURNAL)?.tell(gone);
    await done.promise;
    this.#resets.delete(thread);
  }

  #sabotage(target: number | "journal" | "views", how: Sabotage): void {
    const index =
      target === "journal"
        ? JOURNAL
        : target === "views"
          ? viewsThread(this.#shardCount)
          : target < this.#shardCount && FIRST_SHARD + target;
    const thread = index === false ? undefined : this.#running.get(index);
    if (thread === undefined) {
      throw new ShopError("BAD_MESSAGE", `there is no shard ${target}`, "never");
    }
    const order: SabotageOrder = { kind: "sabotage", how };
    thread.tell(order);
  }
}
