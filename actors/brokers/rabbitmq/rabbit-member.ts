/**
 * One member of a group: a connection of its own, its share of the partitions, and settling.
 *
 * A connection that is lost takes every partition with it; the member comes back with none, under
 * new epochs, and joins again. Settling what an older epoch handed out is `stale`. It refuses to
 * join a group whose members name other types.
 */

import type { ChannelModel } from "amqplib";

import type { Environment, Timer } from "../../../runtime/environment.ts";
import type {
  Burial,
  DeliveryRef,
  PartitionStanding,
  Postponement,
  SettleResult,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import type { DeadLetterQueue } from "./dead-letter-queue.ts";
import type { Beat, Membership, Plan } from "./membership.ts";
import type { ClaimPlace } from "./partition-claim.ts";
import type { LogLevel } from "./rabbit-link.ts";
import type { RabbitNames } from "./rabbit-names.ts";
import type { RabbitPublisher } from "./rabbit-publisher.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { describeError, ShopError } from "../../../runtime/errors.ts";
import { hasSameTypes } from "../group-crew.ts";
import { RemoteMember } from "../remote-member.ts";
import { AckFence } from "./ack-fence.ts";
import { AckGather } from "./ack-gather.ts";
import { ClaimTable } from "./claim-table.ts";
import { GroupMemory } from "./group-memory.ts";
import { isSettledGroup, planOf } from "./membership.ts";
import { PartitionClaim } from "./partition-claim.ts";
import { RabbitLink } from "./rabbit-link.ts";
import { RabbitPresence } from "./rabbit-presence.ts";

/** `subscribe` waits so long for the group to come to rest. */
const JOIN_MAX_MS = 5_000;
/** A partition that a lease took away is left to others for so many leases. */
const SHUN_LEASES = 2;
/** Leaves room to count on from anywhere below. */
const EPOCHS = 2 ** 40;
const PREFETCH_FRAMES_MIN = 8;
/** Changes of one moment are looked at together. */
const GATHER_MS = 20;

export interface RabbitMemberOptions {
  readonly environment: Environment;
  readonly settings: RabbitSettings;
  readonly names: RabbitNames;
  readonly partitions: number;
  readonly publisher: RabbitPublisher;
  readonly deadLetters: DeadLetterQueue;
  readonly subscribe: SubscribeOptions;
  readonly onClosed: () => void;
  readonly onLog: (level: LogLevel, text: string) => void;
}

export class RabbitMember implements Subscription {
  readonly #options: RabbitMemberOptions;
  readonly #id: string;
  /** Begins anywhere: members must not count the same. */
  #epoch: number;
  readonly #remote: RemoteMember;
  readonly #claims: ClaimTable;
  readonly #memory: GroupMemory;
  readonly #presence: RabbitPresence;
  readonly #fence: AckFence;
  readonly #acks: AckGather;
  readonly #link: RabbitLink;
  readonly #shunned = new Map<string, Set<number>>();
  readonly #timers = new Set<Timer>();
  readonly #joined = Promise.withResolvers<void>();
  #planned: Plan | undefined;
  #told: Beat | undefined;
  #looking: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: RabbitMemberOptions) {
    const { environment, settings, names, publisher, subscribe, onLog } = options;
    const { group } = subscribe;
    this.#options = options;
    this.#id = environment.newId();
    this.#epoch = Math.floor(environment.random() * EPOCHS);
    this.#remote = new RemoteMember({
      environment,
      subscribe,
      onSettled: (topic, partition, sequences) => {
        this.#claims.find(topic, partition)?.noteSettled(sequences);
      },
      onLeaseExpired: (topic, partition) => this.#shun(topic, partition),
    });
    this.#claims = new ClaimTable({
      environment,
      topics: subscribe.topics,
      share: (topic) => this.#plan().shares.get(topic) ?? [],
      newClaim: (place) => this.#newClaim(place),
      onChange: () => this.#changed(),
    });
    this.#memory = new GroupMemory(environment, publisher, names.memoryQueue(group).name, () =>
      this.#link.channel(this.#link.model, () => undefined),
    );
    this.#presence = new RabbitPresence({
      environment,
      publisher,
      names,
      group,
      id: this.#id,
      memberTimeoutMs: settings.memberTimeoutMs,
      joinWindowMs: settings.joinWindowMs,
      beat: () => this.#beat(),
      onChange: (heard) => this.#heard(heard),
    });
    this.#fence = new AckFence(() => publisher.fence());
    this.#acks = new AckGather(environment, subscribe.acks === "soon" ? settings.ackGatherMs : 0);
    this.#link = new RabbitLink({
      environment,
      settings,
      name: `${settings.prefix}${group} ${this.#id}`,
      setup: (model) => this.#setUp(model),
      onDown: () => this.#lose(),
      onAttempt: () => this.#lose(),
      onLog,
    });
  }

  /** Resolves when the group has come to rest with this member in it, or after a while. */
  async open(): Promise<void> {
    await this.#link.open();
    this.#after(JOIN_MAX_MS, () => this.#joined.resolve());
    await this.#joined.promise;
  }

  async ack(deliveries: readonly DeliveryRef[]): Promise<readonly SettleResult[]> {
    const results = this.#remote.settleAll(deliveries);
    if (this.#options.subscribe.acks === "soon") return results;
    const touched = new Map<PartitionClaim, Promise<boolean>>();
    for (const [index, ref] of deliveries.entries()) {
      const claim = this.#claims.find(ref.topic, ref.partition);
      if (results[index] !== "settled" || claim === undefined || touched.has(claim)) continue;
      touched.set(claim, this.#fence.pass(claim));
    }
    const answers = new Map<string, boolean>();
    for (const [{ topic, partition }, passing] of touched) {
      answers.set(`${partition}/${topic}`, await passing);
    }
    return deliveries.map(({ topic, partition }, index) => {
      const result = results[index] ?? "stale";
      const isCertain = answers.get(`${partition}/${topic}`) === true;
      return result !== "settled" || isCertain ? result : "stale";
    });
  }

  async postpone(ref: DeliveryRef, postponement: Postponement): Promise<SettleResult> {
    const result = this.#remote.postpone(ref, postponement);
    const { attempt, notBeforeMs } = postponement;
    const isDue = notBeforeMs <= this.#options.environment.nowMs();
    const copy = this.#claims.find(ref.topic, ref.partition)?.message(ref.sequence)?.copy;
    if (result !== "settled" || copy === undefined) return result;
    // A lease that is renewed says nothing that the next member would have to know.
    if (isDue && attempt <= (this.#memory.postponement(copy)?.attempt ?? 1)) return result;
    await this.#memory.remember(copy, postponement);
    return result;
  }

  async bury(ref: DeliveryRef, burial: Burial): Promise<SettleResult> {
    const result = this.#remote.probe(ref);
    const claim = this.#claims.find(ref.topic, ref.partition);
    if (result !== "settled" || claim === undefined) return result;
    const earlier = claim.burials.get(ref.sequence);
    if (earlier !== undefined) {
      await earlier;
      return this.#remote.probe(ref) === "settled" ? this.bury(ref, burial) : "repeat";
    }
    const burying = this.#bury(claim, ref, burial);
    claim.burials.set(
      ref.sequence,
      burying.catch(() => undefined), // told to whoever began it
    );
    try {
      return await burying;
    } finally {
      claim.burials.delete(ref.sequence);
    }
  }

  standing(look: (standings: readonly PartitionStanding[]) => void): Promise<void> {
    if (this.#closing !== undefined) {
      return Promise.reject(new ShopError("CLOSED", "rabbitmq: the member is closed", "never"));
    }
    look(this.#remote.standing());
    return Promise.resolve();
  }

  pause(): void {
    this.#remote.setPaused(true);
  }

  resume(): void {
    this.#remote.setPaused(false);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#options.onClosed();
    this.#presence.close();
    for (const timer of this.#timers) timer.cancel();
    // What was acknowledged is answered as such before the channels go.
    await Promise.all(this.#claims.all.map((claim) => this.#fence.pass(claim)));
    this.#acks.close();
    this.#remote.close();
    this.#claims.lose();
    this.#joined.resolve();
    await this.#link.close();
  }

  async #setUp(model: ChannelModel): Promise<void> {
    this.#lose();
    const renew = (): void => void this.#link.renew();
    await this.#presence.attach(model, this.#link, renew, () => {
      this.#claims.attach(model);
      this.#look();
    });
  }

  #lose(): void {
    this.#presence.detach();
    this.#claims.lose();
  }

  #heard(beat: Beat | undefined): void {
    const { group, types } = this.#options.subscribe;
    if (beat !== undefined && !hasSameTypes(setOf(types), beat.types)) {
      const text = `rabbitmq: a member of group ${group} names other types than this one`;
      this.#joined.reject(new ShopError("BAD_CONFIGURATION", text, "never"));
      this.#options.onLog("error", text);
    }
    this.#changed();
  }

  /** Much happens at once when members come and go; it is looked at together. */
  #changed(): void {
    if (this.#looking !== undefined || this.#closing !== undefined) return;
    this.#looking = this.#after(GATHER_MS, () => {
      this.#looking = undefined;
      this.#look();
    });
  }

  /** Takes its share, tells the others, and sees whether the group is at rest. */
  #look(): void {
    this.#claims.reconcile();
    const { membership, knowsAll } = this.#presence;
    if (knowsAll) this.#ownFree(membership);
    const mine = this.#beat();
    if (!Bun.deepEquals(mine, this.#told)) {
      this.#told = mine;
      this.#presence.tell();
    }
    if (isSettledGroup(mine, membership.others)) this.#joined.resolve();
  }

  /** Before the first delivery, what nobody else has. */
  #ownFree(membership: Membership): void {
    for (const topic of this.#options.subscribe.topics) {
      const elsewhere = membership.heldElsewhere(topic);
      for (const claim of this.#claims.all) {
        if (claim.topic === topic && !elsewhere.has(claim.partition)) claim.own();
      }
    }
  }

  #beat(): Beat {
    const held = this.#claims.held();
    const isSettled = this.#claims.isSettled();
    return { ...this.#self(), roster: this.#plan().roster, held, isSettled };
  }

  /** What of a beat does not depend on the others. */
  #self(): Beat {
    const { partitions, topics, types } = this.#options.subscribe;
    return {
      kind: "beat",
      id: this.#id,
      topics: [...topics],
      ...(partitions === undefined ? {} : { partitions: [...partitions] }),
      ...(types === undefined ? {} : { types: [...types] }),
      shunned: this.#shunnedByTopic(),
      held: {},
      roster: 0,
      isSettled: false,
    };
  }

  /** Worked out anew when somebody came, went, or may own something else. */
  #plan(): Plan {
    const { membership } = this.#presence;
    if (this.#planned?.version === membership.version) return this.#planned;
    this.#planned = planOf(this.#self(), membership, this.#options.partitions);
    return this.#planned;
  }

  #newClaim(place: ClaimPlace): PartitionClaim {
    const { topic, partition } = place;
    const { environment, settings, names, subscribe } = this.#options;
    const { group, creditFrames } = subscribe;
    const ahead = Math.max(PREFETCH_FRAMES_MIN, 2 * creditFrames);
    return new PartitionClaim({
      ...place,
      environment,
      queue: names.partitionQueue(group, topic, partition).name,
      prefetchFrames: Math.min(settings.prefetchFrames, ahead),
      handOverMs: settings.handOverMs,
      subscribe,
      remote: this.#remote,
      memory: this.#memory,
      acks: this.#acks,
      newEpoch: () => ++this.#epoch,
      link: this.#link,
      isBuried: (copy) => this.#isBuried(topic, copy),
      onLost: (claim, error) => {
        this.#options.onLog("info", `rabbitmq: ${topic}/${partition}: ${describeError(error)}`);
        this.#claims.forget(claim);
      },
      onOwned: () => this.#changed(),
    });
  }

  async #isBuried(topic: string, copy: string): Promise<boolean> {
    const { deadLetters, subscribe } = this.#options;
    const channel = await this.#link.channel(this.#link.model, () => undefined);
    return deadLetters.has(channel, topic, subscribe.group, copy);
  }

  async #bury(claim: PartitionClaim, ref: DeliveryRef, burial: Burial): Promise<SettleResult> {
    const { deadLetters, environment } = this.#options;
    const message = claim.message(ref.sequence);
    if (message === undefined) return "stale";
    const { bytes, copy } = message;
    const { group, topic, partition, sequence } = ref;
    // Cut short after the letter was written, the frame comes back and is looked for there.
    await this.#memory.announceBurial(copy);
    const buriedAtMs = environment.nowMs();
    const head = { group, topic, partition, sequence, burial, buriedAtMs, copy };
    await deadLetters.append(bytes, head);
    const result = this.#remote.settle(ref, "dead");
    if (result !== "settled") return result;
    return (await this.#fence.pass(claim)) ? "settled" : "stale";
  }

  /** A lease has run out: others first, for a while. */
  #shun(topic: string, partition: number): void {
    const { subscribe } = this.#options;
    const shunned = this.#shunned.get(topic) ?? new Set();
    this.#shunned.set(topic, shunned);
    shunned.add(partition);
    this.#planned = undefined;
    this.#after(subscribe.leaseMs * SHUN_LEASES, () => {
      shunned.delete(partition);
      this.#planned = undefined;
      this.#changed();
    });
    void this.#claims.drop(topic, partition);
  }

  #shunnedByTopic(): Record<string, number[]> {
    const shunned: Record<string, number[]> = {};
    for (const [topic, partitions] of this.#shunned) {
      if (partitions.size > 0) shunned[topic] = [...partitions];
    }
    return shunned;
  }

  #after(delayMs: number, act: () => void): Timer {
    const timer = this.#options.environment.startTimer(delayMs, () => {
      this.#timers.delete(timer);
      if (this.#closing === undefined) act();
    });
    this.#timers.add(timer);
    return timer;
  }
}

function setOf(types: readonly number[] | undefined): ReadonlySet<number> | undefined {
  return types === undefined ? undefined : new Set(types);
}
