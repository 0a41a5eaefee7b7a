/**
 * A member of a group: takes deliveries in, hands them to a handler, settles them.
 *
 * Frames of one key are handled one at a time and in order, whatever topic they come from; while
 * one waits for its retry the later ones are parked behind it, and other keys go on. What is in
 * hand is bounded by the credit given to the broker. It refuses to hand over bytes that are not a
 * frame, a body that does not decode, and frames past their deadline; none of them reaches the
 * handler. Order holds per partition: a redelivered frame may come after a later one.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Broker } from "../brokers/broker.ts";
import type { ConsumerEvent } from "./consumer-event.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import type { PartitionStats } from "./in-hand.ts";
import type { PartitionBook } from "./member-books.ts";
import type { Handler } from "./outcome.ts";

import { DELIVERY_POLICY } from "./delivery-policy.ts";
import { GroupMember } from "./group-member.ts";

export interface ConsumerOptions<Body> {
  readonly broker: Pick<Broker, "subscribe">;
  readonly environment: Environment;
  readonly group: string;
  readonly topics: readonly string[];
  /** Partitions this member may own; absent: any. */
  readonly partitions?: readonly number[];
  /** Where a group without a stored position begins; absent: `earliest`. */
  readonly from?: "earliest" | "latest";
  /**
   * Types of frames (numbers in their headers) that concern the handler; absent: all. A broker that
   * can filters the others out; where one arrives it is acknowledged once its checksum is good,
   * without being decoded or waiting behind its key.
   */
  readonly types?: readonly number[];
  /** See `SubscribeOptions`; absent: `durable`. */
  readonly acks?: "durable" | "soon";
  /** Throws a `ShopError` for a body that is not fit to be handled. */
  readonly decode: (frame: Frame) => Body;
  readonly handler: Handler<Body>;
  readonly policy?: DeliveryPolicy;
  readonly onEvent?: (event: ConsumerEvent) => void;
  /**
   * Partitions are this member's from now on, and what another has begun of them with it: before
   * anything of them is delivered. Brokers that assign nothing do not call it. Must not throw.
   */
  readonly onAssigned?: () => void;
  /** The subscription broke and cannot be repaired; the consumer is closed. */
  readonly onFailure?: (error: unknown) => void;
}

export interface ConsumerStats {
  readonly partitions: readonly PartitionStats[];
  readonly retries: number;
  /** Settlements that the broker did not take, each tried again. */
  readonly settleFailures: number;
  readonly expired: number;
}

export interface Consumer {
  /**
   * Starts nothing new, waits at most `withinMs` for handlers and settlements under way, then
   * closes. What is left is given back.
   */
  drain(withinMs: number): Promise<void>;
  /** Aborts the handlers' signal, gives back everything in hand, and ends. Idempotent. */
  close(): Promise<void>;
  stats(): ConsumerStats;
  /**
   * The broker's count of each partition beside this end's, for the ledger; one call at a time.
   * Empty once it closes. Rejects with what the broker refused it with.
   */
  books(): Promise<readonly PartitionBook[]>;
}

/** Joins the group. Rejects when the broker refuses the subscription. */
export async function startConsumer<Body>(options: ConsumerOptions<Body>): Promise<Consumer> {
  const { policy = DELIVERY_POLICY, onAssigned } = options;
  const member = new GroupMember(options, policy);
  const subscription = await options.broker.subscribe({
    group: options.group,
    topics: options.topics,
    from: options.from ?? "earliest",
    creditFrames: policy.creditFrames,
    creditBytes: policy.creditBytes,
    leaseMs: policy.leaseMs,
    ...(options.partitions === undefined ? {} : { partitions: options.partitions }),
    ...(options.types === undefined ? {} : { types: options.types }),
    ...(options.acks === undefined ? {} : { acks: options.acks }),
    ...(onAssigned === undefined ? {} : { onAssigned: async () => onAssigned() }),
    onDeliveries: (deliveries) => member.arrive(deliveries),
    onRevoking: (topic, partitions) => member.finish(topic, partitions),
    onRevoked: (topic, partitions) => member.revoke(topic, partitions),
    onFailure: (error) => {
      member.abandon();
      options.onFailure?.(error);
    },
  });
  member.begin(subscription);
  return member;
}
