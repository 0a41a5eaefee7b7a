/**
 * The ground of one machine: the journal's thread across the rings, and the brokers that routes
 * name beside it.
 *
 * The log gives again whatever a dead shard had not settled, so records of the journal are released
 * as they are read. When the journal is gone the shard has nothing to stand on and fails.
 */

import type { ListenOptions, MeshNode } from "../../runtime/threads/mesh.ts";
import type { ForeignBroker } from "../shard-routing.ts";
import type { BrokerLink, BrokerSettings } from "./open-brokers.ts";
import type { GroundEvents, ShardGround } from "./shard-ground.ts";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { EmbeddedBroker } from "../brokers/embedded-broker.ts";
import { openDeadLetterReads } from "../stores/dead-letter-reads.ts";
import { createEmbeddedStore } from "../stores/embedded-store.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { openJournalReads } from "../stores/journal-reads.ts";
import { openBrokers } from "./open-brokers.ts";
import { usesOfLinks } from "./placement.ts";

/** Plain values, cloneable. */
export interface EmbeddedGroundData {
  readonly kind: "embedded";
  /** Index in the mesh. */
  readonly journal: number;
  readonly directory: string;
  /** Of the local log. */
  readonly topics: readonly string[];
  readonly slots: number;
  /** Brokers that routes name beside the journal, and how each is reached. */
  readonly links: readonly BrokerLink[];
  readonly brokers: BrokerSettings;
}

/** This thread's end of the ring from the journal. */
export interface EmbeddedLine {
  readonly listener: ListenOptions;
  readonly onTurn: () => void;
  /** To be called once there is a node. */
  open(node: MeshNode, events: GroundEvents, mayBeAway: boolean): Promise<ShardGround>;
  /** The journal's thread died. */
  fail(): void;
}

export function embeddedLine(data: EmbeddedGroundData): EmbeddedLine {
  const { journal, directory, topics } = data;
  let client: JournalClient | undefined;
  return {
    listener: {
      from: journal,
      release: "read",
      onRecord: (kind, bytes) => client?.onRecord(kind, bytes),
    },
    onTurn: () => client?.onTurn(),
    async open(node, events, mayBeAway) {
      const opened = new JournalClient(node, journal);
      client = opened;
      const reads = openJournalReads(directory);
      const letters = openDeadLetterReads(directory);
      const broker = new EmbeddedBroker(opened, topics);
      const foreign = await openForeign(data, events, mayBeAway);
      return {
        broker,
        store: createEmbeddedStore(opened, reads),
        letters,
        foreign,
        async close() {
          await Promise.all(foreign.map((each) => each.broker.close()));
          await broker.close();
          reads.close();
          letters.close();
        },
      };
    },
    fail: () => client?.fail("the journal's thread died"),
  };
}

async function openForeign(
  { links, brokers: settings, slots }: EmbeddedGroundData,
  events: GroundEvents,
  mayBeAway: boolean,
): Promise<readonly ForeignBroker[]> {
  const brokers = await openBrokers({
    ...events,
    environment: systemEnvironment,
    settings,
    slots,
    mayBeAway,
    uses: usesOfLinks(links),
  });
  return links.flatMap((link) => {
    const broker = brokers.get(link.name);
    return broker === undefined ? [] : [{ ...link, broker }];
  });
}
