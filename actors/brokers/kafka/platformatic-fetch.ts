/**
 * One fetch of @platformatic/kafka from one node: places to read in, records of each out.
 *
 * A partition that cannot be read says so beside those that can. Refuses an answer as a whole only
 * when there is none.
 */

import type { Connection } from "@platformatic/kafka";
import type { FetchedRecord } from "./kafka-driver.ts";

import { fetchV12 } from "@platformatic/kafka";

import { responseOf } from "./platformatic-errors.ts";
import { fetchedOf } from "./platformatic-records.ts";

const READ_COMMITTED = 1;
const NO_SESSION = 0;
const NO_SESSION_EPOCH = -1;

export interface FetchPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

export interface FetchLimits {
  /** How long the node may hold back an empty answer. */
  readonly waitMs: number;
  readonly bytesMax: number;
  readonly partitionBytesMax: number;
}

export interface Fetched {
  readonly topic: string;
  readonly partition: number;
  /** 0, or Kafka's. */
  readonly errorCode: number;
  readonly records: readonly FetchedRecord[];
  /** Where to read on. */
  readonly next: number;
}

type FetchAnswer = Awaited<ReturnType<typeof fetchV12.api.async>>;

export async function fetchOnce(
  connection: Connection,
  places: readonly FetchPlace[],
  limits: FetchLimits,
): Promise<readonly Fetched[]> {
  const byTopic = Map.groupBy(places, ({ topic }) => topic);
  const topics = [...byTopic].map(([topic, ofTopic]) => ({
    topicId: topic, // of this version, its name
    partitions: ofTopic.map(({ partition, offset }) => ({
      partition,
      currentLeaderEpoch: -1,
      fetchOffset: BigInt(offset),
      lastFetchedEpoch: -1,
      partitionMaxBytes: limits.partitionBytesMax,
    })),
  }));
  const answer = await fetchV12.api
    .async(
      connection,
      limits.waitMs,
      1,
      limits.bytesMax,
      READ_COMMITTED,
      NO_SESSION,
      NO_SESSION_EPOCH,
      topics,
      [],
      "",
    )
    .catch((error: unknown) => {
      const response = responseOf(error);
      if (response === undefined) throw error;
      return response as FetchAnswer; // the library's own, of this request
    });
  return answer.responses.flatMap(({ topicId, partitions }) =>
    partitions.map(({ partitionIndex, errorCode, records, abortedTransactions }) => {
      const asked = byTopic.get(topicId)?.find(({ partition }) => partition === partitionIndex);
      const read = fetchedOf(records ?? [], abortedTransactions ?? [], asked?.offset ?? 0);
      return { topic: topicId, partition: partitionIndex, errorCode, ...read };
    }),
  );
}
