/**
 * The ground of many machines: PostgreSQL under the units of work, brokers under the messages, each
 * with connections of this thread's own.
 *
 * A shard is whoever its broker assigns slots to; it claims each before it handles anything of it,
 * and what it commits is refused once another has. What it publishes goes through the outbox, and
 * what is given up on goes to the database, whichever broker it came from. A shard that finds itself
 * fenced is of no use and must end. Refuses a server that cannot be used, naming its setting.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Broker } from "../brokers/broker.ts";
import type { OutboxFrame } from "../stores/postgres/outbox-relay-table.ts";
import type { PostgresSettings } from "../stores/postgres/postgres-options.ts";
import type { PostgresRetention } from "../stores/postgres/postgres-retention.ts";
import type { BrokerSettings, BrokerUse } from "./open-brokers.ts";
import type { Placement } from "./placement.ts";
import type { GroundEvents, ShardGround } from "./shard-ground.ts";

import { describeError, ShopError } from "../../runtime/errors.ts";
import { withLetterStore } from "../brokers/letter-store.ts";
import { PlacedBroker } from "../brokers/placed-broker.ts";
import { ASKER_SETTINGS, createOwnerAsker } from "../commands/owner-asker.ts";
import { startHousekeeping } from "../stores/postgres/housekeeping.ts";
import { openPostgresShard } from "../stores/postgres/outbox-relay-shard.ts";
import { openPostgres } from "../stores/postgres/postgres-connection.ts";
import { createPostgresLetters } from "../stores/postgres/postgres-letters.ts";
import { retentionSteps } from "../stores/postgres/postgres-retention.ts";
import { createReplyHints } from "../stores/postgres/reply-hints.ts";
import { withFences } from "../stores/postgres/slot-fences-member.ts";
import { joinSystems } from "./acknowledging-store.ts";
import { openBrokers } from "./open-brokers.ts";

/** For hints, which listen on a connection of their own, and for housekeeping. */
const SIDE_CONNECTIONS = 3;
/** Group of the letters that no broker would take. */
const OUTBOX_GROUP = "outbox";
/** Of the time to stop: what is left in the outbox is published by others. */
const CLOSE_MS = 2_000;

/** Plain values, cloneable. */
export interface RemoteGroundData {
  readonly kind: "remote";
  readonly brokers: BrokerSettings;
  readonly uses: readonly BrokerUse[];
  /** By topic, the router's own included. */
  readonly placement: Placement;
  readonly postgres: PostgresSettings;
  readonly retention: PostgresRetention;
  readonly slots: number;
  /** Names this process among those that share the database; the same after a restart. */
  readonly process: string;
  readonly shard: number;
}

export async function openRemoteGround(
  data: RemoteGroundData,
  environment: Environment,
  events: GroundEvents,
): Promise<ShardGround> {
  const { slots, uses, placement } = data;
  const postgres = await openPostgres(data.postgres, {
    environment,
    slots,
    onConnection: (state) => events.onConnection("postgres", state),
    onLog: (level, text) => events.onLog(level, `postgres: ${text}`),
  });
  const closers: (() => Promise<unknown>)[] = [() => postgres.close()];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.toReversed()) await close();
  };
  try {
    const brokers = await openBrokers({
      ...{ environment, slots, uses },
      settings: data.brokers,
      onConnection: events.onConnection,
      onLog: events.onLog,
    });
    closers.push(() => Promise.all([...brokers.values()].map((broker) => broker.close())));
    const letters = createPostgresLetters(postgres, slots);
    const burying = [...brokers].map(
      ([name, broker]) =>
        [name, withLetterStore({ broker, letters, nowMs: () => environment.nowMs() })] as const,
    );
    const placed = new PlacedBroker({
      brokers: new Map(burying),
      places: new Map(Object.entries(placement)),
    });
    const shard = await openPostgresShard({
      ...{ postgres, slots, process: data.process, shard: data.shard },
      lanes: uses.map(({ name, topics }) => ({ name, topics, broker: brokers.get(name)! })), // `!`: all are open
      onRefused: (frame, error) => buryRefused(letters, frame, error, environment),
      onLog: events.onLog,
      onFailure: events.onFailure,
      onFenced: () =>
        events.onFailure(new ShopError("FENCED", "another shard has taken over", "never")),
    });
    closers.push(() => shard.close(CLOSE_MS));
    const fenced = fencedBroker(placed, withFences(placed, shard.fences));
    const joined = joinSystems(shard.store, fenced);
    const side = postgres.client(SIDE_CONNECTIONS);
    const hints = createReplyHints({ environment, sql: side });
    const asker = createOwnerAsker({
      ...{ environment, slots, hints, broker: placed, store: joined.store },
      settings: ASKER_SETTINGS,
      onLog: events.onLog,
    });
    const housekeeping = startHousekeeping({
      ...{ environment, sql: side, onLog: events.onLog },
      steps: retentionSteps(data.retention, environment),
    });
    closers.push(
      () => side.end({ timeout: 1 }),
      () => housekeeping.close(),
      () => asker.close(),
    );
    for (const server of ["postgres", ...brokers.keys()]) {
      events.onConnection(server, { isUp: true, detail: "" });
    }
    return {
      ...joined,
      letters,
      foreign: [],
      owners: {
        ask: (command, options) => asker.askOwner(command, options),
        published: (slot, withinMs) => shard.fences.published(slot, withinMs),
        hints,
      },
      outbox: { depth: () => shard.depth(), lanes: () => shard.lanes() },
      close: closeAll,
    };
  } catch (error) {
    await closeAll().catch((after: unknown) => events.onLog("debug", describeError(after)));
    throw error;
  }
}

/** What no broker will ever take is an operator's to look at. */
async function buryRefused(
  letters: ReturnType<typeof createPostgresLetters>,
  { id, topic, slot, frame }: OutboxFrame,
  error: ShopError,
  environment: Environment,
): Promise<void> {
  const lastError = describeError(error);
  const letter = {
    ...{ group: OUTBOX_GROUP, topic, partition: slot, sequence: Number(id), bytes: frame },
    burial: { reason: error.code.toLowerCase(), attempts: 1, firstError: lastError, lastError },
    buriedAtMs: environment.nowMs(),
  };
  await letters.bury(letter, true);
}

function fencedBroker(broker: Broker, fenced: Pick<Broker, "subscribe">): Broker {
  return {
    capabilities: broker.capabilities,
    publish: (frames) => broker.publish(frames),
    subscribe: (options) => fenced.subscribe(options),
    deadLetters: (topic, afterId, limit) => broker.deadLetters(topic, afterId, limit),
    close: () => broker.close(),
  };
}
