/**
 * What the adapter needs of a Kafka client, whichever it is: topics, producing, reading, a group.
 *
 * A driver translates and decides nothing: no batching, no retries beyond one attempt, no credit,
 * no settling. It refuses with a `ShopError` and nothing else, so that no code above it knows the
 * errors of a library. Offsets are plain numbers (below 2^53), topics the names on the server.
 */

import { ShopError } from "../../../runtime/errors.ts";

/** What a server that is there says while it sorts itself out: the same call helps, a bit later. */
export class PassingFault extends ShopError {
  constructor(message: string, cause: unknown) {
    super("STORAGE_FAULT", message, "later", { cause });
  }
}

/** Kafka's names of the states of a group that pass by themselves. */
export const PASSING_STATES: ReadonlySet<string> = new Set([
  "COORDINATOR_LOAD_IN_PROGRESS",
  "COORDINATOR_NOT_AVAILABLE",
  "NOT_COORDINATOR",
  "REBALANCE_IN_PROGRESS",
  "UNKNOWN_MEMBER_ID",
  "ILLEGAL_GENERATION",
]);

export interface TopicPartitions {
  readonly topic: string;
  readonly partitions: readonly number[];
}

export interface TopicShape {
  readonly partitions: number;
  /** Largest batch of records it takes (`max.message.bytes`); absent: the server does not say. */
  readonly messageBytesMax?: number;
}

export interface NewTopic {
  readonly topic: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  /** As the server names them: `min.insync.replicas`, `max.message.bytes`, … */
  readonly config: Readonly<Record<string, string>>;
}

/** A record on its way out. */
export interface KafkaRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  readonly timestampMs: number;
}

/** A record as the server has it. */
export interface FetchedRecord {
  readonly offset: number;
  /** Of a frame of ours a driver may leave it out: it is in the frame. */
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  /** The last value of a name that comes more than once. */
  readonly headers: ReadonlyMap<string, Uint8Array>;
  readonly timestampMs: number;
}

export interface OffsetSpan {
  /** The oldest record that is still kept. */
  readonly first: number;
  /** Where the next record will go. */
  readonly next: number;
}

export interface CommittedOffset {
  readonly topic: string;
  readonly partition: number;
  /** -1 when the group has none. */
  readonly offset: number;
  readonly metadata: string;
}

/** A member of the group as its leader sees it. */
export interface JoinedMember {
  readonly id: string;
  readonly userData: Uint8Array;
}

/** Partitions by topic by the member's id. */
export type GroupAssignment = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;

export interface JoinOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** Name of the way to assign; the server refuses members that do not share one. */
  readonly protocol: string;
  /** What the member tells the leader; asked for at every join. */
  readonly userData: () => Uint8Array;
  /** Called on the leader. `partitions`: how many each topic has. Pure. */
  readonly assign: (
    members: readonly JoinedMember[],
    partitions: ReadonlyMap<string, number>,
  ) => GroupAssignment;
  /**
   * All that is assigned from now on, what was assigned before included. Nothing is fetched of a
   * partition before `begin` is called for it, after each assignment. Must not throw or block.
   */
  readonly onAssigned: (assigned: readonly TopicPartitions[]) => void;
  /**
   * The group has gone on without the member, and others may own what it had; the driver joins
   * anew. Must not throw or block.
   */
  readonly onLost: () => void;
  /** Records of one partition, ascending. Must not throw and must not block. */
  readonly onRecords: (topic: string, partition: number, records: readonly FetchedRecord[]) => void;
  /**
   * Of what is a partition, or a node, no records come, although the member goes on: why. Told once
   * for each reason, and with `undefined` when they come again or are not wanted any more. Must not
   * throw and must not block.
   */
  readonly onUnreadable: (what: string, why: string | undefined) => void;
  /**
   * The membership is over and everything it had is lost; the driver does not try again.
   * `BAD_CONFIGURATION`: the group works in another way (`protocol`). Called once at most.
   */
  readonly onEnded: (error: unknown) => void;
}

/** One membership of one group. */
export interface DriverMember {
  /** Fetches this partition from `offset` on. */
  begin(topic: string, partition: number, offset: number): void;
  pause(topic: string, partition: number): void;
  resume(topic: string, partition: number): void;
  /**
   * One attempt, under the generation of the call. Rejects with `STALE` when the group has gone on
   * without the member (nothing was stored), with `STORAGE_FAULT` for what may heal, a rebalance
   * under way included.
   */
  commit(offsets: readonly CommittedOffset[]): Promise<void>;
  /** Makes the group assign anew, with what `userData` says then. */
  rejoin(): void;
  /** `leaves` false: as if the process had died; the group notices after the session's time. */
  close(leaves: boolean): Promise<void>;
}

export interface KafkaDriver {
  /** Rejects with `SERVER_UNUSABLE` naming the setting. */
  connect(): Promise<void>;
  /** Those that exist. */
  describe(topics: readonly string[]): Promise<ReadonlyMap<string, TopicShape>>;
  /** What exists already is left as it is. */
  create(topics: readonly NewTopic[]): Promise<void>;
  ends(topic: string): Promise<ReadonlyMap<number, OffsetSpan>>;
  committed(
    group: string,
    assigned: readonly TopicPartitions[],
  ): Promise<readonly CommittedOffset[]>;
  /**
   * One attempt with `acks=all`; resolves when all are stored, in order per partition. Rejects
   * with `STORAGE_FAULT`, `UNKNOWN_TOPIC` or `PAYLOAD_TOO_LARGE` when none is, `INDETERMINATE`
   * when it cannot tell. The same records again at once are stored once if the client can see to
   * that; other records only after `renewProducer`.
   */
  produce(records: readonly KafkaRecord[]): Promise<void>;
  /** A producer that knows nothing of what went before. */
  renewProducer(): Promise<void>;
  /** Records of one partition from `offset` on, as many as fit; empty at the end. */
  read(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): Promise<readonly FetchedRecord[]>;
  /** Resolves at once; `onAssigned` or `onEnded` follows. */
  join(options: JoinOptions): DriverMember;
  /** Closes what is open; members first. Idempotent. */
  close(): Promise<void>;
}
