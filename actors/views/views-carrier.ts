/**
 * What brings records to the views of a thread: the journal across its ring and its files, or the
 * brokers of a deployment of many.
 *
 * On the journal a view with a file of its own has a feed, and one with a sink is a member of a
 * group. On brokers there are members only: it refuses to open a feed there.
 */

import type { MeshMemory } from "../../runtime/threads/mesh.ts";
import type { Broker } from "../brokers/broker.ts";
import type { Feed } from "../brokers/feed.ts";
import type { View } from "../contracts/topics.ts";
import type { BrokerSettings, BrokerUse } from "../grounds/open-brokers.ts";
import type { GroundEvents } from "../grounds/shard-ground.ts";
import type { Placement } from "../grounds/placement.ts";
import type { FeedStanding } from "../stores/journal/journal-types.ts";

import { ShopError } from "../../runtime/errors.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { MeshNode } from "../../runtime/threads/mesh.ts";
import { EmbeddedBroker } from "../brokers/embedded-broker.ts";
import { PlacedBroker } from "../brokers/placed-broker.ts";
import { VIEWS } from "../contracts/topics.ts";
import { openBrokers } from "../grounds/open-brokers.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { FEED_STANDING, RELEASE_FEED } from "../stores/journal-protocol.ts";
import { openJournalFeed } from "./journal-feed.ts";
import { LogWindow } from "./log-window.ts";

/** Plain values, cloneable. */
export type ViewsGroundData =
  | {
      readonly kind: "embedded";
      /** Index in the mesh. */
      readonly journal: number;
      readonly backlogBytesMax: number;
      readonly topics: readonly string[];
    }
  | {
      readonly kind: "remote";
      readonly brokers: BrokerSettings;
      readonly uses: readonly BrokerUse[];
      readonly placement: Placement;
      readonly slots: number;
      /** What each view reads. */
      readonly topics: Readonly<Record<View, readonly string[]>>;
    };

export interface CarrierData {
  readonly memory: MeshMemory;
  readonly thread: number;
  readonly directory: string;
  readonly ground: ViewsGroundData;
}

export interface ViewsCarrier {
  readonly broker: Pick<Broker, "subscribe">;
  topics(view: View): readonly string[];
  openFeed(view: View): Feed;
  /** The journal is gone. */
  fail(): void;
  close(): Promise<void>;
}

/** Rejects with `SERVER_UNUSABLE` when a broker cannot be used. */
export async function openCarrier(
  data: CarrierData,
  events: Pick<GroundEvents, "onConnection" | "onLog">,
): Promise<ViewsCarrier> {
  const { ground } = data;
  return ground.kind === "embedded" ? onJournal(data, ground) : await onBrokers(ground, events);
}

function onJournal(
  { memory, thread, directory }: CarrierData,
  { journal, backlogBytesMax, topics }: Extract<ViewsGroundData, { kind: "embedded" }>,
): ViewsCarrier {
  const node = new MeshNode({
    memory,
    me: thread,
    environment: systemEnvironment,
    backlogBytesMax,
    listeners: [
      { from: journal, release: "read", onRecord: (kind, bytes) => client.onRecord(kind, bytes) },
    ],
    onTurn: () => client.onTurn(),
  });
  const client: JournalClient = new JournalClient(node, journal);
  const broker = new EmbeddedBroker(client, topics);
  // What one view has read from the file the others need not read again.
  const window = new LogWindow();
  return {
    broker,
    topics: (view) => VIEWS[view],
    openFeed: (name) =>
      openJournalFeed({
        directory,
        name,
        topics: VIEWS[name],
        environment: systemEnvironment,
        window,
        release: async (release) => void (await client.request(RELEASE_FEED, release)),
        standing: () => client.request<FeedStanding>(FEED_STANDING, { name }),
      }),
    fail: () => client.fail("the journal's thread died"),
    async close() {
      await broker.close();
      node.close();
    },
  };
}

async function onBrokers(
  ground: Extract<ViewsGroundData, { kind: "remote" }>,
  { onConnection, onLog }: Pick<GroundEvents, "onConnection" | "onLog">,
): Promise<ViewsCarrier> {
  const { uses, slots, placement, brokers: settings } = ground;
  const environment = systemEnvironment;
  const brokers = await openBrokers({ environment, settings, uses, slots, onConnection, onLog });
  const carried = uses.flatMap(({ topics }) => topics);
  const places = new Map(Object.entries(placement).filter(([topic]) => carried.includes(topic)));
  const broker = new PlacedBroker({ brokers, places });
  return {
    broker,
    topics: (view) => ground.topics[view],
    openFeed(view) {
      const problem = `view ${view} keeps a file of its own, which many processes cannot share`;
      throw new ShopError("BAD_CONFIGURATION", problem, "never");
    },
    fail: () => undefined,
    close: () => broker.close(),
  };
}
