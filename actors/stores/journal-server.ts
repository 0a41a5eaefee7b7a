/**
 * The journal's side of the rings: gathers what the threads ask within a turn, commits it as one
 * transaction, answers, and hands what was appended to the groups that wait for it.
 *
 * It knows threads by index and talks to them through `send` alone, so that it runs the same
 * behind rings and in a test. It answers nothing before the commit it depends on is durable.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { DeliveryRef, SettleResult } from "../brokers/broker.ts";
import type { FeedRelease, Journal, JournalOutcome, JournalUnit } from "./journal/journal-types.ts";
import type { JournalEvent } from "./journal-clockwork.ts";
import type { StandingRequest, SettleRequest, SubscribeRequest } from "./journal-protocol.ts";
import type { WireUnit } from "./unit-wire.ts";

import { assert, describeError, InvariantError, isShopError } from "../../runtime/errors.ts";
import { JournalClockwork } from "./journal-clockwork.ts";
import { JournalGroups } from "./journal-groups.ts";
import {
  COMMIT,
  DEAD_LETTERS,
  decodeBody,
  encodeFailure,
  encodeRequest,
  FAILURE,
  FEED_STANDING,
  PAUSE,
  RELEASE_FEED,
  requestNumber,
  RESULT,
  SETTLE,
  STANDING,
  SUBSCRIBE,
  UNSUBSCRIBE,
} from "./journal-protocol.ts";
import { EMPTY_UNIT } from "./unit-of-work.ts";
import { refFromWire, unitFromWire } from "./unit-wire.ts";

/** Checks of leases, a quarter of a second apart, between looks at what was only passed by. */
const PASSED_LEASE_CHECKS = 4;

/**
 * After a transaction of so many units another is on its way: the next one waits for company, at
 * most `GATHER_MS` from the last. Whoever asks one thing after the other never waits.
 */
const BUSY_UNITS = 24;
const GATHER_MS = 8;
/** So many units are company enough. */
const GATHER_UNITS_MAX = 128;

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

