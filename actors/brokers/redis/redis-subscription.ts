/**
 * A member of a group on Redis: brings together who owns what, what is read, and what is settled.
 *
 * Settling is decided here and then told: an acknowledgement that somebody waits for resolves once
 * the server has it, or as `stale` once the partition is another's. A partition is given up when
 * what is in hand of it is settled, or its time is over. Refuses to settle after `close`.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type {
  Burial,
  DeliveryRef,
  PartitionStanding,
  Postponement,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import type { GroupKeys } from "./redis-keys.ts";
import type { Claim } from "./redis-membership.ts";
import type { RedisLink } from "./redis-link.ts";
import type { RedisSettings } from "./redis-options.ts";
import type { StoredPlace } from "./redis-position.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { RemoteMember } from "../remote-member.ts";
import { RedisAckQueue } from "./redis-ack-queue.ts";
import { groupKeys, logKey } from "./redis-keys.ts";
import { NOTHING_UNSEEN, RedisGroupDesk } from "./redis-group-desk.ts";
import { RedisMembership } from "./redis-membership.ts";
import { RedisReader } from "./redis-reader.ts";
import { RedisTaking } from "./redis-taking.ts";
import { SettleWatch } from "./settle-watch.ts";

export interface RedisSubscriptionOptions {
  readonly settings: RedisSettings;
  readonly environment: Environment;
  readonly control: RedisLink;
  /** A connection of its own, already open; closed with the subscription. */
  readonly link: RedisLink;
  readonly partitions: number;
  readonly subscribe: SubscribeOptions;
  readonly onTrouble: (error: unknown) => void;
  readonly onEnd: () => void;
}

interface Held {
  readonly fence: string;
  /** It is being given up. */
  isGoing: boolean;
}

export class RedisSubscription implements Subscription {
  readonly #options: RedisSubscriptionOptions;
  readonly #id: string;
  readonly #member: RemoteMember;
  readonly #desk: RedisGroupDesk;
  readonly #reader: RedisReader;
  readonly #acks: RedisAckQueue;
  readonly #taking: RedisTaking;
  readonly #membership: RedisMembership;
  readonly #held = new Map<number, Held>();
  readonly #fences = new Map<number, string>();
  readonly #epochs = new Map<number, number>();
  readonly #settles = new SettleWatch();
  #isBurying = false;
  #closing: Promise<void> | undefined;

