/**
 * A member's seat in its Kafka group: taking it, what it brings, and taking it again when lost.
 *
 * The group assigns all members anew whenever one comes or goes, but what stays with a member goes
 * on as if nothing had happened. What is new begins where the group left it, after the subscriber
 * has agreed. What goes elsewhere is handed over first (`slot-hand-over.ts`), while the member
 * still claims it; only then the group is asked to assign once more. A seat that is lost is taken
 * again after a pause, for ever.
 */

import type { Timer } from "../../../runtime/environment.ts";
import type { SubscribeOptions } from "../broker.ts";
import type { RemoteMember } from "../remote-member.ts";
import type { Beginning } from "./kafka-assignment.ts";
import type {
  CommittedOffset,
  DriverMember,
  FetchedRecord,
  TopicPartitions,
} from "./kafka-driver.ts";
import type { MemberSite } from "./kafka-member.ts";
import type { OffsetCommitter } from "./offset-committer.ts";

import { describeError, isShopError, ShopError } from "../../../runtime/errors.ts";
import { HandOver } from "./slot-hand-over.ts";
import { beginningsOf } from "./kafka-assignment.ts";
import { settledWithin } from "./settled-within.ts";
import { assignGroup, encodeWish } from "./slot-assigner.ts";

const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** Leaves room to count on from anywhere below. */
const EPOCHS = 2 ** 40;

export interface GroupSeatOptions {
  readonly site: MemberSite;
  readonly subscribe: SubscribeOptions;
  readonly member: RemoteMember;
  readonly committer: OffsetCommitter;
  /** The partition begins; dead letters before that offset are among the settled. */
  readonly onBegin: (topic: string, partition: number, lettersThrough: number) => void;
  readonly onRecords: (topic: string, partition: number, records: readonly FetchedRecord[]) => void;
  /** The seat cannot be taken again. */
  readonly onFailure: (error: unknown) => void;
}

export class GroupSeat {
  readonly #options: GroupSeatOptions;
  readonly #prefix: string;
  readonly #handOver: HandOver;
  #connection: DriverMember | undefined;
  /** Counts assignments: what was begun under an earlier one is of no use. */
  #round = 0;
  /** Assignments are taken one after the other. */
  #work: Promise<void> = Promise.resolve();
  /** Of assigned partitions; begins anywhere, for members of a group must not count the same. */
  #epoch: number;
  #failures = 0;
  /** Slots that are assigned and not handed over: no other member is given them. */
  readonly #claims = new Set<number>();
  /** Of those: being handed over. */
  readonly #releasing = new Set<number>();
  readonly #avoids = new Set<number>();
  /** By partition: the offset after the last record that came. */
  readonly #next = new Map<string, number>();
  #retry: Timer | undefined;
  #opening: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #isClosed = false;

  constructor(options: GroupSeatOptions) {
    const { site, subscribe, member, committer } = options;
    const { environment, settings } = site;
    this.#options = options;
    this.#prefix = settings.topicPrefix;
    this.#epoch = Math.floor(environment.random() * EPOCHS);
    const waitMs = settings.rebalanceMs;
    this.#handOver = new HandOver({ environment, subscribe, member, committer, waitMs });
  }