export class JournalServer {
  readonly #options: JournalServerOptions;
  readonly #groups: JournalGroups;
  /** Who asked how it stands, answered when all else of the turn has been. */
  #standings: {
    readonly thread: number;
    readonly request: number;
    readonly of: StandingRequest;
  }[] = [];
  #leaseChecks = 0;
  /** When the last transaction was made. */
  #committedMs = Number.NEGATIVE_INFINITY;
  /** How many units it had. */
  #lastUnits = 0;
  /** Runs while what is pending waits for company. */
  #gathering: Timer | undefined;
  #pending: Pending[] = [];
  readonly #clockwork: JournalClockwork;
  #closed = false;

  constructor(options: JournalServerOptions) {
    this.#options = options;
    const { journal, environment, slots } = options;
    const send = this.#send.bind(this);
    this.#groups = new JournalGroups({ journal, environment, slots, send });
    this.#clockwork = new JournalClockwork({
      journal: options.journal,
      environment: options.environment,
      lastCommitMs: () => this.#committedMs,
      beforeTimers: () => this.#turn(),
      onFired: (records) => {
        for (const record of records) this.#groups.appended(record);
        this.#groups.flush();
      },
      onLeaseCheck: () => this.#checkLeases(),
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    });
  }

  onRecord(thread: number, kind: number, bytes: Uint8Array): void {
    const request = requestNumber(bytes);
    this.#orFail(thread, request, () => this.#take(thread, request, kind, bytes));
  }

  /** What is refused is the answer. */
  #orFail(thread: number, request: number, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!isShopError(error)) throw error;
      this.#send(thread, FAILURE, encodeFailure(request, error));
    }
  }

  /** The end of a turn: commits what was gathered, now or when there is more of it. */
  onTurn(): void {
    if (this.#closed) return;
    if (this.#gathering !== undefined && this.#pending.length < GATHER_UNITS_MAX) return;
    const waitMs = this.#gatherMs();
    if (waitMs <= 0) {
      this.#turn();
      return;
    }
    this.#gathering = this.#options.environment.startTimer(waitMs, () => this.#turn());
  }

  /** How long what is pending may wait for company. */
  #gatherMs(): number {
    const count = this.#pending.length;
    if (this.#lastUnits < BUSY_UNITS || count === 0 || count >= GATHER_UNITS_MAX) return 0;
    return this.#committedMs + GATHER_MS - this.#options.environment.monotonicMs();
  }

  /** Commits what was gathered, answers it, and hands out what it appended. */
  #turn(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    if (this.#closed) return;
    const hasPending = this.#pending.length > 0;
    if (hasPending) this.#commit();
    this.#groups.flush();
    for (const { thread, request, of } of this.#standings.splice(0)) {
      this.#orFail(thread, request, () => this.#groups.sendStanding(thread, request, of));
    }
    if (hasPending) this.#options.journal.maintain();
  }

  /** The thread is dead: its subscriptions end, what it had in hand goes to whoever is next. */
  threadGone(thread: number): void {
    this.#turn();
    this.#groups.threadGone(thread);
    this.#groups.flush();
  }

  close(): void {
    this.#turn();
    this.#closed = true;
    this.#clockwork.stop();
    this.#options.journal.close();
  }

  #take(thread: number, request: number, kind: number, bytes: Uint8Array): void {
    switch (kind) {
      case COMMIT: {
        const { unit, acks } = unitFromWire(decodeBody<WireUnit>(bytes));
        const held = acks.filter((ref) => this.#groups.probe(ref) === "settled");
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
      case UNSUBSCRIBE:
        this.#unsubscribe(thread, decodeBody<{ subscription: number }>(bytes).subscription);
        break;
      case PAUSE: {
        const { subscription, paused } = decodeBody<{ subscription: number; paused: boolean }>(
          bytes,
        );
        this.#groups.setPaused(thread, subscription, paused);
        break;
      }
      case STANDING: {
        this.#standings.push({ thread, request, of: decodeBody<StandingRequest>(bytes) });
        return;
      }
      case RELEASE_FEED: {
        const { name, released } = decodeBody<FeedRelease>(bytes);
        this.#options.journal.releaseFeed(name, released);
        break;
      }
      case FEED_STANDING:
        this.#sendFeedStanding(thread, request, decodeBody<{ name: string }>(bytes).name);
        return;
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

  #sendFeedStanding(thread: number, request: number, name: string): void {
    const standing = this.#options.journal.feedStanding(name);
    this.#send(thread, RESULT, encodeRequest(request, standing));
  }

  /** What is not in hand any more is answered without touching the journal. */
  #settle(thread: number, request: number, settle: SettleRequest): void {
    const refs = settle.kind === "ack" ? settle.refs.map(refFromWire) : [settle.ref];
    const results = refs.map((ref) => this.#groups.probe(ref));
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
    const coordinator = this.#groups.coordinator(ref.group);
    if (settle.kind === "bury") {
      const burials = [{ delivery: ref, burial: settle.burial }];
      return {
        unit: { unit: EMPTY_UNIT, acks: [], burials },
        answer: () => [coordinator.settle(ref, "dead")],
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
    // Everything published so far must be in the log before positions are read.
    if (this.#pending.length > 0) this.#commit();
    this.#groups.subscribe(thread, request);
  }

  #unsubscribe(thread: number, subscription: number): void {
    // What it is settling must be settled before the rest is taken back.
    if (this.#pending.length > 0) this.#commit();
    this.#groups.unsubscribe(thread, subscription);
  }

  #commit(): void {
    const { environment, onEvent } = this.#options;
    const pending = this.#pending;
    const passed = this.#groups.takePassed();
    if (pending.length + passed.length === 0) return;
    this.#pending = [];
    this.#lastUnits = pending.length;
    const startedMs = environment.monotonicMs();
    const units = pending.map(({ unit }) => unit);
    if (passed.length > 0) units.push({ unit: EMPTY_UNIT, acks: [], passed });
    // After the units, so that a timer they cancel does not fire.
    const firing = this.#clockwork.firing();
    if (firing !== undefined) units.push(firing);
    const outcomes = this.#commitOrDie(units);
    this.#committedMs = environment.monotonicMs();
    const durationMs = this.#committedMs - startedMs;
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
    if (firing !== undefined) this.#clockwork.fired(outcomes.at(-1));
    const passing = passed.length > 0 ? outcomes[pending.length] : undefined;
    if (passing?.kind === "refused") {
      onEvent?.({ kind: "refused", error: passing.error });
      if (passing.error.retry !== "never") this.#groups.keepPassed(passed);
    }
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
    for (const ref of unit.acks) this.#groups.acked(ref);
    for (const record of outcome.appended) this.#groups.appended(record);
    this.#send(thread, RESULT, encodeRequest(request, answer()));
  }

  #checkLeases(): void {
    // What was handed out must be on its way before it can be taken back, and what is being settled
    // must be settled.
    this.#turn();
    this.#groups.expireLeases((group, depth) =>
      this.#options.onEvent?.({ kind: "depth", group, ...depth }),
    );
    this.#groups.flush();
    this.#leaseChecks++;
    // What was passed by while nothing else was committed must not hold the log back for ever.
    if (this.#leaseChecks % PASSED_LEASE_CHECKS === 0) this.#commit();
  }

  #send(thread: number, kind: number, first: Uint8Array, second?: Uint8Array): void {
    const isSent = this.#options.send(thread, kind, first, second);
    // Credits bound what a thread can be sent; a full backlog means that they were not honoured.
    assert(isSent, "no room for a record towards a thread");
  }
}
