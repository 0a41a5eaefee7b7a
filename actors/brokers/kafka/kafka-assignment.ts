/**
 * Where a member begins with what it was assigned: positions, attempts, dead letters.
 *
 * Reads what the group committed, finds the ends of partitions without a commit, and takes letters
 * that were written after the commit for settled. Refuses nothing: what cannot be read rejects,
 * and the member tries again.
 */

import type { RemotePosition } from "../remote-member.ts";
import type { CommittedOffset, KafkaDriver, OffsetSpan, TopicPartitions } from "./kafka-driver.ts";
import type { LetterBox } from "./letter-box.ts";
import type { PartitionMemory } from "./offset-metadata.ts";

import { positionFrom } from "./member-memory.ts";
import { decodeMemory } from "./offset-metadata.ts";

export interface Beginning {
  /** On the server. */
  readonly topic: string;
  readonly partition: number;
  readonly position: RemotePosition;
  readonly lettersThrough: number;
  /** The group has no position of it yet, or one that is not kept any more. */
  readonly isNew: boolean;
}

export interface BeginOptions {
  readonly driver: KafkaDriver;
  readonly letters: Pick<LetterBox, "origins">;
  readonly group: string;
  /** The group as letters name it, and a topic likewise. */
  readonly letterGroup: string;
  readonly letterTopic: (topic: string) => string;
  readonly from: "earliest" | "latest";
}

interface Start {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly memory: PartitionMemory | undefined;
  readonly isNew: boolean;
}

export async function beginningsOf(
  assigned: readonly TopicPartitions[],
  options: BeginOptions,
): Promise<readonly Beginning[]> {
  if (assigned.length === 0) return [];
  const { driver, letters, group, letterGroup, letterTopic, from } = options;
  const [committed, spans] = await Promise.all([
    driver.committed(group, assigned),
    spansOf(driver, assigned),
  ]);
  const starts = assigned.flatMap(({ topic, partitions }) =>
    partitions.map((partition) => startOf(topic, partition, { committed, spans, from })),
  );
  const scanFrom = Math.min(...starts.map(({ memory }) => memory?.lettersThrough ?? 0));
  const { origins, through } = await letters.origins(scanFrom);
  return starts.map(({ topic, partition, offset, memory, isNew }) => {
    const buried = origins
      .filter((origin) => origin.group === letterGroup && origin.topic === letterTopic(topic))
      .filter((origin) => origin.partition === partition)
      .map(({ sequence }) => sequence);
    const position = positionFrom(memory, offset, buried);
    return { topic, partition, position, lettersThrough: through, isNew };
  });
}

async function spansOf(
  driver: KafkaDriver,
  assigned: readonly TopicPartitions[],
): Promise<ReadonlyMap<string, ReadonlyMap<number, OffsetSpan>>> {
  const spans = assigned.map(async ({ topic }) => [topic, await driver.ends(topic)] as const);
  return new Map(await Promise.all(spans));
}

function startOf(
  topic: string,
  partition: number,
  known: {
    readonly committed: readonly CommittedOffset[];
    readonly spans: ReadonlyMap<string, ReadonlyMap<number, OffsetSpan>>;
    readonly from: "earliest" | "latest";
  },
): Start {
  const { committed, spans, from } = known;
  const span = spans.get(topic)?.get(partition) ?? { first: 0, next: 0 };
  const stored = committed.find(
    (each) => each.topic === topic && each.partition === partition && each.offset >= 0,
  );
  if (stored === undefined) {
    const offset = from === "earliest" ? span.first : span.next;
    return { topic, partition, offset, memory: undefined, isNew: true };
  }
  const memory = decodeMemory(stored.metadata, stored.offset);
  // Records that are not kept any more are passed over, and the server's own reset is not needed.
  if (stored.offset >= span.first) {
    return { topic, partition, offset: stored.offset, memory, isNew: memory === undefined };
  }
  return { topic, partition, offset: span.first, memory: undefined, isNew: true };
}
