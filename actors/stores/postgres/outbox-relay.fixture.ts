/**
 * A real PostgreSQL with the tables of the store, for the tests of what stands around it.
 *
 * Each world has a server of its own, and connections and shards that are closed with it. Its
 * broker keeps what it is given; waiting is for something to happen, within a generous deadline.
 */

import type { Sql } from "postgres";
import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { Environment } from "../../../runtime/environment.ts";
import type { Outgoing } from "../../brokers/broker.ts";
import type { PostgresShard, PostgresShardOptions } from "./outbox-relay-shard.ts";
import type { OutboxFrame } from "./outbox-relay-table.ts";
import type { Postgres } from "./postgres-connection.ts";

import postgres from "postgres";

import { startTestServer } from "../../../deploy/services/test-server.ts";
import { assert } from "../../../runtime/errors.ts";
import { encodeFrame, framePayload } from "../../../runtime/frames/frame.ts";
import { readU32, writeU32 } from "../../../runtime/frames/little-endian.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { openPostgresShard } from "./outbox-relay-shard.ts";
import { openPostgres } from "./postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "./postgres-options.ts";

export const WORLD_SLOTS = 8;
const PATIENCE_MS = 40_000;
const POLL_MS = 10;

export interface OutboxWorld {
  readonly server: TestServer;
  readonly postgres: Postgres;
  readonly sql: Sql;
  /** One more client, with connections of its own. */
  connect(): Sql;
  /** The shard of `process`, whose one lane, of orders, is the broker's. */
  openShard(
    process: string,
    broker: KeepingBroker,
    options: Partial<PostgresShardOptions>,
  ): Promise<PostgresShard>;
  /** Ends all shards and empties what they share. */
  clear(): Promise<void>;
  dispose(): Promise<void>;
}

export async function startOutboxWorld(): Promise<OutboxWorld> {
  const server = await startTestServer("postgres");
  const clients: Sql[] = [];
  const connect = (): Sql => {
    const client = connectTo(server.url);
    clients.push(client);
    return client;
  };
  const settings = { ...POSTGRES_DEFAULTS, url: server.url, schema: "public" };
  const options = { environment: systemEnvironment, slots: WORLD_SLOTS };
  const opened = await openPostgres(settings, options);
  const sql = connect();
  const shards: PostgresShard[] = [];
  const endShards = async (): Promise<void> => {
    await Promise.all(shards.splice(0).map((shard) => shard.close(0)));
  };
  return {
    server,
    postgres: opened,
    sql,
    connect,
    async openShard(process, broker, more) {
      const shard = await openPostgresShard({
        postgres: opened,
        process,
        shard: 0,
        slots: WORLD_SLOTS,
        lanes: [{ name: "test", topics: ["orders"], broker }],
        onRefused: async () => undefined,
        onFenced: () => undefined,
        ...more,
      });
      shards.push(shard);
      return shard;
    },
    async clear() {
      await endShards();
      await sql`TRUNCATE relays, relay_beats, slot_owners, outbox, inbox, timers, dead_letters`;
    },
    async dispose() {
      await endShards();
      await opened.close();
      await Promise.all(clients.map((client) => client.end({ timeout: 1 })));
      await server.dispose();
    },
  };
}

export function connectTo(url: string): Sql {
  return postgres(url, { max: 6, onnotice: () => undefined });
}

/** Commits `frames` under `relay` in one transaction, in order. */
export async function commitFrames(
  sql: Pick<Sql, "unsafe">,
  relay: string,
  frames: readonly Outgoing[],
): Promise<readonly OutboxFrame[]> {
  const rows: OutboxFrame[] = [];
  for (const { topic, frame } of frames) {
    const slot = frame[8] ?? 0;
    const [row] = await sql.unsafe<{ id: string }[]>(
      "INSERT INTO outbox (relay, slot, topic, frame) VALUES ($1, $2, $3, $4) RETURNING id::text",
      [relay, slot, topic, frame],
    );
    rows.push({ id: Number(row?.id), topic, slot, frame });
  }
  return rows;
}

/** A frame of `slot` that carries `number`. */
export function numbered(number: number, slot = 0, topic = "orders"): Outgoing {
  const payload = new Uint8Array(4);
  writeU32(payload, 0, number);
  const { newId, nowMs } = systemEnvironment;
  const frame = encodeFrame({
    type: 1,
    slot,
    key: `k${slot}`,
    payload,
    id: newId(),
    timeMs: nowMs(),
  });
  return { topic, frame };
}

export function numberOf(frame: Uint8Array): number {
  return readU32(framePayload(frame), 0);
}

/** A broker that keeps what it is given, and can be told to refuse. */
export class KeepingBroker {
  readonly published: Outgoing[] = [];
  fails: Error | undefined;

  async publish(frames: readonly Outgoing[]): Promise<void> {
    await wait(systemEnvironment, 1);
    if (this.fails !== undefined) throw this.fails;
    this.published.push(...frames);
  }

  numbers(): readonly number[] {
    return this.published.map(({ frame }) => numberOf(frame));
  }
}

export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const byMs = systemEnvironment.monotonicMs() + PATIENCE_MS;
  while (!(await holds())) {
    assert(systemEnvironment.monotonicMs() < byMs, `waited in vain until ${what}`);
    await wait(systemEnvironment, POLL_MS);
  }
}

export async function wait(environment: Environment, delayMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  environment.startTimer(delayMs, resolve);
  await promise;
}
