/**
 * The groups that the journal serves: who is subscribed, what is handed to whom, how it stands.
 *
 * It writes nothing: what is settled here was committed before by the server, and what a group
 * passed by is given to the server for its next transaction. Refuses members that do not agree on
 * their group's topics or types.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { DeliveryRef, PartitionStanding, SettleResult } from "../brokers/broker.ts";
import type { Member } from "../brokers/group-crew.ts";
import type { PassedRange, StoredPosition } from "../brokers/log-source.ts";
import type { StandingRequest, SubscribeRequest } from "./journal-protocol.ts";
import type { Journal, LogRecord, PartitionPosition } from "./journal/journal-types.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { GroupCoordinator } from "../brokers/group-coordinator.ts";
import { soundType } from "../brokers/group-partition.ts";
import {
  DELIVERY,
  encodeBooks,
  encodeDeliveryHeader,
  encodeRequest,
  REVOKED,
  STANDINGS,
} from "./journal-protocol.ts";

/** Partitions in one record of an answer: a few kilobytes, which fit the smallest ring. */
const STANDINGS_PER_RECORD = 256;

export interface JournalGroupsOptions {
  readonly journal: Pick<Journal, "positions" | "read" | "registerGroup">;
  readonly environment: Environment;
  readonly slots: number;
  readonly send: (thread: number, kind: number, first: Uint8Array, second?: Uint8Array) => void;
}

interface Group {
  readonly coordinator: GroupCoordinator;
  readonly topics: ReadonlySet<string>;
}

interface Subscribed {
  readonly thread: number;
  readonly request: SubscribeRequest;
  readonly group: GroupCoordinator;
  readonly member: Member;
}

export class JournalGroups {
  readonly #options: JournalGroupsOptions;
  readonly #groups = new Map<string, Group>();
  readonly #subscribed = new Map<string, Subscribed>();
  readonly #firstEpoch: number;

  constructor(options: JournalGroupsOptions) {
    this.#options = options;
    // Above every epoch that a run before this one can have reached at 1,000 per millisecond.
    this.#firstEpoch = options.environment.nowMs() * 1_000;
  }

  /** Positions are read here, so everything published so far must be in the log. */
  subscribe(thread: number, request: SubscribeRequest): void {
    const { journal } = this.#options;
    const { group, topics, from, subscription } = request;
    journal.registerGroup(group, topics, from);
    const known = this.#groups.get(group);
    const isCovered = topics.every((topic) => known?.topics.has(topic));
    if (known !== undefined && !isCovered) {
      const problem = `group ${group} is subscribed with other topics already`;
      throw new ShopError("BAD_CONFIGURATION", problem, "never");
    }
    const coordinator = known?.coordinator ?? this.#createGroup(request);
    const member = coordinator.join({
      ...request,
      deliver: (deliveries) => {
        for (const delivery of deliveries) {
          const topic = topics.indexOf(delivery.topic);
          const header = encodeDeliveryHeader(subscription, topic, delivery);
          this.#options.send(thread, DELIVERY, header, delivery.bytes);
        }
      },
      revoked: (topic, partitions) => {
        const body = { subscription, topic, partitions };
        this.#options.send(thread, REVOKED, encodeRequest(0, body));
      },
    });
    const id = subscriptionId(thread, subscription);
    this.#subscribed.set(id, { thread, request, group: coordinator, member });
  }

  unsubscribe(thread: number, subscription: number): void {
    const id = subscriptionId(thread, subscription);
    const subscribed = this.#subscribed.get(id);
    this.#subscribed.delete(id);
    subscribed?.group.leave(subscribed.member);
  }

  setPaused(thread: number, subscription: number, paused: boolean): void {
    const subscribed = this.#subscribed.get(subscriptionId(thread, subscription));
    subscribed?.group.setPaused(subscribed.member, paused);
  }

  /** Everything the thread had in hand goes to whoever is next. */
  threadGone(thread: number): void {
    for (const [id, subscribed] of this.#subscribed) {
      if (subscribed.thread !== thread) continue;
      this.#subscribed.delete(id);
      subscribed.group.leave(subscribed.member);
    }
  }

