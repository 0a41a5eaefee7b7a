/**
 * The ground of one machine: the journal's thread across the rings, and the brokers that routes name
 * beside it.
 *
 * The log gives again whatever a dead shard had not settled, so records of the journal are released
 * as they are read. When the journal is gone the shard has nothing to stand on and fails.
 */

import type { ListenOptions, MeshNode } from "../../runtime/threads/mesh.ts";
import type { ShardGround } from "./shard-ground.ts";

import { EmbeddedBroker } from "../brokers/embedded-broker.ts";
import { openDeadLetterReads } from "../stores/dead-letter-reads.ts";
import { createEmbeddedStore } from "../stores/embedded-store.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { openJournalReads } from "../stores/journal-reads.ts";

/** Plain values, cloneable. */
export interface EmbeddedGroundData {
  readonly kind: "embedded";
  /** Index in the mesh. */
  readonly journal: number;
  readonly directory: string;
  /** Of the local log. */
  readonly topics: readonly string[];
}

/** This thread's end of the ring from the journal. */
export interface EmbeddedLine {
  readonly listener: ListenOptions;
  readonly onTurn: () => void;
  /** To be called once there is a node. */
  open(node: MeshNode): ShardGround;
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
    open(node) {
      const opened = new JournalClient(node, journal);
      client = opened;
      const reads = openJournalReads(directory);
      const letters = openDeadLetterReads(directory);
      const broker = new EmbeddedBroker(opened, topics);
      return {
        broker,
        store: createEmbeddedStore(opened, reads),
        letters,
        foreign: [],
        async close() {
          await broker.close();
          reads.close();
          letters.close();
        },
      };
    },
    fail: () => client?.fail("the journal's thread died"),
  };
}
