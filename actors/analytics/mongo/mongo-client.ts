/**
 * The connection to MongoDB: checked when it is opened, watched while it is used, ended for good.
 *
 * Writes are acknowledged by a majority, with their journal; reads see only what a majority has,
 * so that nothing that was seen can go away. The driver reconnects by itself, for ever, and is
 * replaced when it does not. Refuses, within the time of the settings, an address at which no
 * usable server answers.
 */

import type { Db, MongoClientOptions, TopologyDescription } from "mongodb";

import { MongoClient } from "mongodb";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { ConnectionState } from "../../brokers/broker.ts";
import type { MongoSettings } from "./mongo-settings.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { isCertificateFault } from "../../../runtime/tls-fault.ts";
import { addressParts, unusable } from "./mongo-failure.ts";

/** MongoDB 4.4. */
export const WIRE_VERSION_MIN = 9;
/** Between two looks at whether the server is there; the driver looks sooner while it is not. */
const HEARTBEAT_MS = 2_000;

export interface MongoHooks {
  readonly onConnection?: (state: ConnectionState) => void;
}

export type MongoTimers = Pick<Environment, "startTimer">;

export interface MongoHandle {
  /** The present one: a connection that got stuck is replaced, and its database with it. */
  readonly database: Db;
  /** Idempotent; operations under way are rejected. */
  close(): Promise<void>;
}

/** Rejects with `SERVER_UNUSABLE`, naming `mongodb.url`. */
export async function openMongoClient(
  settings: MongoSettings,
  environment: MongoTimers,
  hooks: MongoHooks = {},
): Promise<MongoHandle> {
  const link = new MongoLink(settings, environment, hooks);
  try {
    const { database } = link;
    const hello = await Promise.race([database.command({ hello: 1 }), link.hopeless]);
    checkWireVersion(hello["maxWireVersion"], settings.url);
    // Whoever may not read is told so now: greeting is allowed to everybody.
    await database.listCollections({}, { nameOnly: true }).toArray();
    return link;
  } catch (error) {
    await link.close();
    throw error instanceof ShopError ? error : unusable(error, settings.url);
  }
}

/**
 * A client of the driver, and another when that one is stuck: on Bun, a server that dies between
 * accepting the driver's own look at it and answering leaves that look, and with it every
 * operation, waiting for ever.
 */
class MongoLink implements MongoHandle {
  readonly #settings: MongoSettings;
  readonly #environment: MongoTimers;
  readonly #hooks: MongoHooks;
  readonly #looks = new Map<string, Timer>();
  /** Rejects when no server has a certificate to be trusted; the driver would go on looking. */
  readonly hopeless: Promise<never>;
  readonly #giveUp: (error: Error) => void;
  #client: MongoClient;
  #isUp: boolean | undefined;
  #isClosed = false;

  constructor(settings: MongoSettings, environment: MongoTimers, hooks: MongoHooks) {
    this.#settings = settings;
    this.#environment = environment;
    this.#hooks = hooks;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined); // once it is open, nobody waits for it
    this.hopeless = promise;
    this.#giveUp = reject;
    this.#client = this.#create();
  }

  get database(): Db {
    return databaseOf(this.#client, this.#settings);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopLooks();
    await this.#client.close();
  }

  #create(): MongoClient {
    const client = createClient(this.#settings);
    const unlessOld = (then: () => void) => {
      if (client === this.#client && !this.#isClosed) then();
    };
    client.on("topologyDescriptionChanged", ({ newDescription }) => {
      unlessOld(() => {
        this.#tell(hasWriter(newDescription));
        const errors = [...newDescription.servers.values()].map(({ error }) => error);
        const [first] = errors;
        if (first && errors.every(isCertificateFault)) this.#giveUp(first);
      });
    });
    client.on("serverHeartbeatStarted", ({ connectionId }) => {
      unlessOld(() => this.#watchLook(connectionId));
    });
    const ended = ({ connectionId }: { readonly connectionId: string }) => {
      unlessOld(() => this.#looks.get(connectionId)?.cancel());
    };
    client.on("serverHeartbeatSucceeded", ended);
    client.on("serverHeartbeatFailed", ended);
    return client;
  }

  #watchLook(address: string): void {
    this.#looks.get(address)?.cancel();
    // Longer than a look may take that connects, greets and waits for news.
    const stuckMs = 2 * this.#settings.connectTimeoutMs + HEARTBEAT_MS;
    this.#looks.set(
      address,
      this.#environment.startTimer(stuckMs, () => this.#replace()),
    );
  }

  #replace(): void {
    this.#stopLooks();
    const stuck = this.#client;
    this.#client = this.#create();
    this.#tell(false);
    // Rejects what waits for it; how its sockets end concerns nobody.
    stuck.close().catch(() => undefined);
    // It looks for the server without being asked to do anything.
    this.#client.connect().catch(() => undefined);
  }

  #stopLooks(): void {
    for (const timer of this.#looks.values()) timer.cancel();
    this.#looks.clear();
  }

  #tell(isUp: boolean): void {
    if (isUp === this.#isUp || (this.#isUp === undefined && !isUp)) return;
    this.#isUp = isUp;
    const { hosts } = addressParts(this.#settings.url);
    const detail = isUp ? "" : `mongodb: nothing writable at ${hosts}`;
    this.#hooks.onConnection?.({ isUp, detail });
  }
}

export function checkWireVersion(version: unknown, url: string): void {
  if (typeof version === "number" && version >= WIRE_VERSION_MIN) return;
  const { hosts } = addressParts(url);
  const found = `the server at ${hosts} speaks version ${String(version)} of the protocol`;
  const needed = `needed is ${WIRE_VERSION_MIN}, MongoDB 4.4, or later`;
  throw new ShopError("SERVER_UNUSABLE", `mongodb.url: ${found}, ${needed}`, "never");
}

function createClient(settings: MongoSettings): MongoClient {
  try {
    return new MongoClient(settings.url, clientOptions(settings));
  } catch (error) {
    throw unusable(error, settings.url);
  }
}

function clientOptions(settings: MongoSettings): MongoClientOptions {
  return {
    appName: "shopstream",
    connectTimeoutMS: settings.connectTimeoutMs,
    serverSelectionTimeoutMS: settings.connectTimeoutMs,
    socketTimeoutMS: settings.operationTimeoutMs,
    waitQueueTimeoutMS: settings.operationTimeoutMs,
    heartbeatFrequencyMS: HEARTBEAT_MS,
    maxPoolSize: settings.connectionsMax,
    writeConcern: { w: "majority", journal: true },
    readConcern: { level: "majority" },
    readPreference: "primary",
    promoteBuffers: true,
    ignoreUndefined: true,
  };
}

/** The one that the address names, or the one of the settings. */
function databaseOf(client: MongoClient, settings: MongoSettings): Db {
  const path = /^mongodb(?:\+srv)?:\/\/[^/]*\/([^?]+)/.exec(settings.url)?.[1];
  return client.db(path === undefined ? settings.database : decodeURIComponent(path));
}

const WRITERS: ReadonlySet<string> = new Set(["Standalone", "RSPrimary", "Mongos", "LoadBalancer"]);

function hasWriter({ servers }: TopologyDescription): boolean {
  return [...servers.values()].some(({ type }) => WRITERS.has(type));
}
