/**
 * Claims of one member over fake channels, for the tests of claims and of what keeps them.
 *
 * A channel keeps what it is told; the member is the real one, time is virtual. Refuses nothing.
 */

import type { Channel, ChannelModel, LazyMessage, Message } from "amqplib";

import type { VirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import type { Delivery, Postponement, SubscribeOptions } from "../broker.ts";
import type { GroupMemory } from "./group-memory.ts";
import type { ClaimPlace } from "./partition-claim.ts";
import type { RabbitLink } from "./rabbit-link.ts";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RemoteMember } from "../remote-member.ts";
import { AckGather } from "./ack-gather.ts";
import { PartitionClaim } from "./partition-claim.ts";

class FakeChannel {
  /** In order. */
  readonly told: string[];
  consumer: ((message: LazyMessage | null) => void) | undefined;
  /** Messages whose properties were asked for, by tag. */
  readonly decoded = new Set<number>();
  lose: ((error: unknown) => void) | undefined;

  constructor(told: string[]) {
    this.told = told;
  }

  prefetch(): Promise<void> {
    return Promise.resolve();
  }

  consumeLazily(_queue: string, consumer: (message: LazyMessage | null) => void): Promise<void> {
    this.told.push("consume");
    this.consumer = consumer;
    return Promise.resolve();
  }

  ack({ fields }: Message, isAllUpTo: boolean): void {
    this.told.push(isAllUpTo ? `through ${fields.deliveryTag}` : `only ${fields.deliveryTag}`);
  }

  checkQueue(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.told.push("close");
    return Promise.resolve();
  }

  /** The next frames, given out before as often as `count` says. `frame`: which one, by number. */
  send(tag: number, count = 0, frame = tag): void {
    const headers = count === 0 ? {} : { "x-delivery-count": count };
    const { decoded } = this;
    const message = {
      deliveryTag: tag,
      bytes: Buffer.from(`frame ${frame}`),
      hasHeaders: count > 0,
      get properties() {
        decoded.add(tag);
        return { headers, correlationId: `copy-${frame}` };
      },
    };
    this.consumer?.(message as unknown as LazyMessage); // the claim reads no more of it
  }
}

type UsedMemory = Pick<GroupMemory, "catchUp" | "forget" | "isBeingBuried" | "postponement">;

/** Of every copy it knows a retry. */
class FakeMemory implements UsedMemory {
  readonly forgotten: string[] = [];
  readings = 0;
  readonly #burying: readonly string[];

  constructor(burying: readonly string[]) {
    this.#burying = burying;
  }

  catchUp(): Promise<void> {
    this.readings++;
    return Promise.resolve();
  }

  forget(copy: string): void {
    this.forgotten.push(copy);
  }

  isBeingBuried(copy: string): boolean {
    return this.#burying.includes(copy);
  }

  postponement(copy: string): Postponement | undefined {
    return copy === "" ? undefined : { attempt: 4, notBeforeMs: 99, error: "later" };
  }
}

interface Rigging {
  /** What is absent: of topic `t`, partition 0, and never succeeded. */
  readonly place?: Partial<ClaimPlace>;
  readonly subscribe?: Partial<SubscribeOptions>;
  /** Copies whose burial has begun. */
  readonly burying?: readonly string[];
  readonly isBuried?: boolean | Promise<boolean>;
  readonly ackGatherMs?: number;
  /** Resolves when the channel may be there. */
  readonly channelIsThere?: Promise<void>;
  /** Whose claim it is; absent: of one that had none before. */
  readonly member?: RigMember;
  /** Where its channel keeps what it is told. */
  readonly told?: string[];
  readonly onLost?: (claim: PartitionClaim) => void;
}

export interface RigMember {
  readonly environment: VirtualEnvironment;
  readonly options: SubscribeOptions;
  readonly remote: RemoteMember;
  readonly deliveries: Delivery[];
  /** Its claims now, by topic. */
  readonly claims: Map<string, PartitionClaim>;
  epoch: number;
}

export function createMember(subscribe?: Partial<SubscribeOptions>): RigMember {
  const environment = createVirtualEnvironment();
  const deliveries: Delivery[] = [];
  const options = subscribing((batch) => void deliveries.push(...batch), subscribe);
  const claims = new Map<string, PartitionClaim>();
  const remote = new RemoteMember({
    environment,
    subscribe: options,
    onSettled: (topic, _partition, sequences) => claims.get(topic)?.noteSettled(sequences),
  });
  return { environment, options, remote, deliveries, claims, epoch: 6 };
}

function linkTo(channel: FakeChannel, channelIsThere: Promise<void> | undefined): RabbitLink {
  const link: Pick<RabbitLink, "channel"> = {
    channel: async (_model, onLost) => {
      await channelIsThere;
      channel.lose = onLost;
      return channel as unknown as Channel; // the claim uses what the fake has
    },
  };
  return link as RabbitLink; // the claim uses what the fake has
}

function subscribing(
  onDeliveries: SubscribeOptions["onDeliveries"],
  more: Partial<SubscribeOptions> | undefined,
): SubscribeOptions {
  return {
    group: "g",
    topics: ["t"],
    from: "earliest",
    creditFrames: 100,
    creditBytes: 1_000_000,
    leaseMs: 60_000,
    onDeliveries,
    ...more,
  };
}

export function createRig({
  place,
  subscribe,
  burying = [],
  isBuried = false,
  ackGatherMs = 0,
  channelIsThere,
  member = createMember(subscribe),
  told = [],
  onLost,
}: Rigging = {}) {
  const { environment, options, remote, deliveries } = member;
  const channel = new FakeChannel(told);
  const lost: unknown[] = [];
  const memory = new FakeMemory(burying);
  const claim = new PartitionClaim({
    topic: "t",
    partition: 0,
    isSucceeded: () => false,
    ...place,
    environment,
    queue: "q",
    prefetchFrames: 10,
    handOverMs: 1_000,
    subscribe: options,
    remote,
    memory: memory as unknown as GroupMemory, // the claim uses what the fake has
    acks: new AckGather(environment, ackGatherMs),
    newEpoch: () => ++member.epoch,
    link: linkTo(channel, channelIsThere),
    isBuried: () => Promise.resolve(isBuried),
    onLost: (own, error) => {
      lost.push(error);
      onLost?.(own);
    },
    onOwned: () => undefined,
  });
  member.claims.set(claim.topic, claim);
  const open = (): Promise<void> => claim.open({} as ChannelModel); // handed on to the link
  const sequences = (): number[] => deliveries.map(({ sequence }) => sequence);
  return {
    environment,
    channel,
    claim,
    remote,
    deliveries,
    lost,
    forgotten: memory.forgotten,
    open,
    sequences,
    reads: () => memory.readings,
  };
}