  /** Resolves with the first assignment. */
  take(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      this.#join();
    });
  }

  pause(topic: string, partition: number): void {
    this.#connection?.pause(this.#prefix + topic, partition);
  }

  resume(topic: string, partition: number): void {
    this.#connection?.resume(this.#prefix + topic, partition);
  }

  async commit(offsets: readonly CommittedOffset[]): Promise<void> {
    if (this.#connection === undefined) {
      throw new ShopError("STALE", "the member has no seat in its group", "never");
    }
    const named = offsets.map((each) => ({ ...each, topic: this.#prefix + each.topic }));
    await this.#connection.commit(named);
  }

  /** Something was settled: perhaps all that a hand-over waits for. */
  settled(): void {
    this.#handOver.settled();
  }

  /** The slot was held too long: better with another member. */
  giveAway(topic: string, partition: number): void {
    this.pause(topic, partition);
    this.#avoids.add(partition);
    this.settled();
    // A second hand-over might end only after the group gave the slot to this member again.
    if (this.#releasing.has(partition)) return;
    void this.#release([partition], Promise.resolve()); // cannot reject
  }

  /** The group has gone on without the member: everything is lost. */
  lost(): void {
    this.#round++;
    const { member, committer } = this.#options;
    committer.drop();
    this.#claims.clear();
    this.#next.clear();
    for (const { topic, partitions } of heldBy(member)) member.revoke(topic, partitions);
    this.settled();
  }

  async leave(): Promise<void> {
    this.#isClosed = true;
    this.#round++;
    this.#retry?.cancel();
    this.#opening?.reject(new ShopError("CLOSED", "the subscription was closed", "never"));
    this.#opening = undefined;
    this.#handOver.end();
    await this.#connection?.close(true);
    this.#connection = undefined;
  }

  #join(): void {
    const { site, subscribe, onRecords } = this.#options;
    this.#connection = site.driver.join({
      group: this.#prefix + subscribe.group,
      topics: subscribe.topics.map((topic) => this.#prefix + topic),
      protocol: protocolOf(subscribe.types),
      userData: () =>
        encodeWish({
          owned: [...this.#claims],
          avoids: [...this.#avoids],
          ...(subscribe.partitions === undefined ? {} : { slots: subscribe.partitions }),
        }),
      assign: assignGroup,
      onAssigned: (assigned) => this.#assigned(assigned),
      onLost: () => this.lost(),
      onRecords: (name, partition, records) => {
        const topic = this.#local(name);
        const last = records.at(-1);
        if (last !== undefined) this.#next.set(`${topic}/${partition}`, last.offset + 1);
        onRecords(topic, partition, records);
      },
      onUnreadable: site.onUnreadable,
      onEnded: (error) => this.#ended(error),
    });
  }

  #assigned(assigned: readonly TopicPartitions[]): void {
    const round = ++this.#round;
    const local = assigned.map(({ topic, partitions }) => ({
      topic: this.#local(topic),
      partitions,
    }));
    const slots = new Set(local.flatMap(({ partitions }) => partitions));
    const gone = [...this.#claims].filter((slot) => !slots.has(slot) && !this.#releasing.has(slot));
    for (const slot of slots) this.#claims.add(slot);
    this.#avoids.clear();
    for (const { topic, partitions } of local) {
      for (const partition of partitions) this.#goOn(topic, partition);
    }
    if (gone.length > 0) void this.#release(gone, this.#work); // cannot reject
    this.#work = this.#work.then(() => this.#takeOn(local, round)); // cannot reject
  }

  /** What was held before is fetched on from where it was. */
  #goOn(topic: string, partition: number): void {
    const { member } = this.#options;
    const next = this.#next.get(`${topic}/${partition}`);
    if (next === undefined || !member.isAssigned(topic, partition)) return;
    this.#connection?.begin(this.#prefix + topic, partition, next);
    if (!member.hasRoom(topic, partition)) this.pause(topic, partition);
  }

  /** What was not held before begins, if the subscriber agrees. */
  async #takeOn(assigned: readonly TopicPartitions[], round: number): Promise<void> {
    const { member, subscribe } = this.#options;
    const added = assigned
      .map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.filter(
          (each) => !member.isAssigned(topic, each) && !this.#releasing.has(each),
        ),
      }))
      .filter(({ partitions }) => partitions.length > 0);
    const agreed: TopicPartitions[] = [];
    try {
      const beginnings = await this.#beginnings(added, round);
      for (const each of added) {
        if (this.#round !== round) break;
        agreed.push(each);
        await subscribe.onAssigned?.(each.topic, each.partitions);
      }
      if (this.#round === round) this.#begin(beginnings);
      else await this.#disown(agreed);
    } catch (error) {
      await this.#disown(agreed);
      if (this.#round === round) this.#refuse(added, error);
    }
  }

  /** Reads until it succeeds or the assignment is over. */
  async #beginnings(
    added: readonly TopicPartitions[],
    round: number,
  ): Promise<readonly Beginning[]> {
    const { site, subscribe } = this.#options;
    const { driver, letters, onAttempt } = site;
    for (let failures = 1; this.#round === round; failures++) {
      try {
        const beginnings = await beginningsOf(
          added.map((each) => ({ ...each, topic: this.#prefix + each.topic })),
          {
            driver,
            letters,
            group: this.#prefix + subscribe.group,
            letterGroup: subscribe.group,
            letterTopic: (topic) => this.#local(topic),
            from: subscribe.from,
          },
        );
        if (this.#round === round) await this.#remember(beginnings.filter((each) => each.isNew));
        onAttempt(undefined);
        return beginnings;
      } catch (error) {
        onAttempt(error);
        await this.#pauseOf(failures);
      }
    }
    return [];
  }

  /** `latest` is where it was when the group first came, also for who comes after a death. */
  async #remember(beginnings: readonly Beginning[]): Promise<void> {
    if (beginnings.length === 0) return;
    await this.#connection?.commit(
      beginnings.map(({ topic, partition, position }) => {
        return { topic, partition, offset: position.position, metadata: "" };
      }),
    );
  }

  #begin(beginnings: readonly Beginning[]): void {
    const { member, onBegin } = this.#options;
    this.#failures = 0;
    for (const { topic: name, partition, position, lettersThrough } of beginnings) {
      const topic = this.#local(name);
      onBegin(topic, partition, lettersThrough);
      member.assign(topic, partition, position, ++this.#epoch);
      this.#next.set(`${topic}/${partition}`, position.position);
      this.#connection?.begin(name, partition, position.position);
    }
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  /** The subscriber agreed to what was taken away before it began, and lets go of it in time. */
  async #disown(agreed: readonly TopicPartitions[]): Promise<void> {
    const { site, subscribe } = this.#options;
    const { rebalanceMs } = site.settings;
    const letGo = async ({ topic, partitions }: TopicPartitions): Promise<void> => {
      try {
        await subscribe.onRevoking?.(topic, partitions);
      } catch (error) {
        site.onLog("warning", `partitions were not let go of: ${describeError(error)}`);
      }
    };
    await settledWithin(site.environment, rebalanceMs, Promise.all(agreed.map(letGo)));
    for (const { topic, partitions } of agreed) subscribe.onRevoked?.(topic, partitions);
  }

  #refuse(added: readonly TopicPartitions[], error: unknown): void {
    const { site } = this.#options;
    site.onLog("warning", `partitions are given back: ${describeError(error)}`);
    for (const slot of added.flatMap(({ partitions }) => partitions)) {
      this.#avoids.add(slot);
      this.#claims.delete(slot);
    }
    this.#later(() => this.#connection?.rejoin());
  }

  /** Hands the slots over, and has the group give them to others. `taking`: what is under way. */
  async #release(slots: readonly number[], taking: Promise<void>): Promise<void> {
    const held = heldBy(this.#options.member)
      .map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.filter((partition) => slots.includes(partition)),
      }))
      .filter(({ partitions }) => partitions.length > 0);
    for (const slot of slots) this.#releasing.add(slot);
    await this.#handOver.run(held);
    // Slots that were being taken on are not held, and are let go of there.
    await taking;
    for (const slot of slots) {
      this.#releasing.delete(slot);
      this.#claims.delete(slot);
    }
    if (this.#isClosed) return;
    this.#connection?.rejoin();
  }

  #ended(error: unknown): void {
    const { site, onFailure } = this.#options;
    this.#connection = undefined;
    this.lost();
    if (this.#isClosed) return;
    if (isShopError(error, "BAD_CONFIGURATION")) {
      const opening = this.#opening;
      this.#opening = undefined;
      if (opening === undefined) onFailure(error);
      else opening.reject(error);
      return;
    }
    site.onAttempt(error);
    this.#later(() => this.#join());
  }

  #later(act: () => void): void {
    if (this.#isClosed) return;
    this.#retry?.cancel();
    const delayMs = this.#backoffMs(++this.#failures);
    this.#retry = this.#options.site.environment.startTimer(delayMs, act);
  }

  #pauseOf(failures: number): Promise<void> {
    const { environment } = this.#options.site;
    return new Promise((resolve) => {
      environment.startTimer(this.#backoffMs(failures), resolve);
    });
  }

  #backoffMs(failures: number): number {
    const longestMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures, 10));
    return longestMs * (0.5 + this.#options.site.environment.random() / 2);
  }

  /** The shop's name of a topic of the server. */
  #local(name: string): string {
    return name.slice(this.#prefix.length);
  }
}

function heldBy(member: RemoteMember): readonly TopicPartitions[] {
  const byTopic = new Map<string, number[]>();
  for (const { topic, partition } of member.assigned()) {
    const partitions = byTopic.get(topic) ?? [];
    byTopic.set(topic, partitions);
    partitions.push(partition);
  }
  return [...byTopic].map(([topic, partitions]) => ({ topic, partitions }));
}

/** Members that hear other types are told apart by the name, and the server refuses to mix them. */
function protocolOf(types: readonly number[] | undefined): string {
  if (types === undefined) return "shopstream-slots";
  const names = [...new Set(types)].toSorted((a, b) => a - b).join(",");
  return `shopstream-slots-${Bun.hash(names).toString(36)}`;
}
