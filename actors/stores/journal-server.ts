/**
 * The journal's side of the rings: gathers what the threads ask within a turn, commits it as one
 * transaction, answers, and hands what was appended to the groups that wait for it.
 *
 * It knows threads by index and talks to them through `send` alone, so that it runs the same
 * behind rings and in a test. It answers nothing before the commit it depends on is durable.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { DeliveryRef, SettleResult } from "../brokers/broker.ts";
import type { Member } from "../brokers/group-coordinator.ts";
import type { Journal, JournalOutcome, JournalUnit, LogRecord } from "./journal/journal-types.ts";
import type { JournalEvent } from "./journal-clockwork.ts";
import type { SettleRequest, SubscribeRequest } from "./journal-protocol.ts";
import type { WireUnit } from "./unit-wire.ts";

import {
  assert,
  describeError,
  InvariantError,
  isShopError,
  ShopError,
} from "../../runtime/errors.ts";
import { GroupCoordinator } from "../brokers/group-coordinator.ts";
import { JournalClockwork } from "./journal-clockwork.ts";
import {
  COMMIT,
  DEAD_LETTERS,
  decodeBody,
  DELIVERY,
  encodeDeliveryHeader,
  encodeFailure,
  encodeRequest,
  FAILURE,
  PAUSE,
  requestNumber,
  RESULT,
  REVOKED,
  SETTLE,
  SUBSCRIBE,
  UNSUBSCRIBE,
} from "./journal-protocol.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";
import { refFromWire, unitFromWire } from "./unit-wire.ts";

const COMMITTED = { kind: "committed" } as const;

export interface JournalServerOptions {
  readonly journal: Journal;
  readonly environment: Environment;
  readonly slots: number;
  /** Queues a record for a thread; false: there is no room, and nothing was queued. */
  readonly send: (thread: number, kind: number, first: Uint8Array, second?: Uint8Array) => boolean;
  readonly onEvent?: (event: JournalEvent) => void;
}

interface Pending {
  readonly thread: number;
  readonly request: number;
  readonly unit: JournalUnit;
  /** What to answer once the unit is committed. */
  readonly answer: () => unknown;
}

interface Subscribed {
  readonly thread: number;
  readonly group: GroupCoordinator;
  readonly member: Member;
}

export class JournalServer {
  readonly #options: JournalServerOptions;
  readonly #groups = new Map<string, { coordinator: GroupCoordinator; topics: Set<string> }>();
  readonly #subscribed = new Map<string, Subscribed>();
  readonly #firstEpoch: number;
  #pending: Pending[] = [];
  readonly #clockwork: JournalClockwork;
  #closed = false;

