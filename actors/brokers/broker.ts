/**
 * The broker port: how frames enter and leave a shard, whatever carries them.
 *
 * Adapters translate and nothing else. Order per key, retry, duplicates, dead-lettering and flow
 * control live once, above this port, in `actors/delivery/`. Every adapter passes `testBroker`.
 *
 * A topic has a fixed number of partitions; a frame's partition is the slot in its header. A group
 * receives each partition through one member at a time, in order of sequence. A delivery stays
 * unsettled until its member acknowledges or buries it; unsettled deliveries come back, with a
 * higher attempt, when the member closes, dies, loses the partition, or holds one past its lease.
 */

/** A frame on its way out. Its partition is the slot in its header. */
export interface Outgoing {
  readonly topic: string;
  readonly frame: Uint8Array;
}

/** Names one attempt of one group at one frame. Settling under an old epoch is `stale`. */
export interface DeliveryRef {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  /** Position in the partition: starts at 1, without gaps. */
  readonly sequence: number;
  /** Changes whenever the partition is assigned anew. */
  readonly epoch: number;
}

export interface Delivery extends DeliveryRef {
  /** The frame as it was published: not checked, perhaps not even a frame. */
  readonly bytes: Uint8Array;
  /** 1 for the first attempt of this group at this frame. */
  readonly attempt: number;
  /** Not to be handled before this wall-clock time; 0: at once. Set after `postpone`. */
  readonly notBeforeMs: number;
  /** Why the bytes of a foreign producer are no frame; absent: the broker knows nothing of it. */
  readonly fault?: string;
}

/** `settled`: now. `repeat`: it already was. `stale`: the epoch is over; nothing happened. */
export type SettleResult = "settled" | "repeat" | "stale";

/** Why and when a delivery is tried again. Remembered by the broker across its own restart. */
export interface Postponement {
  readonly attempt: number;
  readonly notBeforeMs: number;
  readonly error: string;
}

/** What is kept of a frame that was given up on. */
export interface Burial {
  /** Short and countable: `poison`, `bad_frame`, `expired`, … */
  readonly reason: string;
  readonly attempts: number;
  readonly firstError: string;
  readonly lastError: string;
}

/**
 * Whether nothing of some partitions is being worked on any more. `again`: not yet, and it is worth
 * asking anew once that resolves, which may be never. `false`: not, or it cannot tell.
 */
export type AtRest = boolean | { readonly again: Promise<void> };

export interface SubscribeOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** Where a group without a stored position begins. */
  readonly from: "earliest" | "latest";
  /** Most deliveries this member holds unsettled; the broker stops there until some settle. */
  readonly creditFrames: number;
  /** Most bytes it holds unsettled (always at least one delivery). */
  readonly creditBytes: number;
  /** A delivery held longer than this is taken away with its partition. */
  readonly leaseMs: number;
  /** Partitions this member may own; absent: any. A shard names its own slots. */
  readonly partitions?: readonly number[];
  /**
   * Types of frames (numbers in their headers) that concern the group; absent: all. A broker that
   * `filtersTypes` passes the others by. All members of a group name the same.
   */
  readonly types?: readonly number[];
  /**
   * `durable`, the default: `ack` resolves once the acknowledgement survives the member. `soon`: it
   * resolves at once and the server hears of it within a second; whoever dies in between is given
   * the frame again. For handlers whose store refuses to do a thing twice.
   */
  readonly acks?: "durable" | "soon";
  /**
   * The member owns these partitions now; nothing of them is delivered before it resolves. A
   * rejection gives them back.
   */
  readonly onAssigned?: (topic: string, partitions: readonly number[]) => Promise<void>;
  /**
   * The member is about to lose these partitions: nothing more of them is delivered, what is in
   * hand may still be settled until it resolves or the broker cannot wait any longer. `onRevoked`
   * follows. A member that is cut off is revoked without. It resolves to whether nothing of them is
   * being worked on any more, as for `close`. Of what is revoked already it only tells that, and
   * may be asked at any time.
   */
  readonly onRevoking?: (topic: string, partitions: readonly number[]) => Promise<AtRest>;
  /** Called with deliveries of one partition, in order. Must not throw and must not block. */
  readonly onDeliveries: (deliveries: readonly Delivery[]) => void;
  /** The member no longer owns these partitions: forget what is in hand, settle nothing of it. */
  readonly onRevoked?: (topic: string, partitions: readonly number[]) => void;
  /** The connection is beyond repair; the subscription is closed. */
  readonly onFailure?: (error: unknown) => void;
}

