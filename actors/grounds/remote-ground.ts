/**
 * The ground of many machines: PostgreSQL under the units of work, brokers under the messages, each
 * with connections of this thread's own.
 *
 * A shard is whoever its broker assigns slots to; it claims each before it handles anything of it,
 * and what it commits or buries is refused once another has. What it publishes goes through the
 * outbox, and what is given up on goes to the database, whichever broker it came from. Frames that
 * routes send to topics of others wait in topics of the log first. A shard that finds itself fenced
 * is of no use and must end. Refuses a server that cannot be used, naming its setting; a shard that
 * takes the place of another goes on without a broker until that is back.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Broker } from "../brokers/broker.ts";
import type { PostgresShard } from "../stores/postgres/outbox-relay-shard.ts";
import type { ForeignBroker } from "../shard-routing.ts";
import type { OutboxFrame } from "../stores/postgres/outbox-relay-table.ts";
import type { Postgres } from "../stores/postgres/postgres-connection.ts";
import type { PostgresLetters } from "../stores/postgres/postgres-letters.ts";
import type { PostgresSettings } from "../stores/postgres/postgres-options.ts";
import type { PostgresRetention } from "../stores/postgres/postgres-retention.ts";
import type { LeaseSettings } from "../stores/postgres/shard-lease.ts";
import type { BrokerLink, BrokerSettings, BrokerUse } from "./open-brokers.ts";
import type { BrokerName, Placement } from "./placement.ts";
import type { GroundEvents, OrderOwners, ShardGround } from "./shard-ground.ts";

import { describeError, ShopError } from "../../runtime/errors.ts";
import { isAway } from "../brokers/late-broker.ts";
import { withLetterStore } from "../brokers/letter-store.ts";
import { PlacedBroker } from "../brokers/placed-broker.ts";
import { createOwnerAsker } from "../commands/owner-asker.ts";
import { startHousekeeping } from "../stores/postgres/housekeeping.ts";
import { openPostgresShard } from "../stores/postgres/outbox-relay-shard.ts";
import { openPostgres } from "../stores/postgres/postgres-connection.ts";
import { retentionSteps } from "../stores/postgres/postgres-retention.ts";
import { createReplyHints } from "../stores/postgres/reply-hints.ts";
import { withFences } from "../stores/postgres/slot-fences-member.ts";
import { joinSystems } from "./acknowledging-store.ts";
import { openBrokers } from "./open-brokers.ts";
import { takingTurns } from "./taking-turns.ts";

/** For hints, which listen on a connection of their own, and for housekeeping. */
const SIDE_CONNECTIONS = 3;
/** Group of the letters that no broker would take. */
const OUTBOX_GROUP = "outbox";
/** Of the time to stop: what is left in the outbox is published by others. */
const CLOSE_MS = 1_000;

/** Plain values, cloneable. */
export interface RemoteGroundData {
  readonly kind: "remote";
  readonly brokers: BrokerSettings;
  readonly uses: readonly BrokerUse[];
  /** By topic, the router's own included. */
  readonly placement: Placement;
  /** Topics beside the shop's own, which routes name; the brokers are among `uses`. */
  readonly links: readonly BrokerLink[];
  readonly postgres: PostgresSettings;
  readonly retention: PostgresRetention;
  readonly lease: LeaseSettings;
  readonly slots: number;
  /** Names this process among those that share the database; the same after a restart. */
  readonly process: string;
  readonly shard: number;
}