  /** The coordinator of a group that has something in hand. */
  coordinator(group: string): GroupCoordinator {
    const coordinator = this.#groups.get(group)?.coordinator;
    assert(coordinator !== undefined, "what is in hand belongs to a group");
    return coordinator;
  }

  probe(ref: DeliveryRef): SettleResult {
    return this.#groups.get(ref.group)?.coordinator.probe(ref) ?? "stale";
  }

  acked(ref: DeliveryRef): void {
    this.#groups.get(ref.group)?.coordinator.settle(ref);
  }

  appended(record: LogRecord): void {
    let type: number | undefined;
    let isTyped = false;
    for (const { coordinator, topics } of this.#groups.values()) {
      if (!topics.has(record.topic)) continue;
      // Once for all groups, and only if there is one that would pass it by.
      if (!isTyped && coordinator.isSelective) {
        type = soundType(record.bytes);
        isTyped = true;
      }
      coordinator.appended(record.topic, record.partition, record, type);
    }
  }

  flush(): void {
    for (const { coordinator } of this.#groups.values()) coordinator.flush();
  }

  expireLeases(
    onDepth: (group: string, depth: ReturnType<GroupCoordinator["depth"]>) => void,
  ): void {
    for (const [group, { coordinator }] of this.#groups) {
      coordinator.expireLeases();
      onDepth(group, coordinator.depth());
    }
  }

  takePassed(): readonly PassedRange[] {
    return [...this.#groups.values()].flatMap(({ coordinator }) => coordinator.takePassed());
  }

  keepPassed(ranges: readonly PassedRange[]): void {
    for (const range of ranges) this.#groups.get(range.group)?.coordinator.keepPassed(range);
  }

  /** Sends how the member's partitions stand. To be called when all else that is due was sent. */
  sendStanding(thread: number, request: number, of: StandingRequest): void {
    const subscribed = this.#subscribed.get(subscriptionId(thread, of.subscription));
    if (subscribed === undefined) {
      throw new ShopError("CLOSED", "the subscription was closed", "never");
    }
    const { group, member } = subscribed;
    const standings = group.standing(member);
    const { topics } = subscribed.request;
    const sendPart = (part: readonly PartitionStanding[], isLast: boolean): void => {
      const body = encodeBooks(of, topics, part, isLast);
      this.#options.send(thread, STANDINGS, encodeRequest(request, body));
    };
    let sent = 0;
    for (; sent + STANDINGS_PER_RECORD < standings.length; sent += STANDINGS_PER_RECORD) {
      sendPart(standings.slice(sent, sent + STANDINGS_PER_RECORD), false);
    }
    sendPart(standings.slice(sent), true);
  }

  #createGroup({ group, topics, types }: SubscribeRequest): GroupCoordinator {
    const { journal, environment, slots } = this.#options;
    const positions = new Map(
      journal
        .positions(group)
        .map((position) => [`${position.topic}/${position.partition}`, position]),
    );
    const coordinator = new GroupCoordinator({
      environment,
      group,
      topics,
      partitions: slots,
      firstEpoch: this.#firstEpoch,
      ...(types === undefined ? {} : { types }),
      stored(topic, partition) {
        const found = positions.get(`${topic}/${partition}`);
        assert(found !== undefined, `group ${group} has no position in ${topic}/${partition}`);
        return storedPosition(found);
      },
      read: (topic, partition, after, framesMax, bytesMax) =>
        journal.read(topic, partition, after, framesMax, bytesMax),
    });
    this.#groups.set(group, { coordinator, topics: new Set(topics) });
    return coordinator;
  }
}

function storedPosition(found: PartitionPosition): StoredPosition {
  return {
    position: found.position,
    settledAbove: found.settledAbove,
    postponed: new Map(
      found.postponed.map(({ sequence, attempt, notBeforeMs, lastError }) => [
        sequence,
        { attempt, notBeforeMs, error: lastError },
      ]),
    ),
    tail: found.last,
  };
}

function subscriptionId(thread: number, subscription: number): string {
  return `${thread}/${subscription}`;
}