/**
 * How one partition stands; every figure is counted on its own path. The books begin where their
 * keeper does: with the broker's process where that keeps the groups, and with the assignment, so
 * with the epoch, where members keep their own (`remoteMembers`). `sent` and `settled` begin with
 * the epoch everywhere.
 */
export interface PartitionStanding {
  readonly topic: string;
  readonly partition: number;
  readonly epoch: number;
  /**
   * Records since the books began; what was unsettled then included. Members that keep their own
   * count what they received, and not what the server still has.
   */
  readonly published: number;
  /**
   * Of those: settled without being handed out, because they do not concern the group, or because
   * an owner before these books had settled them.
   */
  readonly passedBy: number;
  readonly acked: number;
  readonly dead: number;
  /** With the member. */
  readonly inHand: number;
  /** With no member. */
  readonly waiting: number;
  /** Unsettled records behind the last that was handed out: again those that wait. */
  readonly unread: number;
  /** Deliveries sent to this member, and settlements taken from it, in this epoch. */
  readonly sent: number;
  readonly settled: number;
}

export interface Subscription {
  /** Resolves when the acknowledgement cannot be lost by a restart of the member. Idempotent. */
  ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]>;
  /** Records attempt and due time. The member keeps the delivery and tries it again itself. */
  postpone(delivery: DeliveryRef, postponement: Postponement): Promise<SettleResult>;
  /** Moves the frame to the dead letters and settles it, both or neither. */
  bury(delivery: DeliveryRef, burial: Burial): Promise<SettleResult>;
  /**
   * Calls `look` with the partitions of this member of which something changed since it was last
   * called. It happens in the answer's own place in the stream: after every delivery that was sent
   * before it and before any that is sent after. Rejects without a call with `CLOSED` or
   * `SATURATED`.
   */
  standing(look: (standings: readonly PartitionStanding[]) => void): Promise<void>;
  /** Stops new deliveries; those in hand stay in hand. */
  pause(): void;
  resume(): void;
  /**
   * Gives back what is unsettled and ends. Idempotent; settles every pending promise. `isAtRest`:
   * nothing that was delivered is still being worked on, so that nobody need be kept off.
   */
  close(isAtRest: boolean): Promise<void>;
}

/** Whether a server can be reached, as its adapter sees it. */
export interface ConnectionState {
  readonly isUp: boolean;
  /** Why not, in one line; empty when it is. */
  readonly detail: string;
}

export interface BrokerCapabilities {
  /** Survives its own restart. */
  readonly persistent: boolean;
  /** Once `publish` resolves, a crash of the broker loses nothing. */
  readonly confirmIsDurable: boolean;
  /** Remembers `postpone` across its own restart. */
  readonly durablePostpone: boolean;
  /** A group may start at `latest` or read from `earliest` at any time. */
  readonly replay: boolean;
  /** Stores a frame published twice under one message id once. */
  readonly serverDedup: boolean;
  /** A delivery held past its lease goes to another member while its holder lives. */
  readonly leasesMove: boolean;
  /** A position in a partition names the same record for every member, for ever. */
  readonly sequencesLast: boolean;
  /**
   * Members may be other processes, which can be stopped and killed; each keeps the books of its
   * partitions itself.
   */
  readonly remoteMembers: boolean;
  /** Does not hand out frames of types that a group did not name. */
  readonly filtersTypes: boolean;
  /** Largest frame accepted, in bytes. */
  readonly frameBytesMax: number;
}

/** A frame that was given up on, as kept. */
export interface DeadLetter {
  readonly id: number;
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: number;
  readonly bytes: Uint8Array;
  readonly burial: Burial;
  readonly buriedAtMs: number;
}

export interface Broker {
  readonly capabilities: BrokerCapabilities;
  /**
   * Resolves when all frames are stored, in order per partition; rejects when it is known that
   * none is. Throws `PAYLOAD_TOO_LARGE` or `UNKNOWN_TOPIC` at once, with nothing stored;
   * `STORAGE_FULL`, `STORAGE_FAULT`, `CLOSED`: nothing stored; `INDETERMINATE`: it cannot tell.
   */
  publish(frames: readonly Outgoing[]): Promise<void>;
  subscribe(options: SubscribeOptions): Promise<Subscription>;
  /** Dead letters of `topic`, oldest first, after id `afterId` (0: from the start). */
  deadLetters(topic: string, afterId: number, limit: number): Promise<readonly DeadLetter[]>;
  /** Flushes, closes every subscription, settles every pending promise. Idempotent. */
  close(): Promise<void>;
}