/** `mayBeAway`: see `OpenBrokersOptions`. */
export async function openRemoteGround(
  data: RemoteGroundData,
  environment: Environment,
  events: GroundEvents,
  mayBeAway: boolean,
): Promise<ShardGround> {
  const closers: Closer[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) {
      // One that cannot be closed in good order keeps none of the others open.
      await close().catch((error: unknown) => events.onLog("debug", describeError(error)));
    }
  };
  try {
    return { ...(await open({ data, environment, events, mayBeAway }, closers)), close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

type Closer = () => Promise<unknown>;

interface Opening {
  readonly data: RemoteGroundData;
  readonly environment: Environment;
  readonly events: GroundEvents;
  readonly mayBeAway: boolean;
}

/** What is open is closed by `closers`, the last first. */
async function open(opening: Opening, closers: Closer[]): Promise<Omit<ShardGround, "close">> {
  const { data, environment, events, mayBeAway } = opening;
  const { slots, uses, placement } = data;
  const postgres = await openPostgres(data.postgres, {
    environment,
    slots,
    onConnection: (state) => events.onConnection("postgres", state),
    onLog: (level, text) => events.onLog(level, `postgres: ${text}`),
  });
  closers.push(() => postgres.close());
  const brokers = await openBrokers({
    environment,
    slots,
    uses,
    settings: data.brokers,
    mayBeAway,
    onConnection: events.onConnection,
    onLog: events.onLog,
  });
  closers.push(() => Promise.all([...brokers.values()].map((broker) => broker.close())));
  const shard = await openShard(opening, postgres, brokers);
  closers.push(() => shard.close(CLOSE_MS));
  const { letters } = shard;
  const nowMs = (): number => environment.nowMs();
  const burying = new Map(
    [...brokers].map(([name, broker]) => [name, withLetterStore({ broker, letters, nowMs })]),
  );
  const places = new Map(Object.entries(placement));
  const carriers = new Set<string>(places.values());
  const placed = new PlacedBroker({
    brokers: new Map([...burying].filter(([name]) => carriers.has(name))),
    places,
  });
  const joined = joinSystems(shard.store, fencedBroker(placed, shard.fences));
  const owners = openOwners(opening, { postgres, shard, broker: placed }, closers);
  const present = [...brokers].filter(([, broker]) => !isAway(broker)).map(([name]) => name);
  for (const server of ["postgres", ...present]) {
    events.onConnection(server, { isUp: true, detail: "" });
  }
  return {
    ...joined,
    letters,
    owners,
    foreign: foreignOf(opening, burying, shard),
    outbox: { depth: () => shard.depth(), lanes: () => shard.lanes() },
  };
}

async function openShard(
  { data, environment, events }: Opening,
  postgres: Postgres,
  brokers: ReadonlyMap<BrokerName, Broker>,
): Promise<PostgresShard> {
  const lanes = [...brokers].flatMap(([name, broker]) => {
    const topics = laneTopics(data, name);
    return topics.length === 0 ? [] : [{ name, topics, broker }];
  });
  const log = data.placement["orders"];
  return await openPostgresShard({
    orderedTopics: lanes.flatMap(({ name, topics }) => (name === log ? topics : [])),
    postgres,
    lanes,
    slots: data.slots,
    process: data.process,
    shard: data.shard,
    lease: data.lease,
    onRefused: (frame, error, letters) => buryRefused(letters, frame, error, environment),
    onBatch: events.onBatch,
    onLog: events.onLog,
    onFailure: events.onFailure,
    onFenced: () =>
      events.onFailure(new ShopError("FENCED", "another shard has taken over", "never")),
  });
}

/** Brokers that routes name, the log's own among them if they do. */
function foreignOf(
  { data: { links, slots }, events: { onLog } }: Opening,
  brokers: ReadonlyMap<BrokerName, Broker>,
  { fences }: PostgresShard,
): readonly ForeignBroker[] {
  return links.flatMap((link) => {
    const broker = brokers.get(link.name);
    if (broker === undefined) return [];
    return [{ ...link, broker: takingTurns(broker, { fences, slots, onLog }) }];
  });
}

/**
 * Topics that committed units may leave frames for: the shop's, and those that are taken in, to
 * which letters are put back. What routes send goes by an outbox, a topic of the log.
 */
function laneTopics({ placement, links }: RemoteGroundData, broker: BrokerName): readonly string[] {
  const own = Object.keys(placement).filter((topic) => placement[topic] === broker);
  const link = links.find(({ name }) => name === broker);
  return [...own, ...(link?.ingressTopics ?? [])];
}

/** Commands to orders of other shards, and the housekeeping of the tables they leave answers in. */
function openOwners(
  { data, environment, events }: Opening,
  {
    postgres,
    shard,
    broker,
  }: { readonly postgres: Postgres; readonly shard: PostgresShard; readonly broker: Broker },
  closers: Closer[],
): OrderOwners {
  const sql = postgres.client(SIDE_CONNECTIONS);
  closers.push(() => sql.end({ timeout: 1 }));
  const { onLog } = events;
  const housekeeping = startHousekeeping({
    environment,
    sql,
    onLog,
    steps: retentionSteps(data.retention, environment),
  });
  closers.push(() => housekeeping.close());
  const hints = createReplyHints({ environment, sql });
  const { store } = shard;
  const asker = createOwnerAsker({ environment, slots: data.slots, hints, broker, store, onLog });
  closers.push(() => asker.close());
  return {
    ask: (command, options) => asker.askOwner(command, options),
    published: (slot, withinMs) => shard.fences.published([slot], withinMs),
    hints,
  };
}

/** What no broker will ever take is an operator's to look at. */
async function buryRefused(
  letters: PostgresLetters,
  { id, topic, slot, frame }: OutboxFrame,
  error: ShopError,
  environment: Environment,
): Promise<void> {
  const lastError = describeError(error);
  const letter = {
    group: OUTBOX_GROUP,
    topic,
    partition: slot,
    sequence: id,
    bytes: frame,
    burial: { reason: error.code.toLowerCase(), attempts: 1, firstError: lastError, lastError },
    buriedAtMs: environment.nowMs(),
  };
  await letters.bury(letter, true);
}

function fencedBroker(broker: Broker, fences: PostgresShard["fences"]): Broker {
  const fenced = withFences(broker, fences);
  return {
    capabilities: broker.capabilities,
    publish: (frames) => broker.publish(frames),
    subscribe: (options) => fenced.subscribe(options),
    deadLetters: (topic, afterId, limit) => broker.deadLetters(topic, afterId, limit),
    close: () => broker.close(),
  };
}