  constructor(options: JournalServerOptions) {
    this.#options = options;
    // Above every epoch that a run before this one can have reached at 1,000 per millisecond.
    this.#firstEpoch = options.environment.nowMs() * 1_000;
    this.#clockwork = new JournalClockwork({
      journal: options.journal,
      environment: options.environment,
      beforeTimers: () => this.onTurn(),
      onFired: (records) => {
        for (const record of records) this.#appended(record);
        this.#flush();
      },
      onLeaseCheck: () => this.#checkLeases(),
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    });
  }

  onRecord(thread: number, kind: number, bytes: Uint8Array): void {
    const request = requestNumber(bytes);
    try {
      this.#take(thread, request, kind, bytes);
    } catch (error) {
      if (!isShopError(error)) throw error;
      this.#send(thread, FAILURE, encodeFailure(request, error));
    }
  }

  /** Commits what was gathered, answers it, and hands out what it appended. */
  onTurn(): void {
    if (this.#closed) return;
    if (this.#pending.length > 0) this.#commit();
    this.#flush();
    this.#options.journal.maintain();
  }

  /** The thread is dead: its subscriptions end, what it had in hand goes to whoever is next. */
  threadGone(thread: number): void {
    this.onTurn();
    for (const [id, subscribed] of this.#subscribed) {
      if (subscribed.thread !== thread) continue;
      this.#subscribed.delete(id);
      subscribed.group.leave(subscribed.member);
    }
    this.#flush();
  }

  close(): void {
    this.onTurn();
    this.#closed = true;
    this.#clockwork.stop();
    this.#options.journal.close();
  }

  #take(thread: number, request: number, kind: number, bytes: Uint8Array): void {
    switch (kind) {
      case COMMIT: {
        const { unit, acks } = unitFromWire(decodeBody<WireUnit>(bytes));
        const held = acks.filter((ref) => this.#probe(ref) === "settled");
        this.#clockwork.noteTimers(unit.timersStarted);
        this.#pending.push({
          thread,
          request,
          unit: { unit, acks: held },
          answer: () => COMMITTED,
        });
        return;
      }
      case SETTLE: {
        const { request: settle } = decodeBody<{ request: SettleRequest }>(bytes);
        this.#settle(thread, request, settle);
        return;
      }
      case SUBSCRIBE:
        this.#subscribe(thread, decodeBody<SubscribeRequest>(bytes));
        break;
      case UNSUBSCRIBE: {
        const id = subscriptionId(thread, decodeBody<{ subscription: number }>(bytes).subscription);
        const subscribed = this.#subscribed.get(id);
        this.#subscribed.delete(id);
        subscribed?.group.leave(subscribed.member);
        break;
      }
      case PAUSE: {
        const { subscription, paused } = decodeBody<{ subscription: number; paused: boolean }>(
          bytes,
        );
        const subscribed = this.#subscribed.get(subscriptionId(thread, subscription));
        subscribed?.group.setPaused(subscribed.member, paused);
        break;
      }
      case DEAD_LETTERS: {
        const { topic, afterId, limit } = decodeBody<{
          topic: string;
          afterId: number;
          limit: number;
        }>(bytes);
        const letters = this.#options.journal.deadLetters(topic, afterId, limit);
        this.#send(thread, RESULT, encodeRequest(request, letters));
        return;
      }
      default:
        assert(false, `the journal does not know records of kind ${kind}`);
    }
    this.#send(thread, RESULT, encodeRequest(request, null));
  }

  #probe(ref: { readonly group: string } & Parameters<GroupCoordinator["probe"]>[0]): SettleResult {
    return this.#groups.get(ref.group)?.coordinator.probe(ref) ?? "stale";
  }

  /** What is not in hand any more is answered without touching the journal. */
  #settle(thread: number, request: number, settle: SettleRequest): void {
    const refs = settle.kind === "ack" ? settle.refs.map(refFromWire) : [settle.ref];
    const results = refs.map((ref) => this.#probe(ref));
    if (!results.includes("settled")) {
      this.#send(thread, RESULT, encodeRequest(request, results));
      return;
    }
    this.#pending.push({ thread, request, ...this.#settlement(settle, refs, results) });
  }

  #settlement(
    settle: SettleRequest,
    refs: readonly DeliveryRef[],
    results: readonly SettleResult[],
  ): Pick<Pending, "unit" | "answer"> {
    if (settle.kind === "ack") {
      const acks = refs.filter((_, index) => results[index] === "settled");
      return { unit: { unit: EMPTY_UNIT, acks }, answer: () => results };
    }
    const { ref } = settle;
    const coordinator = this.#groups.get(ref.group)?.coordinator;
    assert(coordinator !== undefined, "what is in hand belongs to a group");
    if (settle.kind === "bury") {
      const burials = [{ delivery: ref, burial: settle.burial }];
      return {
        unit: { unit: EMPTY_UNIT, acks: [], burials },
        answer: () => [coordinator.settle(ref)],
      };
    }
    const { postponement } = settle;
    return {
      unit: {
        unit: EMPTY_UNIT,
        acks: [],
        postponements: [{ delivery: ref, postponement }],
      },
      answer: () => [coordinator.postpone(ref, postponement)],
    };
  }

  #subscribe(thread: number, request: SubscribeRequest): void {
    const { journal, environment, slots } = this.#options;
    const { group, topics, from } = request;
    // Everything published so far must be in the log before positions are read.
    if (this.#pending.length > 0) this.#commit();
    journal.registerGroup(group, topics, from);
    const known = this.#groups.get(group);
    const isCovered = topics.every((topic) => known?.topics.has(topic));
    if (known !== undefined && !isCovered) {
      const problem = `group ${group} is subscribed with other topics already`;
      throw new ShopError("BAD_CONFIGURATION", problem, "never");
    }
    const coordinator = known?.coordinator ?? this.#createGroup(group, topics, slots, environment);
    const member = coordinator.join({
      topics,
      creditFrames: request.creditFrames,
      creditBytes: request.creditBytes,
      leaseMs: request.leaseMs,
      ...(request.partitions === undefined ? {} : { partitions: request.partitions }),
      deliver: (deliveries) => {
        for (const delivery of deliveries) {
          const topic = topics.indexOf(delivery.topic);
          const header = encodeDeliveryHeader(request.subscription, topic, delivery);
          this.#send(thread, DELIVERY, header, delivery.bytes);
        }
      },
      revoked: (topic, partitions) => {
        const body = { subscription: request.subscription, topic, partitions };
        this.#send(thread, REVOKED, encodeRequest(0, body));
      },
    });
    const id = subscriptionId(thread, request.subscription);
    this.#subscribed.set(id, { thread, group: coordinator, member });
  }

  #createGroup(
    group: string,
    topics: readonly string[],
    slots: number,
    environment: Environment,
  ): GroupCoordinator {
    const { journal } = this.#options;
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
      stored(topic, partition) {
        const found = positions.get(`${topic}/${partition}`);
        assert(found !== undefined, `group ${group} has no position in ${topic}/${partition}`);
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
      },
      read: (topic, partition, after, framesMax, bytesMax) =>
        journal.read(topic, partition, after, framesMax, bytesMax),
    });
    this.#groups.set(group, { coordinator, topics: new Set(topics) });
    return coordinator;
  }

  #commit(): void {
    const { environment, onEvent } = this.#options;
    const pending = this.#pending;
    this.#pending = [];
    const startedMs = environment.monotonicMs();
    const outcomes = this.#commitOrDie(pending.map(({ unit }) => unit));
    const durationMs = environment.monotonicMs() - startedMs;
    let refused = 0;
    pending.forEach((one, index) => {
      const outcome = outcomes[index];
      assert(outcome !== undefined, "the journal answers every unit");
      if (outcome.kind === "refused") {
        refused++;
        onEvent?.({ kind: "refused", error: outcome.error });
      }
      this.#answer(one, outcome);
    });
    onEvent?.({ kind: "committed", units: pending.length, refused, durationMs });
  }

  /** What `commit` throws is beyond repair: it must end the thread, not answer one request. */
  #commitOrDie(units: readonly JournalUnit[]): readonly JournalOutcome[] {
    try {
      return this.#options.journal.commit(units);
    } catch (cause) {
      throw new InvariantError(`the journal cannot commit: ${describeError(cause)}`, { cause });
    }
  }

  #answer({ thread, request, unit, answer }: Pending, outcome: JournalOutcome): void {
    if (outcome.kind === "refused") {
      this.#send(thread, FAILURE, encodeFailure(request, outcome.error));
      return;
    }
    if (outcome.kind !== "committed") {
      this.#send(thread, RESULT, encodeRequest(request, outcome));
      return;
    }
    for (const ref of unit.acks) this.#groups.get(ref.group)?.coordinator.settle(ref);
    for (const record of outcome.appended) this.#appended(record);
    this.#send(thread, RESULT, encodeRequest(request, answer()));
  }

  #appended(record: LogRecord): void {
    for (const { coordinator, topics } of this.#groups.values()) {
      if (topics.has(record.topic)) {
        coordinator.appended(record.topic, record.partition, record);
      }
    }
  }

  #flush(): void {
    for (const { coordinator } of this.#groups.values()) coordinator.flush();
  }

  #checkLeases(): void {
    // What was handed out must be on its way before it can be taken back.
    this.#flush();
    for (const [group, { coordinator }] of this.#groups) {
      coordinator.expireLeases();
      this.#options.onEvent?.({ kind: "depth", group, ...coordinator.depth() });
    }
    this.#flush();
  }

  #send(thread: number, kind: number, first: Uint8Array, second?: Uint8Array): void {
    const isSent = this.#options.send(thread, kind, first, second);
    // Credits bound what a thread can be sent; a full backlog means that they were not honoured.
    assert(isSent, "no room for a record towards a thread");
  }
}

function subscriptionId(thread: number, subscription: number): string {
  return `${thread}/${subscription}`;
}