  constructor(options: RedisSubscriptionOptions) {
    const { settings, environment, control, link, subscribe, onTrouble } = options;
    const { group } = subscribe;
    this.#options = options;
    this.#id = environment.newId();
    const keys = groupKeys(settings.prefix, group);
    const shared = { environment, group, ownersKey: keys.owners, onTrouble };
    const onStale = (partition: number, fence: string): void => {
      if (this.#fences.get(partition) === fence) this.#lose([partition]);
    };
    this.#member = new RemoteMember({
      environment,
      subscribe,
      onSettled: (topic, partition, sequences) => this.#settled(topic, partition, sequences),
      onRoom: () => this.#reader.wake(),
      onLeaseExpired: (topic, partition, { cursor }) =>
        void this.#leaseExpired(partition, new Map([[topic, cursor]])),
    });
    this.#desk = new RedisGroupDesk({
      settings,
      link: control,
      group,
      topics: subscribe.topics,
      partitions: options.partitions,
      consumer: this.#id,
    });
    this.#acks = new RedisAckQueue({
      ...shared,
      link: control,
      prefix: settings.prefix,
      delayMs: settings.ackDelayMs,
      onStale,
    });
    this.#reader = new RedisReader({
      ...shared,
      settings,
      link,
      control,
      consumer: this.#id,
      creditBytes: subscribe.creditBytes,
      member: this.#member,
      onStale,
      onGroupGone: () => void this.#groupGone(),
      onBroken: (error) => this.#fail(error),
    });
    this.#taking = new RedisTaking({
      environment,
      handOverMs: settings.handOverMs,
      subscribe,
      desk: this.#desk,
      onTaken: (claim, places) => this.#assign(claim, places),
      giveBack: ({ partition, fence }) => this.#release(partition, fence, new Map()),
      onGroupGone: () => this.#groupGone(),
      onTrouble,
    });
    this.#membership = this.#newMembership(keys);
  }

  /** Joins the group. Rejects when the server or the others of the group refuse. */
  async start(): Promise<void> {
    await this.#desk.ensureGroups(this.#options.subscribe.from);
    this.#reader.start();
    await this.#membership.join();
  }

  /** The connection of its own is new. */
  reconnected(): void {
    this.#reader.reconnected();
  }

  /** The server may have lost what it had: nothing that was learned from it counts any more. */
  forget(): void {
    this.#lose([...this.#claims().keys()]);
    this.#membership.hurry();
  }

  /** Logs of the partitions that are held. */
  logs(): readonly string[] {
    const { settings, subscribe } = this.#options;
    return [...this.#held.keys()].flatMap((partition) =>
      subscribe.topics.map((topic) => logKey(settings.prefix, topic, partition)),
    );
  }

  get group(): string {
    return this.#options.subscribe.group;
  }

  async ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    if (this.#closing !== undefined) return deliveries.map(() => "stale");
    const results = this.#member.settleAll(deliveries);
    this.#settles.changed();
    if (this.#options.subscribe.acks === "soon") return results;
    const places = new Map(deliveries.map((ref) => [placeName(ref.topic, ref.partition), ref]));
    const taken = new Map<string, boolean>();
    await Promise.all(
      [...places].map(async ([place, { partition, topic }]) => {
        taken.set(place, await this.#acks.confirmed(partition, topic));
      }),
    );
    return results.map((result, at) => {
      const ref = deliveries[at];
      const isTaken = ref !== undefined && taken.get(placeName(ref.topic, ref.partition)) === true;
      return result === "settled" && !isTaken ? "stale" : result;
    });
  }

  async postpone(ref: DeliveryRef, postponement: Postponement): Promise<SettleResult> {
    const result = this.#probe(ref);
    const fence = this.#fences.get(ref.partition);
    if (result !== "settled" || fence === undefined) return result;
    const { topic, partition } = ref;
    const isMine = await this.#desk.postpone(ref, fence, postponement);
    if (!isMine) return this.#stale(partition, fence);
    this.#acks.postponed(topic, partition);
    return this.#member.postpone(ref, postponement);
  }

  async bury(ref: DeliveryRef, burial: Burial): Promise<SettleResult> {
    const result = this.#probe(ref);
    const fence = this.#fences.get(ref.partition);
    if (result !== "settled" || fence === undefined) return result;
    const atMs = this.#options.environment.nowMs();
    const isMine = await this.#desk.bury(ref, fence, burial, atMs);
    if (!isMine) return this.#stale(ref.partition, fence);
    this.#isBurying = true;
    const settled = this.#member.settle(ref, "dead");
    this.#isBurying = false;
    this.#settles.changed();
    return settled;
  }

  async standing(look: (standings: readonly PartitionStanding[]) => void): Promise<void> {
    await Promise.resolve();
    if (this.#closing !== undefined) {
      throw new ShopError("CLOSED", "the subscription was closed", "never");
    }
    look(this.#member.standing());
  }

  pause(): void {
    this.#member.setPaused(true);
  }

  resume(): void {
    this.#member.setPaused(false);
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    const { control, onTrouble } = this.#options;
    this.#taking.lose([...this.#taking.fences.keys()]);
    await this.#membership.stop();
    // What is in the buffers has been handed to nobody, and nothing more is.
    const seen = new Map([...this.#held.keys()].map((each) => [each, this.#seen(each)]));
    this.#member.close();
    this.#settles.changed();
    await this.#reader.close();
    if (control.isUp) {
      await this.#acks.settledWithin(this.#options.settings.commandTimeoutMs);
      const released = [...this.#held].map(([partition, { fence }]) =>
        this.#release(partition, fence, seen.get(partition) ?? new Map()),
      );
      await Promise.all(released);
      await this.#membership.leave().catch(onTrouble);
    }
    this.#acks.close();
    this.#held.clear();
    this.#fences.clear();
    this.#options.onEnd();
  }

  #newMembership(keys: GroupKeys): RedisMembership {
    const { settings, environment, control, subscribe, onTrouble } = this.#options;
    const { partitions: count } = this.#options;
    return new RedisMembership({
      settings,
      environment,
      link: control,
      keys,
      me: this.#id,
      onTrouble,
      partitions: Array.from({ length: count }, (_, partition) => partition),
      mayOwn: subscribe.partitions,
      types: subscribe.types,
      held: () => this.#claims(),
      onClaimed: (claims) => this.#taking.take(claims),
      onLost: (partitions) => this.#lose(partitions),
      onGive: (partitions) => void this.#give(partitions),
      onLeftOver: (partition, fence) => void this.#release(partition, fence, new Map()),
      onRefused: (error) => this.#fail(error),
    });
  }

  /** Fences of what is held or being taken on, by partition. */
  #claims(): ReadonlyMap<number, string> {
    return new Map([...this.#fences, ...this.#taking.fences]);
  }

  #probe(ref: DeliveryRef): SettleResult {
    return this.#closing === undefined ? this.#member.probe(ref) : "stale";
  }

  #settled(topic: string, partition: number, sequences: readonly number[]): void {
    const fence = this.#fences.get(partition);
    if (this.#isBurying || fence === undefined) return;
    this.#acks.add({ topic, partition, fence }, sequences);
  }

  #assign({ partition, epoch, fence }: Claim, places: readonly StoredPlace[]): void {
    this.#held.set(partition, { fence, isGoing: false });
    this.#fences.set(partition, fence);
    // A server that lost everything counts from the start.
    const ownEpoch = Math.max(epoch, (this.#epochs.get(partition) ?? 0) + 1);
    this.#epochs.set(partition, ownEpoch);
    for (const [at, topic] of this.#options.subscribe.topics.entries()) {
      const found = places[at];
      if (found === undefined) continue;
      const { position, pending, postponed } = found;
      const stored = { position, settledAbove: [], postponed };
      this.#member.assign(topic, partition, stored, ownEpoch);
      if (postponed.size > 0) this.#acks.postponed(topic, partition);
      this.#reader.add({ topic, partition, fence }, position, pending > 0);
    }
  }

  /** Forgets partitions and everything in hand of them. */
  #lose(partitions: readonly number[]): void {
    this.#taking.lose(partitions);
    const lost = partitions.filter((partition) => this.#held.delete(partition));
    for (const partition of lost) {
      this.#fences.delete(partition);
      this.#reader.remove(partition);
      this.#acks.drop(partition);
    }
    for (const topic of this.#options.subscribe.topics) this.#member.revoke(topic, lost);
    this.#settles.changed();
    if (lost.length > 0) this.#membership.hurry();
  }

  #stale(partition: number, fence: string): SettleResult {
    if (this.#fences.get(partition) === fence) this.#lose([partition]);
    return "stale";
  }

  /** Lets partitions go once what is in hand of them is settled, or their time is over. */
  async #give(partitions: readonly number[]): Promise<void> {
    const { subscribe, environment, settings, onTrouble } = this.#options;
    const going = partitions.flatMap((partition) => {
      const held = this.#held.get(partition);
      return held === undefined || held.isGoing ? [] : [[partition, held] as const];
    });
    if (going.length === 0) return;
    const ids = going.map(([partition]) => partition);
    for (const [, held] of going) held.isGoing = true;
    for (const topic of subscribe.topics) this.#member.endDelivering(topic, ids);
    const unread = this.#reader.stopReading(ids);
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = environment.startTimer(settings.handOverMs, resolve);
    const settled = Promise.all([unread, this.#letGo(ids)]).then(() => undefined, onTrouble);
    await Promise.race([settled, late]);
    timer.cancel();
    const released = going.map(async ([partition, held]) => {
      if (this.#held.get(partition) !== held || this.#closing !== undefined) return;
      const seen = this.#seen(partition);
      this.#lose([partition]);
      await this.#release(partition, held.fence, seen);
    });
    await Promise.all(released);
  }

  async #letGo(partitions: readonly number[]): Promise<void> {
    const { topics, onRevoking } = this.#options.subscribe;
    const isEmpty = (topic: string) =>
      partitions.every((each) => this.#member.inHand(topic, each) === 0);
    if (onRevoking === undefined) await this.#settles.until(() => topics.every(isEmpty));
    else await Promise.all(topics.map((topic) => onRevoking(topic, partitions)));
    await Promise.all(partitions.map((partition) => this.#acks.confirmed(partition)));
  }

  #seen(partition: number): ReadonlyMap<string, number> {
    const { topics } = this.#options.subscribe;
    return new Map(
      topics.map((topic) => [
        topic,
        this.#member.position(topic, partition)?.cursor ?? NOTHING_UNSEEN,
      ]),
    );
  }

  /** Does not reject: what is left over is released later, or taken once this member is gone. */
  async #release(
    partition: number,
    fence: string,
    seen: ReadonlyMap<string, number>,
  ): Promise<void> {
    const upTo = (topic: string) => this.#reader.receivedUpTo(topic, partition);
    await this.#desk.release(partition, fence, seen, upTo).catch(this.#options.onTrouble);
  }

  async #leaseExpired(partition: number, seen: ReadonlyMap<string, number>): Promise<void> {
    const fence = this.#fences.get(partition);
    if (fence === undefined) return;
    const allSeen = new Map([...this.#seen(partition), ...seen]);
    await this.#acks.confirmed(partition);
    if (this.#fences.get(partition) !== fence) return;
    this.#lose([partition]);
    this.#membership.unwell();
    await this.#release(partition, fence, allSeen);
    this.#membership.hurry();
  }

  async #groupGone(): Promise<void> {
    this.#lose([...this.#claims().keys()]);
    await this.#desk.ensureGroups("earliest").catch(this.#options.onTrouble);
  }

  #fail(error: unknown): void {
    if (this.#closing !== undefined) return;
    this.#options.subscribe.onFailure?.(error);
    void this.close();
  }
}

function placeName(topic: string, partition: number): string {
  return `${partition}:${topic}`;
}
